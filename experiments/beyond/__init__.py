"""Experiments beyond the paper's, from our own runs: other objectives, and scaling.

    python -m experiments.beyond --runs runs/beyond --output docs/beyond

Reads the run folders that configs/beyond/*.py wrote. What has no run folder is left out and named.
Intervals are 95% ones over seeds, from Student's t.
"""

from collections.abc import Sequence

from experiments.beyond.objectives import draw_objectives
from experiments.beyond.scaling import draw_scaling
from experiments.pages import draw_page

EXHIBITS = {
    "objectives": draw_objectives,
    "scaling": draw_scaling,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    return draw_page(EXHIBITS, "beyond", __doc__, argv)
