"""How well classes can be predicted from embeddings: linear classifiers and nearest neighbours."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.special import log_softmax

from infonce_jax.evaluation.arrays import check_embeddings, directions
from infonce_jax.evaluation.covariance import sums
from infonce_jax.evaluation.shape import check_labels
from infonce_jax.evaluation.shrinkage import ledoit_wolf

_BLOCK_ROWS = 1000


class Classifier(NamedTuple):
    """A linear classifier: log p(class | z) = z W + b up to a constant of the row.

    Attributes:
        classes: the classes, ascending.
        weights: W.
        bias: b.
    """

    classes: Num[np.ndarray, " k"]
    weights: Float[np.ndarray, "d k"]
    bias: Float[np.ndarray, " k"]

    def log_probabilities(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """log p(class | z) of each row, in the order of `classes`."""
        return log_softmax(z @ self.weights + self.bias, axis=1)

    def predict(self, z: Float[np.ndarray, "n d"]) -> Num[np.ndarray, " n"]:
        """The most probable class of each row."""
        return self.classes[(z @ self.weights + self.bias).argmax(axis=1)]

    def columns(self, labels: Num[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Where in `classes` each label is.

        Raises:
            ValueError: for a label that is not among them.
        """
        labels = np.asarray(labels)
        found = np.searchsorted(self.classes, labels).clip(max=len(self.classes) - 1)
        unknown = labels[self.classes[found] != labels]
        if len(unknown):
            raise ValueError(
                f"the label {unknown[0]} is not among the {len(self.classes)} classes that the "
                "classifier was fitted on; leave these rows out, or fit it on rows of every class."
            )
        return found


def fit_logistic(
    z: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], *, weight_decay: float = 1e-4
) -> Classifier:
    """Multinomial logistic regression.

    Minimises the mean cross-entropy + weight_decay/2 ‖W‖² by L-BFGS to convergence, on coordinates
    standardised by the mean and standard deviation of `z`; the bias is not penalised.

    Examples:
        >>> labels = np.arange(600) % 3
        >>> z = np.random.default_rng(0).standard_normal((600, 4)) + 4 * np.eye(4)[labels]
        >>> model = evaluation.probe.fit_logistic(z, labels)
        >>> float(np.mean(model.predict(z) == labels)) > 0.95
        True

    Args:
        z: embeddings, one per row.
        labels: their classes.
        weight_decay: strength of the penalty.

    Raises:
        TypeError: for embeddings that are not of real floating type.
        ValueError: for labels that are not one per row, NaN or Inf, a negative weight_decay.
    """
    z = check_embeddings(z, "z", min_rows=2)
    labels = check_labels(labels, len(z))
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay is {weight_decay}; it must not be negative.")
    mean, spread = z.mean(axis=0), z.std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    classes, target = np.unique(labels, return_inverse=True)
    x = ((z - mean) / spread).astype(np.float32)
    n, d = x.shape
    rows = np.arange(n)

    def objective(flat):
        weights, bias = flat.reshape(d + 1, -1)[:d], flat.reshape(d + 1, -1)[d]
        logits = x @ weights.astype(np.float32) + bias.astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[rows, target]
        # One exponential serves loss and gradient; in place, since most of the time is spent here.
        residual = np.exp(logits, out=logits)
        total = residual.sum(axis=1, keepdims=True)
        loss = np.mean(np.log(total[:, 0]) - own)
        residual /= total
        residual[rows, target] -= 1
        gradient = np.concatenate([x.T @ residual / n + weight_decay * weights, [residual.mean(0)]])
        penalty = 0.5 * weight_decay * np.sum(weights**2)
        return float(loss + penalty), gradient.ravel().astype(np.float64)

    start = np.zeros((d + 1) * len(classes))
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    solution = found.reshape(d + 1, -1)
    weights = solution[:d] / spread[:, None]
    return Classifier(classes, weights, solution[d] - mean @ weights)


