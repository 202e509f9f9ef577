"""The table says what the evaluation says, beside what the paper says."""

import json

import pytest
from synthetic_run import write_run

from infonce_jax.report import build_table, format_terminal
from infonce_jax.report import html as html_lib
from infonce_jax.report import table as table_lib
from infonce_jax.report import text as text_lib
from infonce_jax.report.paper import TABLE_1, Entry, reported


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


def test_alignment_is_set_against_its_bound_where_that_is_logged(runs, tmp_path):
    run = write_run(tmp_path / "bounded")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = sum(lines[-1]["alignment"]) / 3
    for line in lines:
        line["alignment_bound"] = [0.99] * 3
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = " ".join(format_terminal(build_table([run])).split())
    assert f"Laplace {last:.3f} of 0.990 ({100 * last / 0.99:.0f} %)" in text
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
    assert text.startswith("After training, Laplace and Gaussian mixture lie in the range")
    assert "Laplace already did before any training" in text
    assert "only Gaussian mixture owes it to training" in text


@pytest.mark.parametrize(
    ("untrained", "trained", "words"),
    [
        (True, True, "training is not what did it"),
        (False, True, "the untrained encoder did not"),
        (False, False, "lies outside the range"),
        (True, False, "did before training"),
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
    run = write_run(tmp_path / "binary", paper="binary", untrained="heavy", epochs=epochs)
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
    assert "n = 700 was asked for" in format_terminal(table)
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
    assert "0.384 (95 %)" in tail
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
