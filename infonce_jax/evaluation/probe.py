"""How well classes can be predicted from embeddings: a linear probe and nearest neighbours."""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from infonce_jax.evaluation.arrays import check_embeddings, directions
from infonce_jax.evaluation.shape import check_labels

_BLOCK_ROWS = 1000


def linear_probe(
    z: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    test_z: Float[np.ndarray, "m d"],
    test_labels: Int[np.ndarray, " m"],
    *,
    weight_decay: float = 1e-4,
) -> float:
    """Accuracy of multinomial logistic regression, fitted on some embeddings and judged on others.

    Minimises the mean cross-entropy + weight_decay/2 ‖W‖² by L-BFGS to convergence, on coordinates
    standardised by the mean and standard deviation of `z`; the bias is not penalised.

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
        loss = np.mean(logsumexp(logits, axis=1) - logits[rows, target])
        residual = softmax(logits, axis=1)
        residual[rows, target] -= 1
        gradient = np.concatenate([x.T @ residual / n + weight_decay * weights, [residual.mean(0)]])
        penalty = 0.5 * weight_decay * np.sum(weights**2)
        return float(loss + penalty), gradient.ravel().astype(np.float64)

    start = np.zeros((d + 1) * len(classes))
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    solution = found.reshape(d + 1, -1)
    logits = (test_z - mean) / spread @ solution[:d] + solution[d]
    return float(np.mean(classes[logits.argmax(axis=1)] == test_labels))


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
        near = np.argpartition(cosine, -k, axis=1)[:, -k:]
        chosen = classes[votes[near].sum(axis=1).argmax(axis=1)]
        correct += int(np.sum(chosen == test_labels[first : first + _BLOCK_ROWS]))
    return correct / len(v)


def _check(z, labels, test_z, test_labels):
    z = check_embeddings(z, "z", min_rows=2)
    test_z = check_embeddings(test_z, "test_z", min_rows=1)
    if z.shape[1] != test_z.shape[1]:
        raise ValueError(
            f"z has {z.shape[1]} coordinates and test_z {test_z.shape[1]}; they must be of one encoder."
        )
    return z, check_labels(labels, len(z)), test_z, check_labels(test_labels, len(test_z))
