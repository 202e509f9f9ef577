"""What Gaussianity buys: the study across objectives, from the runs of configs/study/.

    python -m experiments.study                       # from the runs in runs/study
    python -m experiments.study --runs docs/study     # from the table of encoders, without runs

Measures every finished run (some 20 seconds of one core for an encoder), keeps the measures in a file
beside it, and draws the page. What was measured before is read. All measures go into encoders.csv.
Intervals are 95% ones, over seeds from Student's t, and for correlations from a bootstrap over settings.
Labelled rows, noise and textures are the same for every encoder: differences between encoders do not
contain their draw, and intervals do not cover it.
"""

from collections.abc import Sequence

from experiments.pages import draw_page
from experiments.study.draw import EXHIBITS


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    return draw_page(EXHIBITS, "study", __doc__, argv)
