"""Linear probe and nearest neighbours: against closed answers and plain computations."""

import numpy as np
import pytest
import scipy.stats

from infonce_jax.evaluation.probe import linear_probe, nearest_neighbours


def classes(n, dim, centres, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(centres), size=n)
    return scale * (centres[labels] + rng.standard_normal((n, dim))), labels


def test_the_probe_reaches_the_best_linear_accuracy_of_two_gaussians():
    centres = np.zeros((2, 6))
    centres[1, 0] = 2.0
    z, labels = classes(20_000, 6, centres)
    test_z, test_labels = classes(20_000, 6, centres, seed=1)
    # Bayes: half the distance between the means, in standard deviations.
    best = scipy.stats.norm.cdf(1.0)
    assert linear_probe(z, labels, test_z, test_labels) == pytest.approx(best, abs=0.01)


def test_the_probe_does_not_depend_on_scale_shift_or_names_of_classes():
    centres = np.random.default_rng(3).normal(size=(4, 5))
    z, labels = classes(800, 5, centres)
    test_z, test_labels = classes(800, 5, centres, seed=1)
    accuracy = linear_probe(z, labels, test_z, test_labels)
    stretch = np.array([1e-3, 1.0, 50.0, 7.0, 0.2])
    moved = linear_probe(
        z * stretch + 100, 7 * labels + 2, test_z * stretch + 100, 7 * test_labels + 2
    )
    assert moved == pytest.approx(accuracy, abs=0.003)
    assert 0.5 < accuracy < 1


def test_labels_that_say_nothing_are_not_learned():
    z, labels = classes(4000, 8, np.zeros((5, 8)))
    test_z, test_labels = classes(4000, 8, np.zeros((5, 8)), seed=1)
    assert linear_probe(z, labels, test_z, test_labels) == pytest.approx(0.2, abs=0.03)
    assert nearest_neighbours(z, labels, test_z, test_labels) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("k", [1, 5])
def test_neighbours_are_those_of_a_plain_search(k):
    centres = np.random.default_rng(3).normal(size=(3, 4))
    z, labels = classes(150, 4, centres)
    test_z, test_labels = classes(1100, 4, centres, seed=1)
    correct = 0
    for row, label in zip(test_z, test_labels, strict=True):
        cosine = z @ row / np.linalg.norm(z, axis=1) / np.linalg.norm(row)
        near = labels[np.argsort(-cosine)[:k]]
        correct += np.bincount(near, minlength=3).argmax() == label
    assert nearest_neighbours(z, labels, test_z, test_labels, k=k) == correct / 1100


def test_bad_input_is_named(unchecked_types):
    z, labels = classes(20, 3, np.eye(3))
    for judge in (linear_probe, nearest_neighbours):
        with pytest.raises(ValueError, match=r"labels have shape \(19,\)"):
            judge(z, labels[:-1], z, labels)
        with pytest.raises(ValueError, match="3 coordinates and test_z 2"):
            judge(z, labels, z[:, :2], labels)
    with pytest.raises(ValueError, match="k is 21"):
        nearest_neighbours(z, labels, z, labels, k=21)
    with pytest.raises(ValueError, match="weight_decay is -1"):
        linear_probe(z, labels, z, labels, weight_decay=-1)
    z[4] = 0
    with pytest.raises(ValueError, match="no direction"):
        nearest_neighbours(z, labels, z, labels, k=3)
