"""The page is whole by itself, shows every seed, and says what is missing."""

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from synthetic_run import write_run

from infonce_jax.report import canvas, exhibits, figures, write_report
from infonce_jax.report.runs import load_runs
from infonce_jax.report.table import tabulate
from tests.overlapping import overlaps

FIGURES = ("norms", "coordinates", "quantiles", "cosines", "sizes", "training")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return [
        write_run(root / "laplace"),
        write_run(root / "mixture", title="Mixture", source="mixture", untrained="mixture"),
    ]


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    return write_report(runs, tmp_path_factory.mktemp("out"))


class _Parser(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _parse(text):
    parser = _Parser()
    parser.feed(text)
    assert parser.open == []
    return parser


def test_page_fetches_nothing(page):
    text = page.read_text()
    parser = _parse(text)
    assert not {"script", "link", "iframe", "img"} & set(parser.tags)
    for tag, name, value in parser.attributes:
        assert name not in ("src", "srcset", "data", "background")
        if name in ("href", "xlink:href"):
            assert value.startswith("#") or tag == "a"
        assert not name.startswith("on")
    assert "url(" not in re.sub(r"url\(#[^)]*\)", "", text)
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_page_is_small_and_made_for_phones_and_print(page):
    text = page.read_text()
    assert page.stat().st_size < 3e6
    assert 'name="viewport"' in text and "@media print" in text


def test_ids_are_unique_and_every_reference_finds_one(page):
    attributes = _parse(page.read_text()).attributes
    ids = [value for _, name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    references = {value[1:] for tag, name, value in attributes if name == "xlink:href"}
    references |= set(re.findall(r"url\(#([^)]*)\)", page.read_text()))
    assert references and references <= set(ids)


def test_page_holds_the_verdict_both_tables_and_every_figure(page, runs):
    text = page.read_text()
    assert "After training, at n = 1,000, Laplace and Mixture are in the range" in text
    for wanted in ("0.384", "untrained", "Beside the paper", "ICLR 2026", "Zeta &lt;9&gt;"):
        assert wanted in text
    assert "python launch.py --config=configs/laplace.py" in text
    files = sorted(path.name for path in (page.parent / "figures").iterdir())
    assert len(files) == len(FIGURES) * len(runs)
    for name in FIGURES:
        assert sum(file.startswith(f"{name}-") for file in files) == len(runs)
    assert text.count("<svg") == len(files)


def test_figure_files_are_valid_svg(page):
    for file in (page.parent / "figures").iterdir():
        assert ElementTree.parse(file).getroot().tag.endswith("svg")


def test_page_shows_only_configuration_that_differs_first(page):
    text = page.read_text()
    differing = text[text.index("in which the runs differ") : text.index("fields they share")]
    shared = text[text.index("fields they share") :]
    assert "data.source" in differing and "objective" not in differing
    assert "objective" in shared and "data.source" not in shared


def test_same_folders_give_the_same_bytes_and_leave_nothing_behind(runs, page, tmp_path):
    again = write_report(runs, tmp_path / "new" / "folder")
    assert again.read_bytes() == page.read_bytes()
    write_report(runs, again.parent)
    assert sorted(path.name for path in again.parent.iterdir()) == ["figures", "report.html"]
    assert not [p for p in (again.parent / "figures").iterdir() if p.name.startswith(".")]


def test_every_seed_is_drawn():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((50, 6)).cumsum(axis=0)
    logged = [figures.Logged("loss", values), figures.Logged("alignment", 2 * values)]
    settings = {"temperature 0.1": [0, 1, 2], "temperature 0.5": [3, 4, 5]}
    with figures.style():
        figure = figures.training(np.arange(50.0), "step", logged, settings)
    for axes, metric in zip(figure.axes, logged, strict=True):
        drawn = [line.get_ydata() for line in axes.lines]
        for member in metric.values.T:
            assert any(np.array_equal(line, member) for line in drawn)
        for members in settings.values():
            mean = metric.values[:, members].mean(axis=1)
            assert any(np.allclose(line, mean) for line in drawn)
        assert len(drawn) == 6 + 2


def test_the_bound_of_a_metric_is_drawn_for_each_setting():
    values = np.full((50, 4), 0.5)
    bound = values + np.array([0.1, 0.1, 0.2, 0.2])
    settings = {"noise 0.5": [0, 1], "noise 1": [2, 3]}
    with figures.style():
        logged = [figures.Logged("alignment", values, bound)]
        figure = figures.training(np.arange(50.0), "step", logged, settings)
    drawn = {round(float(line.get_ydata()[0]), 6) for line in figure.axes[0].lines}
    assert drawn == {0.5, 0.6, 0.7}


def test_every_seed_is_drawn_against_the_sample_size():
    values = np.array([[0.4, 0.5, 0.9], [0.3, 0.6, 1.1]])
    curves = [figures.Curve("untrained", canvas.UNTRAINED, np.array([100, 1000, 9000]), values)]
    with figures.style():
        (axes,) = figures.sample_sizes(curves, 0.384, 0.752).axes
    drawn = [line.get_ydata() for line in axes.lines]
    for expected in (*values, values.mean(axis=0)):
        assert any(np.allclose(line, expected) for line in drawn if len(line) == 3)


def test_normal_band_holds_19_of_20_normal_samples():
    n, rng = 400, np.random.default_rng(1)
    at, lower, upper = figures.normal_band(n)
    z = rng.standard_normal((600, n))
    z = (z - z.mean(1, keepdims=True)) / z.std(1, ddof=1, keepdims=True)
    quantiles = np.quantile(z, at, axis=1).T
    inside = ((quantiles > lower) & (quantiles < upper)).all(axis=1).mean()
    assert 0.91 < inside < 0.98
    heavy = rng.standard_t(4, (100, n))
    heavy = (heavy - heavy.mean(1, keepdims=True)) / heavy.std(1, ddof=1, keepdims=True)
    quantiles = np.quantile(heavy, at, axis=1).T
    assert ((quantiles > lower) & (quantiles < upper)).all(axis=1).mean() < 0.2


def test_text_of_the_user_is_escaped(tmp_path):
    evil = "<script>alert('x')</script> & \"more\""
    run = write_run(tmp_path / "run", title=evil, seeds=1)
    record = json.loads((run / "run.json").read_text())
    record["command"] = evil
    (run / "run.json").write_text(json.dumps(record))
    for title in (None, evil):
        text = write_report([run], tmp_path / "out", title=title).read_text()
        parser = _parse(text)
        assert "script" not in parser.tags
        assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("remove", "sentence"),
    [
        ("metrics.jsonl", "no metrics.jsonl, so there are no training curves"),
        ("embeddings", "there are no embeddings of step 0 on disk"),
        ("run.json", "The command and the machine of Laplace are unknown"),
    ],
)
def test_what_is_missing_is_said(tmp_path, remove, sentence):
    run = write_run(tmp_path / "run", seeds=1)
    path = run / remove
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    text = write_report([run], tmp_path / "out").read_text()
    assert sentence in text
    assert "Beside the paper" in text


def test_embeddings_without_views_have_no_cosines_but_the_rest(tmp_path):
    run = write_run(tmp_path / "run", seeds=1, views=False)
    text = write_report([run], run).read_text()
    assert "the two views were not embedded" in text
    assert (run / "report.html").is_file()
    drawn = {path.name.split("-")[0] for path in (run / "figures").iterdir()}
    assert drawn == set(FIGURES) - {"cosines"}


def test_untrained_encoder_alone(tmp_path):
    run = write_run(tmp_path / "run", seeds=2, epochs={0: 0.0}, sample_sizes=(1000,))
    text = write_report([run], tmp_path / "out").read_text()
    assert "only untrained encoders were evaluated" in text
    assert "a single sample size" in text


def test_without_step_0_the_missing_control_is_named(tmp_path):
    run = write_run(tmp_path / "run", seeds=1, epochs={100: 20.0})
    text = write_report([run], tmp_path / "out").read_text()
    assert "no untrained control" in text


def test_constant_coordinates_and_zero_rows_do_not_stop_the_page(tmp_path):
    run = write_run(tmp_path / "run", seeds=1)
    from infonce_jax import embeddings

    held = embeddings.read(run / "embeddings" / "100")
    arrays = {
        (e["member"], e["split"], e["view"]): held.array(e["member"], e["split"], e["view"]).copy()
        for e in held.manifest["arrays"]
    }
    for z in arrays.values():
        z[:, 3] = 0.0
        z[7] = 0.0
    embeddings.write(
        run / "embeddings", 100, arrays=arrays, labels={}, members=held.members, metadata={}
    )
    assert write_report([run], tmp_path / "out").read_text().count("<svg") == len(FIGURES)


@pytest.mark.parametrize(
    ("source", "channel", "unit"),
    [
        ("laplace", "gaussian_noise", "vectors"),
        ("array", "simclr", "images"),
        ("array", "erasure", "rows"),
    ],
)
def test_rates_are_the_medians_of_what_was_measured(tmp_path, source, channel, unit):
    run = write_run(tmp_path / "run", source=source, paper="", seeds=1)
    config = json.loads((run / "config.json").read_text())
    config["channel"] = {"name": channel}
    (run / "config.json").write_text(json.dumps(config))
    timing = [json.loads(line) for line in (run / "timing.jsonl").read_text().splitlines()]
    for line in timing:
        line["images_per_s"] = 15850.4
    (run / "timing.jsonl").write_text("".join(json.dumps(line) + "\n" for line in timing))
    text = write_report([run], tmp_path / "out").read_text()
    head, _, row = text.partition("Training, median rates")[2].partition("</tr>")
    assert ">steps/s<" in head and f">{unit}/s<" in head
    assert ">11.00<" in row and ">15,850<" in row


def test_panels_beside_each_other_share_their_axes(runs, monkeypatch):
    drawn = []
    to_svg = canvas.to_svg
    monkeypatch.setattr(
        canvas, "to_svg", lambda f, name: drawn.append((name, f)) or to_svg(f, name)
    )
    loaded = load_runs(runs)
    exhibits.draw(tabulate(loaded), loaded)
    for key in FIGURES:
        first, second = (f for name, f in drawn if name.startswith(f"{key}-"))
        for one, other in zip(first.axes, second.axes, strict=True):
            assert one.get_ylim() == other.get_ylim(), key
            assert list(one.get_yticks()) == list(other.get_yticks()), key
            if key != "training":
                assert one.get_xlim() == other.get_xlim(), key


def test_no_legend_lies_over_a_plot_and_no_text_over_another(runs, monkeypatch):
    drawn = []
    to_svg = canvas.to_svg
    monkeypatch.setattr(
        canvas, "to_svg", lambda f, name: drawn.append((name, f)) or to_svg(f, name)
    )
    loaded = load_runs(runs)
    exhibits.draw(tabulate(loaded), loaded)
    with canvas.style():
        for name, figure in drawn:
            assert overlaps(figure) == [], name


@pytest.mark.parametrize("title", ["on the line", "over the ticks"])
def test_overlaps_are_found(title):
    with canvas.style():
        figure, (axes, _) = canvas.panels(0.8, rows=2, gap_inch=0.1)
        assert overlaps(figure) == []
        if title == "on the line":
            axes.legend(handles=axes.plot([0, 1], [0, 1], label="line"), loc="upper left")
        else:
            axes.tick_params(labelbottom=True)
            figure.axes[1].set_title(title, loc="left", pad=2)
        assert overlaps(figure) != []


def test_percentages_are_written_in_one_way(page):
    text = page.read_text()
    assert re.search(r"\d%", text)
    assert not re.search(
        r"\d[\s\u00a0\u202f]%", re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    )


def test_text_has_one_width_and_tables_keep_their_first_column(page):
    style = re.search(r"<style>(.*?)</style>", page.read_text(), re.DOTALL)[1]
    assert set(re.findall(r"max-width: ([^;]*);", re.sub(r"@media[^{]*", "", style))) == {
        "71rem", "var(--text)", "26rem", "none",
    }  # fmt: skip
    assert re.search(r"tbody th, thead th:first-child \{[^}]*position: sticky; left: 0", style)
    tables = re.findall(r"<div class=[^>]*><table", page.read_text())
    assert tables and all("tabindex" in table and "scroll" in table for table in tables)


def test_a_dark_page_has_readable_figures(page):
    text = page.read_text()
    style = re.search(r"prefers-color-scheme: dark\) \{(.*?)\n\}", text, re.DOTALL)[1]
    light = re.search(r"(:root.*?)@media", text, re.DOTALL)[1]
    defined = dict(re.findall(r"(--[a-z-]+): (#[0-9a-fA-F]+)", style))
    assert set(re.findall(r"var\((--[a-z-]+)\)", text)) <= {*re.findall(r"(--[a-z-]+):", light)}
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        used = set(re.findall(r"var\((--[a-z-]+),", svg))
        assert {"--figure-ink", "--figure-paper"} <= used <= set(defined)
        assert not re.search(r"(fill|stroke): (#222222|#ffffff)", svg)
    # Files of their own stand by themselves, on white.
    for file in (page.parent / "figures").iterdir():
        assert "var(" not in file.read_text() and "#ffffff" in file.read_text()


def test_torn_last_line_of_the_metrics_is_left_out(tmp_path):
    run = write_run(tmp_path / "run", seeds=1)
    with open(run / "metrics.jsonl", "a") as stream:
        stream.write('{"step": 101, "lo')
    assert "training curves" not in write_report([run], tmp_path / "out").read_text()


def test_metrics_of_another_run_are_refused(tmp_path):
    run = write_run(tmp_path / "run", seeds=2)
    with open(run / "metrics.jsonl", "a") as stream:
        stream.write('{"step": 101, "epoch": 21, "loss": [1.0, 2.0, 3.0]}\n')
    with pytest.raises(ValueError, match=r"loss at step 101 has 3 values.*2 members"):
        write_report([run], tmp_path / "out")
    assert not (tmp_path / "out" / "report.html").exists()


def test_many_settings_are_in_the_table_and_some_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(exhibits, "_MOST_PANELS", 2)
    run = write_run(
        tmp_path / "sweep",
        seeds=1,
        temperatures=(0.1, 0.2, 0.3, 1.4),
        n=60,
        views=False,
        sample_sizes=(50,),
    )
    text = write_report([run], tmp_path / "out").read_text()
    assert "2 further settings are in the table and not drawn" in text
    assert "temperature 1.4" in text
    assert text.count("<svg") == 2 * len(("norms", "coordinates", "quantiles")) + 1


def test_matplotlib_is_loaded_for_figures_alone_and_left_as_it_was(runs, tmp_path):
    code = f"""
import sys
from infonce_jax.report import build_table, format_terminal, write_report
format_terminal(build_table([{str(runs[0])!r}]))
assert "matplotlib" not in sys.modules
import matplotlib
before = matplotlib.rcParams.copy()
write_report([{str(runs[0])!r}], {str(tmp_path)!r})
assert matplotlib.rcParams.copy() == before
assert "matplotlib.pyplot" not in sys.modules
assert "flax" not in sys.modules and "orbax" not in sys.modules and "optax" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
