"""What Gaussianity buys: the study across objectives, from the runs of configs/study/.

    python -m experiments.study --runs runs/study --output docs/study

Measures every finished run (some 15 seconds of one core for an encoder), keeps the measures in a file
beside it, and draws the page. What was measured before is read. Intervals are 95% ones, over seeds from
Student's t, and for correlations from a bootstrap over settings.
"""

from collections.abc import Sequence

from experiments.pages import draw_page
from experiments.study.draw import EXHIBITS


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    return draw_page(EXHIBITS, "study", __doc__, argv)
