"""The table says what the evaluation says, beside what the paper says."""

import json
import runpy

import pytest
from synthetic_run import write_run

from infonce_jax.report import build_table, format_terminal, write_report
from infonce_jax.report import html as html_lib
from infonce_jax.report import table as table_lib
from infonce_jax.report import text as text_lib
from infonce_jax.report.paper import TABLE_1, Entry, reported
from tests.launching import ROOT


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return [
        write_run(root / "laplace"),
        write_run(
            root / "mixture",
            title="Gaussian mixture",
            source="mixture",
            paper="mixture",
            untrained="mixture",
        ),
    ]


def test_many_names_are_counted():
    assert text_lib.join_names(["a"]) == "a"
    assert text_lib.join_names(["a", "b", "a", "c"]) == "a, b and c"
    assert text_lib.join_names([f"run {i}" for i in range(200)], shown=3) == (
        "run 0, run 1 and 198 others"
    )


def test_values_are_the_evaluations_summary(runs):
    table = build_table(runs)
    assert [group.title for group in table.groups] == ["Laplace", "Gaussian mixture"]
    for run, group in zip(runs, table.groups, strict=True):
        summary = json.loads((run / "evaluation.json").read_text())["summary"]
        expected = {
            (entry["step"], entry["n"], entry["statistic"]): entry
            for entry in summary
            if entry["representation"] == "raw"
        }
        assert [column.label for column in group.columns] == ["untrained", "epoch 20"]
        for column in group.columns:
            for statistic in table_lib.STATISTICS:
                value, entry = column.values[statistic], expected[column.step, 1000, statistic]
                assert value == (entry["mean"], entry["standard_error"], 3)


def test_terminal_shows_ours_and_the_papers_number_under_it(runs):
    lines = format_terminal(build_table(runs)).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("AD average "))
    table = build_table(runs)
    for column in table.groups[1].columns:
        value = column.values["ad_mean"]
        decimals = 3 if value.mean < 1 else 2 if value.mean < 10 else 1
        assert f"{value.mean:.{decimals}f}±{value.se:.{decimals}f}" in lines[at]
    assert lines[at + 1].split() == ["paper", "–", "0.38", "–", "0.39"]
    assert max(map(len, lines)) <= 100


def test_the_papers_protocol_stands_below_the_table_and_is_no_sample_size_of_it(tmp_path):
    run = write_run(tmp_path / "run", sample_sizes=(500, 1000), groups=(4, 100))
    table = build_table([run])
    column = table.groups[0].columns[-1]
    rows = json.loads((run / "evaluation.json").read_text())["rows"]
    expected = [
        row["value"]
        for row in rows
        if (row["statistic"], row["representation"], row["step"]) == ("group_ad_mean", "raw", 100)
    ]
    assert column.grouped["group_ad_mean"].mean == pytest.approx(sum(expected) / 3)
    assert list(column.by_size) == [500, 1000]
    line = next(line for line in text_lib.notes(table) if line.startswith("The paper's protocol"))
    assert "4 groups of 100" in line and f"{sum(expected) / 3:.3f} epoch 20" in line
    # Without it the reader learns how to get it.
    plain = build_table([write_run(tmp_path / "plain", sample_sizes=(1000,))])
    assert any("config.evaluate.groups=(20, 250)" in line for line in text_lib.notes(plain))


def test_alignment_is_set_against_its_bound_where_that_is_logged(runs, tmp_path):
    run = write_run(tmp_path / "bounded")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = sum(lines[-1]["alignment"]) / 3
    for line in lines:
        line["alignment_bound"] = [0.99] * 3
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = " ".join(format_terminal(build_table([run])).split())
    assert f"Laplace {last:.3f} of 0.990 ({100 * last / 0.99:.0f}%)" in text
    assert "most that the channel allows" not in format_terminal(build_table(runs))


def test_pass_rates_are_percentages(runs):
    table = build_table(runs)
    lines = format_terminal(table).splitlines()
    passed = table.groups[0].columns[-1].values["ad_pass"].mean
    assert 0.5 < passed <= 1
    row = next(line for line in lines if line.startswith("AD pass %"))
    assert f"{100 * passed:.1f}±" in row


def test_verdict_credits_training_only_where_it_made_the_difference(runs):
    text = text_lib.verdict(build_table(runs))
    assert text.startswith(
        "After training, at n = 1,000, Laplace and Gaussian mixture are in the range"
    )
    assert "Untrained, Laplace is in it; Gaussian mixture is not." in text
    assert "training made the difference for Gaussian mixture." in text


