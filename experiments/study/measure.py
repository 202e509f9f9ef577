"""What is measured on an encoder: how Gaussian it is, and what its representations are good for."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from infonce_jax import losses
from infonce_jax.evaluation import (
    anderson_darling,
    norm_cv,
    norm_cv_gaussian,
    participation_ratio,
    probe,
    shape,
    whitening,
)
from infonce_jax.evaluation.groups import grouped, summary
from infonce_jax.evaluation.isotropy import isotropy

SHOTS = (1, 5, 20)
DRAWS = 10
# Of the logistic regression on few labels; the best in hindsight is told, which favours it.
PENALTIES = (1e-2, 1e-1, 1.0, 10.0, 100.0)
LARGEST_TEST = 10_000

Rows = Float[np.ndarray, "_ dim"]


class Encoded(NamedTuple):
    """The representations of one encoder.

    Attributes:
        train: of the training rows, without views.
        train_labels: their classes.
        test: of test rows of the same classes.
        test_labels: their classes.
        unknown: by name, of rows that are not of these classes.
        corrupted: by name and strength, of corrupted test rows, the first ones of `test` in their order.
    """

    train: Rows
    train_labels: Int[np.ndarray, " n"]
    test: Rows
    test_labels: Int[np.ndarray, " m"]
    unknown: Mapping[str, Rows]
    corrupted: Mapping[tuple[str, int], Rows]


def measure(encoded: Encoded, seed: int = 0) -> dict[str, float]:
    """All measures of one encoder, by name; accuracies and shares from 0 to 1."""
    # The run's test set includes the class held out, so Gaussianity is judged with it.
    held_out = encoded.unknown.get("held-out class")
    parts = [encoded.test] if held_out is None else [encoded.test, held_out]
    return (
        _gaussianity(np.concatenate(parts)[:LARGEST_TEST])
        | _classes(encoded)
        | _few_labels(encoded, seed)
        | _unknown(encoded)
    )


def _gaussianity(z: Rows) -> dict[str, float]:
    eigenvalues = shape.spectrum(z)
    rank = participation_ratio(z)
    return {
        "ad_groups": summary(grouped(z))["group_ad_mean"],
        "ad": float(np.nanmean(anderson_darling(z).statistic)),
        "excess_uniformity": isotropy(z).excess,
        "effective_rank": shape.effective_rank(eigenvalues),
        "rankme": float(losses.rankme(z)),
        "participation_ratio": rank,
        "cv": norm_cv(z),
        "cv_gaussian": norm_cv_gaussian(rank),
    }


def _classes(encoded: Encoded) -> dict[str, float]:
    """Accuracy and calibration of the probe, neighbours, and the probe on corrupted rows."""
    train, labels, test, test_labels = encoded[:4]
    model = probe.fit_logistic(train, labels)
    columns = model.columns(test_labels)
    log_probabilities = model.log_probabilities(test)
    found = {
        "between_class_share": shape.class_conditional(test, test_labels)["between_class_share"],
        "probe": _accuracy(model, test, test_labels),
        "knn": probe.nearest_neighbours(train, labels, test, test_labels),
        "ece": probe.calibration_error(log_probabilities, columns),
        "nll": probe.log_loss(log_probabilities, columns),
    }
    found["within_class_share"] = 1 - found["between_class_share"]
    if not encoded.corrupted:
        return found
    at = {key: _accuracy(model, z, test_labels[: len(z)]) for key, z in encoded.corrupted.items()}
    rows = len(next(iter(encoded.corrupted.values())))
    clean = _accuracy(model, test[:rows], test_labels[:rows])
    found |= {f"corrupted_{name}_{strength}": value for (name, strength), value in at.items()}
    found["corrupted"] = float(np.mean(list(at.values())))
    # Of the accuracy above chance, since encoders differ in the clean accuracy.
    chance = np.bincount(model.columns(test_labels[:rows])).max() / rows
    kept = (found["corrupted"] - chance) / (clean - chance) if clean > chance else float("nan")
    return found | {"robustness": float(kept)}


def _few_labels(encoded: Encoded, seed: int) -> dict[str, float]:
    """Accuracy with few labels of each class: means over draws of the labelled rows."""
    train, labels, test, test_labels = encoded[:4]
    of_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    # What rows without labels tell, of which there are as many as one likes.
    unlabelled = np.cov(train, rowvar=False)
    unlabelled[np.diag_indices_from(unlabelled)] += 1e-6 * np.trace(unlabelled) / len(unlabelled)
    found: dict[str, float] = {}
    for shots in SHOTS:
        rng = np.random.default_rng([seed, shots])
        scores = []
        for _ in range(DRAWS):
            rows = np.concatenate([rng.choice(of, shots, replace=False) for of in of_class])
            few, own = train[rows], labels[rows]
            models = [
                probe.fit_gaussian(few, own),
                probe.fit_gaussian(few, own, covariance=unlabelled),
                *(probe.fit_logistic(few, own, weight_decay=penalty) for penalty in PENALTIES),
            ]
            scores.append([_accuracy(model, test, test_labels) for model in models])
        gaussian, informed, *logistic = np.mean(scores, axis=0)
        found[f"gaussian_{shots}"] = float(gaussian)
        found[f"gaussian_unlabelled_{shots}"] = float(informed)
        found[f"logistic_{shots}"] = float(max(logistic))
        found[f"few_label_gain_{shots}"] = float(gaussian - max(logistic))
    return found


def _unknown(encoded: Encoded) -> dict[str, float]:
    """AUROC of two scores at telling test rows from others.

    The Mahalanobis distance under one Gaussian ranks as its likelihood does. The other is the distance
    to the nearest class mean under the covariance within classes.
    """
    if not encoded.unknown:
        return {}
    classes, index = np.unique(encoded.train_labels, return_inverse=True)
    means = np.stack([encoded.train[index == k].mean(axis=0) for k in range(len(classes))])
    whole = whitening.fit(encoded.train)
    within = whitening.fit(encoded.train - means[index])

    def nearest(z: Rows) -> np.ndarray:
        centred = (z - mean for mean in means)
        return np.min([whitening.mahalanobis(within, rows) for rows in centred], axis=0)

    inside = whitening.mahalanobis(whole, encoded.test), nearest(encoded.test)
    found: dict[str, float] = {}
    for name, z in encoded.unknown.items():
        found[f"auroc_{name}"] = whitening.auroc(inside[0], whitening.mahalanobis(whole, z))
        found[f"auroc_classes_{name}"] = whitening.auroc(inside[1], nearest(z))
    return found


def _accuracy(model: probe.Classifier, z: Rows, labels: Int[np.ndarray, " n"]) -> float:
    return float(np.mean(model.predict(z) == labels))
