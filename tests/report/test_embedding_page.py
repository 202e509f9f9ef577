import re

import numpy as np

from infonce_jax.evaluation.__main__ import main


def test_the_page_holds_verdicts_tables_and_figures_and_fetches_nothing(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a&b.npy", rng.standard_normal((1500, 12)))
    np.save(tmp_path / "flat.npy", np.insert(rng.uniform(size=(1500, 12)), 3, 1.0, axis=1))
    argv = ["evaluate", tmp_path / "a&b.npy", tmp_path / "flat.npy", "--output", tmp_path / "out"]
    assert main([*map(str, argv), "--report"]) == 0
    assert "report.html" in capsys.readouterr().out
    text = (tmp_path / "out" / "report.html").read_text()
    for wanted in (
        "a&amp;b.npy, raw:",
        "Not Gaussian",
        "No deviation from a Gaussian found",
        "Q–Q plots",
    ):
        assert wanted in text, wanted
    assert "<pre>infonce-jax evaluate " in text
    for title in ("p-values of the coordinates", "Norms", "Spectrum", "against the sample size"):
        assert title in text
    assert text.count("<svg") == 10
    assert "quote the verdict of the raw rows" in text
    assert "a&b.npy" not in text
    assert "default-src 'none'" in text and "<script" not in text and "@import" not in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_many_sets_stand_in_order_with_shared_axes_and_their_figures_become_files(tmp_path):
    rng = np.random.default_rng(1)
    paths = []
    for layer, freedom in ((10, 30), (2, 3), (1, 3)):
        paths.append(str(tmp_path / f"layer-{layer}.npy"))
        np.save(paths[-1], rng.standard_t(freedom, (80, 4)))
    out, drawn = tmp_path / "out", tmp_path / "figures"
    argv = ["compare", *paths, "--tests", "ad", "--representation", "raw", "--sample_sizes", "all"]
    assert main([*argv, "--report", "--output", str(out), "--figures", str(drawn)]) == 0
    text = (out / "report.html").read_text()
    assert "From the closest to a Gaussian, by their coordinates:" in text
    assert '<table class="words">' in text and text.count("<details") == 4
    headings = re.findall(r"<h3>([^<]+)</h3>", text)
    assert headings == ["layer-1.npy", "layer-2.npy", "layer-10.npy"] * (len(headings) // 3)
    # Panels of one kind have the same ticks, since they share their axes.
    panels = re.findall(r'aria-label="quantiles: [^"]+".*?</svg>', text, re.DOTALL)
    ticks = [re.findall(r">(−?\d+)</text>", panel) for panel in panels]
    assert len(panels) == 3 and ticks[0] == ticks[1] == ticks[2] and len(ticks[0]) > 3
    assert "layer (n = 80)" in text
    names = {path.name for path in drawn.iterdir()}
    for name in ("trajectory", "norms-layer-1", "spectrum-layer-10"):
        assert {f"{name}.svg", f"{name}.pdf", f"{name}.png"} <= names
    assert (drawn / "trajectory.svg").read_text().startswith("<?xml")
    assert (drawn / "trajectory.pdf").read_bytes().startswith(b"%PDF")