@pytest.mark.parametrize(
    ("untrained", "trained", "words"),
    [
        (True, True, "The untrained encoder is in it, too. So training is not the reason."),
        (False, True, "The untrained encoder is outside it."),
        (False, False, "is outside the range"),
        (
            True,
            False,
            "The untrained encoder is in it. Training made AD worse for Laplace (from 0.400 to",
        ),
    ],
)
def test_verdict_of_one_run(tmp_path, untrained, trained, words):
    run = write_run(tmp_path / "run", seeds=1, sample_sizes=(100, 1000))
    path = run / "evaluation.json"
    evaluation = json.loads(path.read_text())
    for entry in evaluation["summary"]:
        normal = trained if entry["step"] else untrained
        if entry["statistic"] == "ad_mean":
            entry["mean"] = 0.4 if normal else 4.0
        if entry["statistic"] == "dp_mean_p":
            entry["mean"] = 0.5
    path.write_text(json.dumps(evaluation))
    assert words in text_lib.verdict(build_table([run]))


def test_verdict_when_nothing_could_be_tested(tmp_path):
    run = write_run(tmp_path / "run", seeds=1)
    path = run / "evaluation.json"
    evaluation = json.loads(path.read_text())
    for entry in evaluation["summary"]:
        if entry["statistic"].startswith(("ad_", "dp_")):
            entry["mean"], entry["count"] = None, 0
    path.write_text(json.dumps(evaluation))
    table = build_table([run])
    assert "could be tested" in text_lib.verdict(table)
    assert "–" in format_terminal(table)


def test_every_epoch_that_the_paper_reports_stands_beside_it(tmp_path):
    epochs = {0: 0.0, 50: 25.0, 100: 50.0, 200: 100.0}
    run = write_run(tmp_path / "binary", source="binary", untrained="heavy", epochs=epochs)
    (group,) = build_table([run]).groups
    assert [column.label for column in group.columns] == ["untrained", "epoch 50", "epoch 100"]
    assert [column.paper["norm_cv"] for column in group.columns] == [0.36, 0.12, 0.09]


def test_paper_is_shown_for_raw_representations_only(runs):
    raw, normalized = (build_table(runs, representation=r) for r in ("raw", "normalized"))
    assert raw.groups[0].columns[-1].paper == TABLE_1[Entry("laplace", "infonce", None)]
    assert normalized.groups[0].columns[-1].paper is None


def test_paper_by_objective_and_epoch():
    assert reported("cifar10", "supervised", 100.0, final=True)["ad_mean"] == 3.3
    assert reported("cifar10", "infonce", 100.0, final=True)["ad_mean"] == 0.43
    assert reported("binary", "infonce", 49.8, final=False)["ad_mean"] == 0.41
    assert reported("binary", "infonce", 30.0, final=True) is None
    assert reported("laplace", "infonce", 0.0, final=False) is None
    assert reported(None, "infonce", 1.0, final=True) is None
    with pytest.raises(ValueError, match="binary, cifar10, laplace, mixture"):
        reported("lapalce", "infonce", 1.0, final=True)


def test_nearest_size_below_is_taken_and_said(runs):
    table = build_table(runs, n=700)
    assert {column.n for group in table.groups for column in group.columns} == {500}
    assert "not evaluated at n = 700; the nearest" in format_terminal(table)
    assert "n = 700" not in format_terminal(build_table(runs, n=500))
    assert {column.n for column in build_table(runs, n=10).groups[0].columns} == {100}


def test_default_size_is_the_configurations(tmp_path):
    run = write_run(tmp_path / "run", seeds=1)
    config = json.loads((run / "config.json").read_text())
    config["report"]["sample_size"] = 250
    (run / "config.json").write_text(json.dumps(config))
    assert build_table([run]).groups[0].columns[0].n == 250


def test_sizes_stand_beside_an_exact_gaussian(runs):
    text = format_terminal(build_table(runs))
    tail = text[text.index("against the sample size") :]
    assert "0.384 (95%)" in tail
    assert [line.split()[0] for line in tail.splitlines()[5:9]] == ["100", "250", "500", "1,000"]
    html = html_lib.sizes_html(build_table(runs))
    assert "Exact Gaussian" in html and html.count("0.384") >= 4


