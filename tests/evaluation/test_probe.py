"""Linear probe and nearest neighbours: against closed answers and plain computations."""

import numpy as np
import pytest
import scipy.stats
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import LogisticRegression

from infonce_jax.evaluation.probe import (
    calibration_error,
    fit_gaussian,
    fit_logistic,
    linear_probe,
    log_loss,
    nearest_neighbours,
)


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


def test_the_logistic_regression_is_scikit_learns():
    centres = np.random.default_rng(3).normal(size=(4, 5))
    z, labels = classes(700, 5, centres)
    z = 3 * z + 10
    test_z = 3 * classes(200, 5, centres, seed=1)[0] + 10
    mean, spread = z.mean(axis=0), z.std(axis=0)
    for weight_decay in (1e-3, 0.1):
        # Theirs penalises ‖W‖²/2 against C times the sum of losses.
        theirs = LogisticRegression(C=1 / (len(z) * weight_decay), tol=1e-8, max_iter=1000)
        theirs.fit((z - mean) / spread, labels)
        ours = fit_logistic(z, labels, weight_decay=weight_decay)
        np.testing.assert_allclose(
            ours.log_probabilities(test_z),
            theirs.predict_log_proba((test_z - mean) / spread),
            atol=5e-3,
        )
        assert (
            ours.predict(test_z) == ours.classes[ours.log_probabilities(test_z).argmax(1)]
        ).all()


def test_the_gaussian_classifier_is_bayes_rule_with_ledoit_and_wolfs_covariance():
    centres = np.random.default_rng(3).normal(size=(3, 6))
    z, labels = classes(90, 6, centres)
    test_z, _ = classes(50, 6, centres, seed=1)
    means = np.stack([z[labels == k].mean(axis=0) for k in range(3)])
    shares = np.bincount(labels) / len(z)
    within, _ = ledoit_wolf(z - means[labels], assume_centered=True)
    for covariance in (None, np.diag(np.arange(1.0, 7.0))):
        used = within if covariance is None else covariance
        joint = np.stack(
            [
                np.log(share) + scipy.stats.multivariate_normal(mean, used).logpdf(test_z)
                for share, mean in zip(shares, means, strict=True)
            ],
            axis=1,
        )
        expected = joint - scipy.special.logsumexp(joint, axis=1, keepdims=True)
        found = fit_gaussian(z, 10 * labels, covariance=covariance)
        np.testing.assert_allclose(found.log_probabilities(test_z), expected, atol=1e-9)
        assert (found.predict(test_z) == 10 * joint.argmax(axis=1)).all()


def test_with_one_row_in_each_class_the_nearest_mean_wins():
    rng = np.random.default_rng(0)
    z, test_z = rng.standard_normal((5, 20)), rng.standard_normal((300, 20))
    distance = np.linalg.norm(test_z[:, None] - z, axis=2)
    assert (fit_gaussian(z, np.arange(5)).predict(test_z) == distance.argmin(axis=1)).all()


def test_calibration_error_and_log_loss_by_their_definitions():
    rng = np.random.default_rng(0)
    logits = 2 * rng.standard_normal((4000, 5))
    log_probabilities = logits - scipy.special.logsumexp(logits, axis=1, keepdims=True)
    probabilities = np.exp(log_probabilities)
    columns = rng.integers(5, size=4000)
    expected = 0.0
    confidence, choice = probabilities.max(axis=1), probabilities.argmax(axis=1)
    for k in range(15):
        inside = (confidence > k / 15) & (confidence <= (k + 1) / 15)
        if inside.any():
            gap = np.mean(choice[inside] == columns[inside]) - confidence[inside].mean()
            expected += inside.mean() * abs(gap)
    assert calibration_error(log_probabilities, columns) == pytest.approx(expected, abs=1e-12)
    assert log_loss(log_probabilities, columns) == pytest.approx(
        -np.mean([np.log(p[c]) for p, c in zip(probabilities, columns, strict=True)])
    )
    # Classes drawn by the probabilities themselves: nothing is left but chance.
    true = np.array([rng.choice(5, p=p) for p in probabilities])
    assert calibration_error(log_probabilities, true) < 0.04 < expected


def test_labels_that_say_nothing_are_not_learned():
    z, labels = classes(4000, 8, np.zeros((5, 8)))
    test_z, test_labels = classes(4000, 8, np.zeros((5, 8)), seed=1)
    assert linear_probe(z, labels, test_z, test_labels) == pytest.approx(0.2, abs=0.03)
    assert nearest_neighbours(z, labels, test_z, test_labels) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("is_sorted", [False, True])
@pytest.mark.parametrize("k", [1, 5, 140])
def test_neighbours_are_those_of_a_plain_search(k, is_sorted):
    centres = np.random.default_rng(3).normal(size=(3, 4))
    z, labels = classes(150, 4, centres)
    if is_sorted:
        order = np.argsort(labels)
        z, labels = z[order], labels[order]
    test_z, test_labels = classes(1100, 4, centres, seed=1)
    correct = 0
    for row, label in zip(test_z, test_labels, strict=True):
        cosine = z @ row / np.linalg.norm(z, axis=1) / np.linalg.norm(row)
        near = labels[np.argsort(-cosine)[:k]]
        correct += np.bincount(near, minlength=3).argmax() == label
    assert nearest_neighbours(z, labels, test_z, test_labels, k=k) == correct / 1100


def test_neighbours_of_a_collapsed_encoder_are_all_alike():
    z = np.ones((2000, 3))
    labels = np.repeat([0, 1], 1000)
    accuracy = nearest_neighbours(z, labels, z[:10], np.zeros(10, int), k=1)
    assert accuracy in (0, 1)


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
    with pytest.raises(ValueError, match="the label 7 is not among the 3 classes"):
        fit_logistic(z, labels).columns(np.array([0, 7]))
    with pytest.raises(ValueError, match=r"shape \(2, 2\); z has 3 coordinates"):
        fit_gaussian(z, labels, covariance=np.eye(2))
    with pytest.raises(ValueError, match="not positive definite"):
        fit_gaussian(z, labels, covariance=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="bins is 0"):
        calibration_error(np.zeros((2, 2)), np.array([0, 1]), bins=0)
    z[4] = 0
    with pytest.raises(ValueError, match="no direction"):
        nearest_neighbours(z, labels, z, labels, k=3)
