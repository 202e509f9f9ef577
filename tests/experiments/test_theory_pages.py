"""The command that draws the theory's page."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from experiments import pages, power_law, theory
from infonce_jax.report import canvas
from tests.overlapping import overlaps

PAGE = Path(__file__).parent.parent.parent / "docs" / "theory.md"


def test_draws_what_it_can_and_names_what_is_missing(tmp_path, capsys):
    page = tmp_path / "page.md"
    arguments = ["--runs", str(tmp_path), "--output", str(tmp_path / "out"), "--page", str(page)]
    assert theory.main([*arguments, "--only", "kl", "beta"]) == 0
    ElementTree.parse(tmp_path / "out" / "kl.svg")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["kl.svg"]
    assert f"{tmp_path / 'beta'} holds no run" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["phi", "batch", "kl"])
def test_no_text_overlaps_or_is_cut_off(name):
    with canvas.style():
        drawn = theory.EXHIBITS[name](Path("no runs"))
        assert overlaps(drawn.figure) == []


def test_a_table_takes_its_place_in_the_page_again_and_again(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "before\n\n<!-- one -->\n<!-- end -->\n\n<!-- two -->\nkept\n<!-- end -->\nafter\n"
    )
    for cell in ("1", "2"):
        pages.set_table(page, "one", pages.markdown([["a", "b"], [cell, "x\\d"]]))
    text = page.read_text()
    assert "| 2   | x\\d |" in text and "| 1 " not in text
    assert "kept" in text and text.endswith("after\n")


def test_exponents_of_power_laws():
    x = np.array([8.0, 16.0, 32.0, 64.0])
    y = 3 * x[:, None] ** np.array([-0.5, -1.0, 2.0])
    np.testing.assert_allclose(power_law.exponents(x, y), [-0.5, -1, 2], rtol=1e-12)
    noisy = y * np.random.default_rng(0).lognormal(0, 0.1, y.shape)
    fitted = np.polyfit(np.log(x), np.log(noisy), 1)[0]
    np.testing.assert_allclose(power_law.exponents(x, noisy), fitted, rtol=1e-12)


def test_no_exponent_where_none_can_be_fitted():
    x, y = np.array([1.0, 2.0]), np.array([[1.0, 1.0], [2.0, 0.0]])
    np.testing.assert_allclose(power_law.exponents(x, y), [1, np.nan])
    assert np.isnan(power_law.exponents(x[:1], y[:1])).all()


def test_the_page_shows_every_exhibit():
    text = PAGE.read_text()
    for name in theory.EXHIBITS:
        assert f"(theory/{name}.svg)" in text or f"<!-- {name} -->" in text, name
