"""What lies over what in a drawn figure."""

import itertools

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def overlaps(figure) -> list[tuple[str, str]]:
    """Texts that overlap, legends, titles and tick labels that reach into a plot, text that is cut off.

    Args:
        figure: drawn in the style that it is to be judged in.
    """
    figure.set_dpi(100)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    plots = {f"plot {i}": axes.get_window_extent(renderer) for i, axes in enumerate(figure.axes)}
    outside, inside = {}, {}
    for i, axes in enumerate(figure.axes):
        for label in (axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title):
            _add(outside, i, label, renderer)
        for axis, interval in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            low, high = sorted(interval)
            for tick in axis.get_major_ticks():
                if low <= tick.get_loc() <= high and tick.label1.get_visible():
                    _add(outside, i, tick.label1, renderer)
        if axes.get_legend():
            for text in axes.get_legend().get_texts():
                _add(outside, i, text, renderer)
        for text in axes.texts:
            _add(inside, i, text, renderer)
    texts = {**outside, **inside}
    pairs = [*itertools.combinations(texts, 2), *itertools.product(outside, plots)]
    boxes = {**texts, **plots}
    found = [pair for pair in pairs if _cross(boxes[pair[0]], boxes[pair[1]])]
    page = figure.bbox
    cut = [n for n, b in texts.items() if b.x0 < page.x0 - 2 or b.x1 > page.x1 + 2]
    return found + [(name, "edge of the figure") for name in cut]


def _add(found: dict[str, Bbox], index: int, text: Text, renderer) -> None:
    if text.get_text().strip() and text.get_visible():
        found[f"{index}: {text.get_text()!r} {len(found)}"] = text.get_window_extent(renderer)


def _cross(one: Bbox, other: Bbox) -> bool:
    """Whether boxes overlap by more than the blank rim of letters, 2 of 100 pixels an inch."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width > 2 and height > 2
