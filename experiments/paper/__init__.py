"""The paper's tables and figures from our own runs.

    python -m experiments.paper --runs runs/paper --output docs/paper

Reads the run folders that configs/paper/*.py wrote. What has no run folder is left out and named. Tables
are printed, and set in docs/paper.md and RESULTS.md.
"""

from collections.abc import Sequence

from experiments.pages import draw_page
from experiments.paper.cifar10 import (
    draw_dynamics,
    draw_whitening,
    tabulate_resnet,
    tabulate_start,
)
from experiments.paper.laplace import draw_cosines, draw_normality, draw_norms
from experiments.paper.pushforward import draw_pushforward
from experiments.paper.results import tabulate_results
from experiments.paper.search import draw_binary, draw_mixture
from experiments.paper.table1 import draw_table1

EXHIBITS = {
    "table1": draw_table1,
    "mixture": draw_mixture,
    "binary": draw_binary,
    "cosines": draw_cosines,
    "norms": draw_norms,
    "normality": draw_normality,
    "dynamics": draw_dynamics,
    "start": tabulate_start,
    "whitening": draw_whitening,
    "resnet": tabulate_resnet,
    "pushforward": draw_pushforward,
    "results": tabulate_results,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    return draw_page(EXHIBITS, "paper", __doc__, argv)
