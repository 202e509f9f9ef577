"""Exponents of power laws, fitted seed by seed."""

import numpy as np
from jaxtyping import Float


def exponents(
    x: Float[np.ndarray, " k"], y: Float[np.ndarray, "k seeds"]
) -> Float[np.ndarray, " seeds"]:
    """The slope of log y against log x by least squares, of each seed by itself.

    Seeds are independent, so the exponents' spread over them says how well the mean is known.

    Args:
        x: positive, at least two values that differ.
        y: measured there, a column per seed.

    Returns:
        An exponent per seed; NaN where a measured value is not positive, or x has a single value.
    """
    logs = np.log(x) - np.log(x).mean()
    with np.errstate(invalid="ignore"):
        return logs @ np.log(np.where(y > 0, y, np.nan)) / (logs @ logs)