def fit_gaussian(
    z: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    *,
    covariance: Float[np.ndarray, "d d"] | None = None,
) -> Classifier:
    """Classes as Gaussians with one covariance: linear discriminant analysis.

    With m_k the mean of class k, π_k its share of the rows and Σ the covariance,
    log p(k | z) = m_kᵀ Σ⁻¹ z − m_kᵀ Σ⁻¹ m_k / 2 + log π_k, up to a constant of the row. Σ is that of
    the rows about their class's mean, (1 − s) S + s μ I with S of ddof = 0, μ = tr S / d and s of Ledoit
    & Wolf. With one row in each class there is no spread about the means: Σ is then a multiple of I, and
    the nearest mean wins.

    Examples:
        >>> labels = np.arange(600) % 3
        >>> z = np.random.default_rng(0).standard_normal((600, 4)) + 4 * np.eye(4)[labels]
        >>> model = evaluation.probe.fit_gaussian(z, labels)
        >>> float(np.mean(model.predict(z) == labels)) > 0.95
        True

    Args:
        z: embeddings, one per row.
        labels: their classes.
        covariance: Σ, where it is known better, for example from rows without labels: that of all rows
            together, within and between classes, ranks the classes as that within them does once there
            are many rows of each. Must be positive definite.

    Raises:
        TypeError: for embeddings that are not of real floating type.
        ValueError: for labels that are not one per row, NaN or Inf, rows that are all equal, and a
            covariance of another shape or not positive definite.

    References:
        Hastie, Tibshirani & Friedman, *The Elements of Statistical Learning*, 2009, section 4.3.
    """
    z = check_embeddings(z, "z", min_rows=2)
    labels = check_labels(labels, len(z))
    classes, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.stack([z[index == k].mean(axis=0, dtype=np.float64) for k in range(len(classes))])
    d = z.shape[1]
    if covariance is None:
        within = sums(z - means[index])
        if not np.trace(within.scatter) > 0:
            within = sums(z)._replace(scatter=np.eye(d) * np.var(z, axis=0, dtype=np.float64).sum())
        covariance, share = within.covariance, ledoit_wolf(within)
        covariance = (1 - share) * covariance + share * np.trace(covariance) / d * np.eye(d)
    if covariance.shape != (d, d):
        raise ValueError(f"the covariance has shape {covariance.shape}; z has {d} coordinates.")
    try:
        weights = cho_solve(cho_factor(covariance), means.T)
    except np.linalg.LinAlgError:
        raise ValueError(
            "the covariance is not positive definite, so that it has no inverse; leave out coordinates "
            "that are constant or repeat others, or shrink it towards a multiple of the identity."
        ) from None
    bias = np.log(counts / len(z)) - 0.5 * np.einsum("kd,dk->k", means, weights)
    return Classifier(classes, weights, bias)


def log_loss(log_probabilities: Float[np.ndarray, "n k"], columns: Int[np.ndarray, " n"]) -> float:
    """−mean log p(class) in nats, the negative log-likelihood of a classifier; log k if it guesses.

    Examples:
        >>> even = np.log(np.full((10, 4), 0.25))
        >>> round(evaluation.probe.log_loss(even, np.zeros(10, int)), 4)
        1.3863

    Args:
        log_probabilities: as `Classifier.log_probabilities` gives them.
        columns: of the true classes, as `Classifier.columns` gives them.
    """
    return float(-np.mean(log_probabilities[np.arange(len(columns)), columns]))


