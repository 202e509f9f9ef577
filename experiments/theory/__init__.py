"""The theory against simulation and against training: every figure and table of docs/theory.md.

    python -m experiments.theory --runs runs/theory --output docs/theory

The closed forms are simulated here; the experiments are read from the run folders that
configs/theory/*.py wrote. What has no run folder is left out and named. Tables are printed, and set in
the page.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from threadpoolctl import threadpool_limits

from experiments.pages import Drawn, draw_page
from experiments.theory.alignment import draw_alignment, tabulate_cifar10
from experiments.theory.beta import draw_beta, tabulate_drift
from experiments.theory.estimators import draw_mildness, tabulate_entropy, tabulate_estimator
from experiments.theory.potential import draw_batch, draw_phi
from experiments.theory.rates import draw_fluctuation, draw_rates
from experiments.theory.sphere import draw_kl, draw_power, draw_radius, draw_sphere
from experiments.theory.stationary import STATIONARY

EXHIBITS: dict[str, Callable[[Path], Drawn]] = {
    "phi": draw_phi,
    "batch": draw_batch,
    "sphere": draw_sphere,
    "power": draw_power,
    "radius": draw_radius,
    "kl": draw_kl,
    "mildness": draw_mildness,
    "estimator": tabulate_estimator,
    "entropy": tabulate_entropy,
    "alignment": draw_alignment,
    "rates": draw_rates,
    "fluctuation": draw_fluctuation,
    "beta": draw_beta,
    "drift": tabulate_drift,
    "cifar10": tabulate_cifar10,
    **STATIONARY,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    # Exhibits keep the cores busy with threads of their own; those of BLAS and LAPACK would only be in
    # their way, on matrices as small as most are here.
    with threadpool_limits(1):
        return draw_page(EXHIBITS, "theory", __doc__, argv)
