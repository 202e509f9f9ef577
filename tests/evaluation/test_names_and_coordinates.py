"""Names that are given singly or in long form, and single coordinates that are named."""

import numpy as np
import pytest

from infonce_jax import evaluation
from infonce_jax.evaluation.__main__ import main

RNG = np.random.default_rng(5)


def test_a_single_name_is_one_name_and_long_names_are_known(tmp_path, capsys):
    z = RNG.standard_normal((300, 3))
    expected = evaluation.anderson_darling(z).pvalue
    for name in ("ad", "anderson_darling", "Anderson-Darling"):
        for given in (name, [name]):
            found = evaluation.univariate(z, given)
            assert list(found) == [name] and np.array_equal(found[name].pvalue, expected)
    long = ["Cramér-von Mises", "D'Agostino-Pearson", "lilliefors"]
    assert list(evaluation.univariate(z, long)) == long
    for test in evaluation.TESTS.values():
        evaluation.univariate(z, test)
    with pytest.raises(ValueError, match=r"unknown test 'anderson'; choose from ad \(Anderson-D"):
        evaluation.univariate(z, "anderson")
    one = {"sample_sizes": "all", "representations": "raw", "tests": "anderson_darling"}
    several = {"sample_sizes": ["all"], "representations": ["raw"], "tests": ["ad"]}
    assert evaluation.evaluate_arrays(z, **one) == evaluation.evaluate_arrays(z, **several)
    file = tmp_path / "z.npy"
    np.save(file, z)
    for path in (file, str(file)):
        rows = evaluation.evaluate_paths(path, **one, controls="permuted")
        assert {row["source"] for row in rows} == {str(file), f"{file} [permuted]"}
    assert list(evaluation.multivariate.multivariate(z, "bhep", draws=9)) == ["bhep"]
    assert list(evaluation.sphere.sphere(z, "rayleigh", draws=9)) == ["rayleigh"]
    (tmp_path / "z.csv").write_text("id,a,b\n" + "".join(f"{i},0.5,{i}.25\n" for i in range(9)))
    assert next(iter(evaluation.load_embeddings(tmp_path / "z.csv", "id").values())).shape == (9, 2)
    argv = ["evaluate", str(file), "--sample_sizes", "all", "--representation", "raw", "--tests"]
    assert main([*argv, "anderson_darling"]) == 0
    assert main([*argv, "anderson"]) == 2
    assert "unknown test 'anderson'; choose from ad (Ander" in capsys.readouterr().err