def calibration_error(
    log_probabilities: Float[np.ndarray, "n k"], columns: Int[np.ndarray, " n"], *, bins: int = 15
) -> float:
    """Expected calibration error: Σ_b (n_b / n) |accuracy_b − confidence_b|, from 0 to 1.

    Rows are put into bins of equal width by their confidence, the largest probability, a bin holding its
    upper edge. The estimate is not 0 for a calibrated classifier, but of the order √(bins / n).

    Examples:
        >>> sure = np.log(np.tile([0.9, 0.1], (10, 1)))
        >>> round(evaluation.probe.calibration_error(sure, np.zeros(10, int)), 3)  # always right
        0.1

    Args:
        log_probabilities: as `Classifier.log_probabilities` gives them.
        columns: of the true classes, as `Classifier.columns` gives them.
        bins: how many.

    Raises:
        ValueError: for less than one bin.

    References:
        Guo, Pleiss, Sun & Weinberger, [On calibration of modern neural
        networks](https://arxiv.org/abs/1706.04599), 2017, eq. 3.
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}; give at least one.")
    confidence = np.exp(log_probabilities.max(axis=1))
    correct = log_probabilities.argmax(axis=1) == columns
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(bin_of, correct - confidence, bins)
    return float(np.abs(gap).sum() / len(columns))


def linear_probe(
    z: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    test_z: Float[np.ndarray, "m d"],
    test_labels: Int[np.ndarray, " m"],
    *,
    weight_decay: float = 1e-4,
) -> float:
    """Accuracy of `fit_logistic`, fitted on some embeddings and judged on others.

    Examples:
        >>> labels = np.arange(600) % 3
        >>> z = np.random.default_rng(0).standard_normal((600, 4)) + 4 * np.eye(4)[labels]
        >>> evaluation.probe.linear_probe(z[:400], labels[:400], z[400:], labels[400:]) > 0.95
        True

    Args:
        z: embeddings to fit on, one per row.
        labels: their classes.
        test_z: embeddings to judge on.
        test_labels: their classes.
        weight_decay: strength of the penalty.

    Returns:
        The share of `test_z` that is classified correctly.

    Raises:
        TypeError: for embeddings that are not of real floating type.
        ValueError: for shapes that do not belong together, NaN or Inf.
    """
    z, labels, test_z, test_labels = _check(z, labels, test_z, test_labels)
    found = fit_logistic(z, labels, weight_decay=weight_decay).predict(test_z)
    return float(np.mean(found == test_labels))


def nearest_neighbours(
    z: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    test_z: Float[np.ndarray, "m d"],
    test_labels: Int[np.ndarray, " m"],
    *,
    k: int = 20,
) -> float:
    """Accuracy of the majority among the k nearest embeddings by cosine; ties go to the lower class.

    Examples:
        >>> labels = np.arange(600) % 3
        >>> z = np.random.default_rng(0).standard_normal((600, 4)) + 4 * np.eye(4)[labels]
        >>> evaluation.probe.nearest_neighbours(z[:400], labels[:400], z[400:], labels[400:]) > 0.95
        True

    Args:
        z: embeddings to search, one per row.
        labels: their classes.
        test_z: embeddings to judge on.
        test_labels: their classes.
        k: how many neighbours vote.

    Returns:
        The share of `test_z` that is classified correctly.

    Raises:
        TypeError: for embeddings that are not of real floating type.
        ValueError: for shapes that do not belong together, NaN or Inf, rows of zeros, or a k that is
            not between 1 and n.
    """
    z, labels, test_z, test_labels = _check(z, labels, test_z, test_labels)
    if not 1 <= k <= len(z):
        raise ValueError(f"k is {k}; it must be from 1 to the {len(z)} rows that are searched.")
    u, v = directions(z).astype(np.float32), directions(test_z).astype(np.float32)
    if len(u) < len(z) or len(v) < len(test_z):
        raise ValueError(
            "Rows of zeros have no direction, and so no nearest neighbours; leave them out."
        )
    classes, target = np.unique(labels, return_inverse=True)
    votes = np.eye(len(classes), dtype=np.int32)[target]
    correct = 0
    for first in range(0, len(v), _BLOCK_ROWS):
        cosine = v[first : first + _BLOCK_ROWS] @ u.T
        near = _largest(cosine, k)
        chosen = classes[votes[near].sum(axis=1).argmax(axis=1)]
        correct += int(np.sum(chosen == test_labels[first : first + _BLOCK_ROWS]))
    return correct / len(v)


def _largest(values: Float[np.ndarray, "rows columns"], k: int) -> Int[np.ndarray, "rows k"]:
    """The columns of the k largest values of each row, in any order; the values are finite."""
    rows, columns = values.shape
    count = min(8 * k, columns // 2)
    if count >= k:
        # At least k values of a row reach the k-th largest maximum of its blocks, and few more do. To
        # sort these alone takes a third of the time of argpartition. Adjacent columns are in different
        # blocks, since they are alike where embeddings are sorted by class.
        width = columns // count
        blocks = values[:, : width * count].reshape(rows, width, count).max(axis=1)
        row, column = np.nonzero(values >= np.partition(blocks, -k, axis=1)[:, -k, None])
        # Many reach it where most values are equal, as those of a collapsed encoder.
        if len(row) <= 8 * k * rows:
            descending = np.lexsort((-values[row, column], row))
            first = np.searchsorted(row, np.arange(rows))
            return column[descending[first[:, None] + np.arange(k)]]
    return np.argpartition(values, -k, axis=1)[:, -k:]


def _check(z, labels, test_z, test_labels):
    z = check_embeddings(z, "z", min_rows=2)
    test_z = check_embeddings(test_z, "test_z", min_rows=1)
    if z.shape[1] != test_z.shape[1]:
        raise ValueError(
            f"z has {z.shape[1]} coordinates and test_z {test_z.shape[1]}; they must be of one encoder."
        )
    return z, check_labels(labels, len(z)), test_z, check_labels(test_labels, len(test_z))
