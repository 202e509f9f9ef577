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
    for title in ("p-values of the coordinates", "Norms", "Spectrum", "against the sample size"):
        assert title in text
    assert text.count("<svg") == 10
    assert "a&b.npy" not in text
    assert "default-src 'none'" in text and "<script" not in text and "@import" not in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
