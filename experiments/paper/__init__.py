"""The paper's figures from our own runs.

    python -m experiments.paper --runs runs/paper --output docs/paper

Reads the run folders that configs/paper/*.py wrote, and for one control of Table 1 that of
configs/beyond/objectives.py beside them. What has no run folder is left out and named.
"""

from collections.abc import Sequence

from experiments.pages import draw_page
from experiments.paper.cifar10 import draw_dynamics, draw_resnet, draw_whitening
from experiments.paper.controls import draw_controls
from experiments.paper.laplace import draw_cosines, draw_normality, draw_norms
from experiments.paper.synthetic import draw_binary, draw_pushforward

EXHIBITS = {
    "controls": draw_controls,
    "cosines": draw_cosines,
    "norms": draw_norms,
    "normality": draw_normality,
    "resnet": draw_resnet,
    "dynamics": draw_dynamics,
    "whitening": draw_whitening,
    "pushforward": draw_pushforward,
    "binary": draw_binary,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    return draw_page(EXHIBITS, "paper", __doc__, argv)