def test_one_group_per_hyperparameter_setting(tmp_path, runs):
    run = write_run(tmp_path / "sweep", seeds=2, temperatures=(0.1, 0.5))
    table = build_table([run])
    assert [g.title for g in table.groups] == [
        "temperature 0.1",
        "temperature 0.5",
    ]
    assert {v.count for g in table.groups for c in g.columns for v in c.values.values()} == {2}
    titles = [group.title for group in build_table([run, runs[1]]).groups]
    assert titles == ["Laplace (temperature 0.1)", "Laplace (temperature 0.5)", "Gaussian mixture"]


def test_many_groups_wrap_below_each_other(tmp_path):
    run = write_run(
        tmp_path / "sweep", seeds=1, temperatures=(0.05, 0.1, 0.2, 0.5, 1.0, 2.0), n=120,
        sample_sizes=(100,),
    )  # fmt: skip
    lines = format_terminal(build_table([run])).splitlines()
    assert max(map(len, lines)) <= 100
    assert sum(line.startswith("AD average ") for line in lines) > 1


def test_runs_of_one_title_are_told_apart(tmp_path):
    runs = [write_run(tmp_path / name, seeds=1) for name in ("a", "b")]
    assert [g.title for g in build_table(runs).groups] == ["Laplace (a)", "Laplace (b)"]


def test_one_seed_has_no_standard_error(tmp_path):
    run = write_run(tmp_path / "run", seeds=1)
    text = format_terminal(build_table([run]))
    assert "±" not in text
    assert "over 1 seed." in text


def test_missing_evaluation_names_the_stage(tmp_path):
    run = write_run(tmp_path / "run", seeds=1)
    (run / "evaluation.json").unlink()
    with pytest.raises(FileNotFoundError, match="--stage=evaluate"):
        build_table([run])


def test_no_run_folder_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json.*--workdir"):
        build_table([tmp_path])
    with pytest.raises(ValueError, match="at least one run folder"):
        build_table([])
    with pytest.raises(TypeError, match="list of run folders"):
        build_table(str(tmp_path))


def test_unknown_paper_name_lists_the_valid_ones(tmp_path):
    run = write_run(tmp_path / "run", seeds=1, paper="lapalce")
    with pytest.raises(ValueError, match=r"'lapalce'.*binary, cifar10, laplace, mixture"):
        build_table([run])


def test_evaluation_of_other_members_is_refused(tmp_path):
    run = write_run(tmp_path / "run", seeds=2)
    config = json.loads((run / "config.json").read_text())
    config["members"] = config["members"][:1]
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"evaluates seed1.*--stage=evaluate"):
        build_table([run])


def test_unevaluated_representation_is_refused(runs):
    with pytest.raises(ValueError, match=r"no summary of 'whitened'.*normalized, raw"):
        build_table(runs, representation="whitened")


def _set_statistics(run, ad_of):
    """Sets AD average by step and n, with a p-value that accepts."""
    path = run / "evaluation.json"
    evaluation = json.loads(path.read_text())
    for entry in evaluation["summary"]:
        if entry["statistic"] == "ad_mean":
            entry["mean"], entry["standard_error"] = ad_of(entry["step"], entry["n"]), 0.01
        if entry["statistic"] == "dp_mean_p":
            entry["mean"] = 0.5
    path.write_text(json.dumps(evaluation))


def test_sizes_at_which_a_column_is_accepted_are_said_of_untrained_ones_too(tmp_path):
    runs = [
        write_run(tmp_path / name, title=name.title(), seeds=2, sample_sizes=(100, 500, 1000))
        for name in ("steady", "fading", "never")
    ]
    _set_statistics(runs[0], lambda step, n: 0.4)
    # Accepted untrained up to n = 500, where training still is at the comparison's n = 1,000.
    _set_statistics(runs[1], lambda step, n: 0.4 if step or n <= 500 else 2.0)
    _set_statistics(runs[2], lambda step, n: 3.0)
    text = text_lib.size_verdict(build_table(runs))
    assert text == (
        "Accepted at every n: Steady (untrained and epoch 20) and Fading (epoch 20). "
        "Accepted up to n = 500 only: Fading (untrained). "
        "Accepted at no n: Never (untrained and epoch 20)."
    )
    assert text.split(": ")[0] in format_terminal(build_table(runs))
    assert text_lib.size_verdict(build_table(runs[1:2])) == (
        "Accepted up to n = 500 only: untrained. Accepted at every n: epoch 20."
    )
    # A column that is accepted at larger n alone is no column that is accepted up to one.
    _set_statistics(runs[0], lambda step, n: 0.4 if n == 500 else 0.9)
    assert "Accepted at n = 500 only: Steady" in text_lib.size_verdict(build_table(runs))


