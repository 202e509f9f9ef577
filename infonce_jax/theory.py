"""Closed forms from the theory of InfoNCE."""

from jaxtyping import Array, Float, Num


def vanishing_beta(
    dim: int, temperature: Num[Array, ""] | float, eta2: Num[Array, ""] | float = 0.0
) -> Float[Array, ""] | float:
    """A regulariser weight under which uniformity is the global minimum: β₀ = 2(1-η₂) / (τ d).

    The paper proves β₀ = α(1-η₂) / (C(d-1)) with α = 1/τ and an unstated constant C. Writing m for
    the mean of the normalised representation, the alignment bound lets the loss gain at most
    α(1-η₂)‖m‖² by moving away from uniformity, while KL(μ‖σ) ≥ (d/2)‖m‖² is what the regulariser
    charges for it (von Mises-Fisher laws are the extremal ones, since A_d(κ) ≤ κ/d). Hence the
    constant used here. It vanishes as the dimension grows.

    Args:
        dim: dimension d of the representation.
        temperature: τ > 0.
        eta2: mildness η₂ of the augmentation in [0, 1]. The default, 0, gives the largest β₀, which
            suffices for every augmentation.

    Returns:
        β₀.

    Raises:
        ValueError: where `dim` < 2: the sphere has no uniform density to spread over.

    References:
        Betser, Gofer, Levi, Gilboa, `InfoNCE Induces Gaussian Distribution
        <https://arxiv.org/abs/2602.24012>`_, 2026.
    """
    if dim < 2:
        raise ValueError(f"dim is {dim}; the regulariser's weight is defined from dimension 2 on.")
    return 2 * (1 - eta2) / (temperature * dim)
