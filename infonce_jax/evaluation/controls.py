"""Simple embeddings to compare with: what scores come without a trained encoder."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from infonce_jax.evaluation.arrays import check_embeddings

CONTROLS = {
    "gaussian": "a Gaussian with the same mean and covariance",
    "permuted": "each coordinate permuted on its own, which leaves the marginals and cuts the "
    "dependence between them",
    "untrained": "the run's own embeddings of step 0, where PATH is a run or an embeddings/<step> "
    "folder of one",
}


def gaussian_like(
    z: Float[np.ndarray, "n d"], *, seed: int | Sequence[int] = 0
) -> Float[np.ndarray, "n d"]:
    """As many rows of a Gaussian with the sample's mean and covariance (ddof = 1), in float64.

    G (z − mean)/√(n − 1) with G [n, n] standard normal has that covariance at any rank; where n is
    larger than d, G R with R the triangular factor of z − mean has it for less.

    Examples:
        >>> z = np.random.default_rng(0).laplace(size=(2000, 3))
        >>> control = evaluation.controls.gaussian_like(z)
        >>> bool(evaluation.anderson_darling(control).pvalue.min() > 0.001)
        True

    Args:
        z: embeddings, one per row, at least 2.
        seed: of the draw.
    """
    z = check_embeddings(z, "z", min_rows=2)
    n, d = z.shape
    wide = np.asarray(z, dtype=np.float64)
    mean = wide.mean(axis=0)
    root = wide - mean
    if n > d:
        root = np.linalg.qr(root, mode="r")
    noise = np.random.default_rng(seed).standard_normal((n, len(root)))
    return noise @ root / np.sqrt(n - 1) + mean


def permuted(z: Float[np.ndarray, "n d"], *, seed: int = 0) -> Float[np.ndarray, "n d"]:
    """Shuffles every coordinate on its own: the same marginals without their dependence.

    The univariate tests stay the same. Norms, spectrum and multivariate tests change by as much as
    is due to dependence between coordinates.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((100, 3))
        >>> bool((np.sort(evaluation.controls.permuted(z), axis=0) == np.sort(z, axis=0)).all())
        True

    Args:
        z: embeddings, one per row.
        seed: of the orders.
    """
    z = check_embeddings(z, "z", min_rows=1)
    return np.random.default_rng(seed).permuted(z, axis=0)


def random_projection(
    inputs: Float[np.ndarray, "n p"], dim: int, *, seed: int = 0
) -> Float[np.ndarray, "n d"]:
    """A random linear map of the encoder's inputs, entries N(0, 1/p), to the embedding's dimension.

    Linear maps of many coordinates are nearly Gaussian by the classical central limit theorem.
    Credit an encoder only with what it scores beyond this.

    Examples:
        >>> inputs = np.random.default_rng(0).laplace(size=(100, 64))
        >>> evaluation.controls.random_projection(inputs, 8).shape
        (100, 8)

    Args:
        inputs: the inputs, one per row; images flattened.
        dim: dimension to project to.
        seed: of the map.

    Raises:
        ValueError: for a dimension below 1.
    """
    inputs = check_embeddings(inputs, "inputs", min_rows=1)
    if dim < 1:
        raise ValueError(f"dim is {dim}: project to at least 1 dimension.")
    p = inputs.shape[1]
    matrix = np.random.default_rng(seed).standard_normal((p, dim)) / np.sqrt(p)
    return inputs @ matrix
