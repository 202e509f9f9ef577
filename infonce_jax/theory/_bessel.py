"""Φ_σ, the Bessel ratio and what follows from both, without cancellation for any dimension and α.

With ν = d/2 - 1, F(α) = log[Γ(ν+1) (2/α)^ν I_ν(α)] and r_ν = I_(ν+1)(α) / I_ν(α) = F'(α), everything is
computed at the order n = ν + M, where Debye's expansion of I_n(α), uniform in α, is exact to rounding,
and carried down to ν by recurrences whose terms do not cancel:

    r_ν = α / (2(ν+1) + α r_(ν+1))             F_ν = F_(ν+1) + log(1 + α r_(ν+1) / (2(ν+1)))
    α(1 - r_ν) = r_ν (2(ν+1) - α(1 - r_(ν+1)))
    α(r_ν - r_(ν+1)) = r_ν r_(ν+1) (2 - α(r_(ν+1) - r_(ν+2)))

Debye's expansion is used for log I_n less its value at α = 0, so that F keeps its relative accuracy
where it is as small as α²/(2d).
"""

import functools
from fractions import Fraction
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Num


class BesselTerms(NamedTuple):
    """What the closed forms are made of.

    Attributes:
        log_mean: F(α) = log E_σ exp(α u_1).
        ratio: r = A_d(α) = E of the cosine with the mean under the von Mises-Fisher law.
        gap: α (1 - A_d(α)).
        kl: α A_d(α) - F(α), the von Mises-Fisher law's divergence from uniform.
    """

    log_mean: Float[Array, "..."]
    ratio: Float[Array, "..."]
    gap: Float[Array, "..."]
    kl: Float[Array, "..."]


def bessel_terms(
    dim: Int[ArrayLike, "..."] | int, alpha: Num[ArrayLike, "..."] | float
) -> BesselTerms:
    """All of `BesselTerms` in the dtype of `alpha`, at least float32."""
    alpha = jnp.asarray(alpha)
    dtype = jnp.promote_types(alpha.dtype, jnp.float32)
    alpha = alpha.astype(dtype)
    wide = jnp.finfo(dtype).bits > 32
    # Debye's error falls with the order n and the number of terms; F is ≥ n(s-1)/2 in its own.
    shift, order = (24, 8) if wide else (8, 4)
    lowest = jnp.asarray(dim).astype(dtype) / 2  # ν + 1
    top = _debye_terms(lowest - 1 + shift, alpha, order)
    log_mean, ratio, gap, kl, step = top
    for j in range(shift - 1, -1, -1):
        twice_order = 2 * (lowest + j)
        lower = alpha / (twice_order + alpha * ratio)
        step = lower * ratio * (2 - step)
        raised = jnp.log1p(alpha * ratio / twice_order)
        log_mean = log_mean + raised
        kl = kl + (step - raised)
        gap = lower * (twice_order - gap)
        ratio = lower
    return BesselTerms(log_mean, ratio, gap, kl)


def _debye_terms(n: Array, alpha: Array, order: int) -> tuple[Array, Array, Array, Array, Array]:
    """`BesselTerms` at the order n, and α(r_n - r_(n+1)), from Debye's expansion.

    With z = α/n, s = √(1+z²), p = 1/s,

        F = n (s - 1 - log((1+s)/2)) - ½ log s + Σ (D_k(p) - D_k(1)) / n^k.

    Derivatives are taken as α·d/dα, under which s ↦ s - p and p ↦ -p(1-p²).
    """
    z = alpha / n
    s = jnp.sqrt(1 + z**2)
    t = z**2 / (1 + s)  # s - 1
    p = 1 / s
    one_less_p = t * p
    one_less_square = one_less_p * (1 + p)
    series = first = second = jnp.zeros_like(z)
    for k, (quotient, slope, curvature) in enumerate(_debye_polynomials(order), start=1):
        series -= one_less_p * _horner(quotient, p) / n**k
        first += _horner(slope, p) / n**k
        second += _horner(curvature, p) / n**k
    log_mean = n * (t - jnp.log1p(t / 2)) - jnp.log1p(t) / 2 + series
    bend = p * one_less_square * first
    # α r = t · (...), and t/α = z / (n (1+s)).
    inner = n - (1 + p) * p * (0.5 + p * first)
    ratio = z / (n * (1 + s)) * inner
    gap = n * (1 - 1 / (z + s)) + one_less_square / 2 + bend
    kl = n * jnp.log1p(t / 2) + (jnp.log1p(t) - one_less_square) / 2 - bend - series
    # α d/dα of α r, divided by t as well: their quotient is 2 - α(r_n - r_(n+1)).
    turn = (1 - 3 * p**2) * first + p * one_less_square * second
    twice = (1 + p) * (n - p**3 + p**2 * turn)
    return log_mean, ratio, gap, kl, 2 - twice / inner


def _horner(coefficients: tuple[float, ...], p: Array) -> Array:
    value = jnp.full_like(p, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * p + coefficient
    return value


@functools.cache
def _debye_polynomials(order: int):
    """(D_k(1) - D_k(p)) / (1 - p), D_k' and D_k'' for k = 1..order, lowest power first.

    Σ D_k / n^k = log Σ U_k / n^k with Debye's U_0 = 1,
    U_(k+1) = ½ p²(1-p²) U_k' + ⅛ ∫_0^p (1-5t²) U_k dt.
    """
    u = [[Fraction(1)]]
    for _ in range(order):
        last = u[-1]
        following = [Fraction(0)] * (len(last) + 3)
        for power, c in enumerate(last):
            following[power + 1] += c * (Fraction(power, 2) + Fraction(1, 8 * (power + 1)))
            following[power + 3] -= c * (Fraction(power, 2) + Fraction(5, 8 * (power + 3)))
        u.append(following)
    logs: list[list[Fraction]] = []
    for k in range(1, order + 1):
        # k U_k = Σ_j j D_j U_(k-j).
        d = list(u[k])
        for j in range(1, k):
            for a, x in enumerate(logs[j - 1]):
                for b, y in enumerate(u[k - j]):
                    d[a + b] -= Fraction(j, k) * x * y
        logs.append(d)
    result = []
    for d in logs:
        # D(p) - D(1) = -(1-p) Q(p) with Q's coefficient i the sum of d above i.
        quotient = [sum(d[i + 1 :], Fraction(0)) for i in range(len(d) - 1)]
        slope = [i * c for i, c in enumerate(d)][1:]
        curvature = [i * c for i, c in enumerate(slope)][1:]
        result.append(tuple(tuple(float(c) for c in x) for x in (quotient, slope, curvature)))
    return tuple(result)
