"""Table 1 of the paper as data.

Source: Betser, Gofer, Levi, Gilboa, [InfoNCE Induces Gaussian Distribution](
https://arxiv.org/abs/2602.24012), ICLR 2026, Table 1: Gaussianity of unnormalised
representations. Pass rates are fractions here and percentages there. The paper does not state how many
samples its tests were given.
"""

from typing import NamedTuple

CITATION = "Betser, Gofer, Levi, Gilboa: InfoNCE Induces Gaussian Distribution, ICLR 2026, Table 1"
URL = "https://arxiv.org/abs/2602.24012"

_STATISTICS = ("norm_cv", "ad_mean", "ad_pass", "dp_mean_p", "dp_pass")


class Entry(NamedTuple):
    """Names one column of the paper's table.

    Attributes:
        name: the data: "laplace", "mixture", "binary" or "cifar10".
        objective: "infonce" or "supervised".
        epoch: the epoch the paper reports, or None for the end of training.
    """

    name: str
    objective: str
    epoch: int | None


def _column(*values: float) -> dict[str, float]:
    return dict(zip(_STATISTICS, values, strict=True))


TABLE_1: dict[Entry, dict[str, float]] = {
    Entry("laplace", "infonce", None): _column(0.08, 0.38, 1.0, 0.49, 1.0),
    Entry("mixture", "infonce", None): _column(0.08, 0.39, 1.0, 0.46, 1.0),
    Entry("binary", "infonce", 0): _column(0.36, 1.64, 0.30, 0.02, 0.15),
    Entry("binary", "infonce", 50): _column(0.12, 0.41, 0.93, 0.44, 0.89),
    Entry("binary", "infonce", 100): _column(0.09, 0.42, 0.97, 0.46, 0.98),
    Entry("cifar10", "supervised", None): _column(0.5, 3.3, 0.062, 0.041, 0.039),
    Entry("cifar10", "infonce", None): _column(0.09, 0.43, 0.961, 0.39, 0.945),
}


def matching_epoch(name: str | None, objective: str, epoch: int | float | None) -> int | None:
    """The epoch at which the paper reports this experiment that is within half an epoch of ours.

    Args:
        name: the paper's name for the data, or None for a run without counterpart.
        objective: "infonce" or "supervised".
        epoch: epoch of our evaluation, or None where unknown.

    Returns:
        The paper's epoch, or None: the paper reports most experiments at their end only.
    """
    for entry in TABLE_1:
        dated = entry[:2] == (name, objective) and entry.epoch is not None
        if dated and epoch is not None and abs(epoch - entry.epoch) < 0.5:
            return entry.epoch
    return None


def reported(
    name: str | None, objective: str, epoch: int | float | None, *, final: bool
) -> dict[str, float] | None:
    """The paper's values beside which an evaluation of ours belongs.

    Args:
        name: the paper's name for the data, or None for a run without counterpart.
        objective: "infonce" or "supervised".
        epoch: epoch of our evaluation; matched to the paper's within half an epoch.
        final: whether ours is the end of a training: matched to what the paper reports for its end.

    Returns:
        Statistic name to value, or None where the paper reports nothing for this point.

    Raises:
        ValueError: for a name that the table does not have.
    """
    check_name(name)
    match = matching_epoch(name, objective, epoch)
    if match is None and not final:
        return None
    return TABLE_1.get(Entry(name, objective, match))


def check_name(name: str | None) -> None:
    """Raises ValueError, naming the valid ones, for a name that the table does not have."""
    names = sorted({entry.name for entry in TABLE_1})
    if name is not None and name not in names:
        raise ValueError(
            f"report.paper is {name!r}, which the paper's Table 1 does not have. "
            f"Set it to one of {', '.join(names)}, or leave it empty for a run without counterpart."
        )