def test_many_settings_are_counted_at_their_sizes(tmp_path):
    run = write_run(
        tmp_path / "sweep", seeds=1, temperatures=(0.1, 0.2, 0.3, 0.4, 0.5), n=300, views=False,
        sample_sizes=(100, 250),
    )  # fmt: skip
    _set_statistics(run, lambda step, n: 0.4 if step else 0.9)
    assert text_lib.size_verdict(build_table([run])) == (
        "Accepted at no n: untrained 5 of 5. Accepted at every n: epoch 20 5 of 5."
    )


@pytest.mark.parametrize(
    ("before", "after", "is_worse"), [(1.78, 6.5, 1), (6.5, 1.78, 0), (2, 2.02, 0)]
)
def test_that_training_made_ad_worse_is_said_beyond_noise(tmp_path, before, after, is_worse):
    run = write_run(tmp_path / "run", seeds=2, sample_sizes=(100, 1000))
    _set_statistics(run, lambda step, n: after if step else before)
    text = text_lib.verdict(build_table([run]))
    assert ("Training made AD worse for Laplace (from 1.78 to 6.50)." in text) == is_worse
    assert ("worse" in text) == is_worse


@pytest.mark.parametrize(
    ("full", "is_trial"), [(100.0, True), (20.0, False), (20.3, False), (0.0, False)]
)
def test_a_run_short_of_the_whole_experiment_is_called_a_trial(tmp_path, full, is_trial):
    run = write_run(tmp_path / "run", seeds=1, full_epochs=full)
    text = text_lib.verdict(build_table([run]))
    assert (
        "This is a trial, not the whole experiment: Laplace (20 of 100 epochs)." in text
    ) == is_trial
    assert ("trial" in text) == is_trial


def test_title_and_paper_belong_to_the_data_they_were_stated_for(tmp_path):
    run = write_run(
        tmp_path / "run", title="CIFAR-10, ResNet-18", source="cifar10", seeds=1, full_epochs=100.0
    )
    (group,) = build_table([run]).groups
    assert group.title == "CIFAR-10, ResNet-18" and group.columns[-1].paper["norm_cv"] == 0.09
    config = json.loads((run / "config.json").read_text())
    config["data"] |= {"source": "array", "path": "~/data/birds.npy"}
    config["encoder"] = {"name": "resnet18"}
    (run / "config.json").write_text(json.dumps(config))
    table = build_table([run])
    assert table.groups[0].title == "birds.npy, ResNet-18"
    assert table.groups[0].columns[-1].paper is None
    text = " ".join(format_terminal(table).split())
    assert "CIFAR-10" not in text and "are for cifar10, not for these data" in text
    # Neither its rows, which would be empty, nor the number of epochs that its experiment takes.
    assert "paper –" not in text and "trial" not in text
    page = write_report([run], tmp_path / "page").read_text()
    assert "Beside the paper" not in page and 'class="paper"' not in page
    # A title without a row of the paper's is kept, unless it names its data.
    config["report"] |= {"paper": "", "source": ""}
    (run / "config.json").write_text(json.dumps(config))
    assert build_table([run]).groups[0].title == "CIFAR-10, ResNet-18"
    config["report"]["source"] = "cifar10"
    (run / "config.json").write_text(json.dumps(config))
    assert build_table([run]).groups[0].title == "birds.npy, ResNet-18"


def test_configurations_whose_title_names_data_state_which():
    named = {"CIFAR": "cifar10", "Laplace": "laplace", "mixture": "mixture", "binary": "binary"}
    seen = set()
    for file in sorted(ROOT.glob("configs/**/*.py")):
        module = runpy.run_path(str(file))
        config = module["get_config"]()
        variants = []
        if "sweep" in module:
            takes_config = module["sweep"].__code__.co_argcount
            variants = module["sweep"](*[config] * takes_config)
            variants = list(variants.values()) if isinstance(variants, dict) else []
        for fields in [{}, *variants]:
            variant = {**config.report, "data.source": config.data.source}
            variant |= {name.removeprefix("report."): value for name, value in fields.items()}
            for word, source in named.items():
                if word in variant["title"]:
                    assert (variant["source"] or variant["paper"]) == source, (
                        file,
                        variant["title"],
                    )
                    assert variant["data.source"] == source
                    seen.add(source)
    assert seen == set(named.values())
