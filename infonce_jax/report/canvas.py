"""What every figure shares: the style, the colours, where axes lie, legends, ticks, violins, and SVG.

Figures are drawn without pyplot. Every panel has one width, so that a page can set them side by side or
one below the other, and one colour per meaning (Okabe & Ito's palette, which colour-blind readers tell
apart): orange is untrained, blue trained, sky blue between the two, green positive pairs, vermilion
negative pairs, purple what is trained or transformed in another way, black or grey a reference.
"""

import io
import re
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from infonce_jax.files import replacing

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.axis
    import matplotlib.figure

UNTRAINED, BETWEEN, TRAINED = "#E69F00", "#56B4E9", "#0072B2"
POSITIVE, NEGATIVE = "#009E73", "#D55E00"
OTHER = "#CC79A7"
REFERENCE, INK = "#8A8A8A", "#222222"
AXIS, PAPER = "#999999", "#ffffff"
# What is expected, beside what was found.
DASHED = {"color": INK, "linewidth": 0.6, "dashes": (4, 2)}
SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
_WIDTH_INCH, _LEFT_INCH, _RIGHT_INCH, _GAP_INCH = 3.5, 0.56, 0.16, 0.12
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.edgecolor": AXIS,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": AXIS,
    "ytick.color": AXIS,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    # White, so that figures stay readable on a dark page.
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "path.simplify": True,
    "path.simplify_threshold": 0.2,
}


def step_colours(count: int) -> list[str]:
    """Colours of `count` steps in order, the first untrained, the last trained."""
    return [UNTRAINED, *[BETWEEN] * (count - 2), TRAINED][:count]


@contextmanager
def style():
    """The house style, for as long as the block lasts; matplotlib's own settings come back after."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def to_svg(figure: "matplotlib.figure.Figure", name: str) -> str:
    """The figure as an <svg> element whose text is text and whose ids are its own.

    Args:
        figure: a figure made inside `style()`, rendered inside it too.
        name: prefix of the ids, unique in the page.

    Returns:
        The element, without the XML preamble; the same bytes for the same figure.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[A-Za-z]+[\d.]*_\d+"', "<g", svg)  # matplotlib's group names repeat
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return svg.replace("'DejaVu Sans'", _FONTS.replace("'", "")).strip()


def export(figure: "matplotlib.figure.Figure", folder: Path, name: str) -> list[Path]:
    """Writes the figure as <name>.svg, .pdf and .png (300 dots an inch), each whole or not at all.

    The same figure gives the same bytes.

    Args:
        figure: a figure made inside `style()`, rendered inside it too.
        folder: where to write; made if need be.
        name: of the files.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{name}{suffix}" for suffix in (".svg", ".pdf", ".png")]
    with replacing(written[0]) as scratch:
        scratch.write_text(
            f'<?xml version="1.0" encoding="utf-8"?>\n{to_svg(figure, name)}\n', "utf-8"
        )
    with replacing(written[1]) as scratch, open(scratch, "wb") as stream:
        FigureCanvasPdf(figure).print_pdf(stream, metadata={"CreationDate": None})
    with replacing(written[2]) as scratch, open(scratch, "wb") as stream:
        figure.set_dpi(300)
        FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
    return written


def panels(
    row_inch: float,
    rows: int = 1,
    columns: int = 1,
    legend_lines: int = 0,
    gap_inch: float = _GAP_INCH,
    share_x: bool = True,
):
    """Axes in the same place of every panel, so that panels line up whatever their tick labels.

    Fixed margins also cost nothing, where a layout engine would draw every figure twice.
    """
    from matplotlib.figure import Figure

    top_inch, bottom_inch = 0.08 + 0.165 * legend_lines, 0.42
    height_inch = top_inch + rows * row_inch + (rows - 1) * gap_inch + bottom_inch
    figure = Figure(figsize=(_WIDTH_INCH, height_inch))
    inner_inch = _WIDTH_INCH - _LEFT_INCH - _RIGHT_INCH
    figure.subplots_adjust(
        left=_LEFT_INCH / _WIDTH_INCH,
        right=1 - _RIGHT_INCH / _WIDTH_INCH,
        top=1 - top_inch / height_inch,
        bottom=bottom_inch / height_inch,
        hspace=gap_inch / row_inch,
        wspace=gap_inch / ((inner_inch - (columns - 1) * gap_inch) / columns),
    )
    grid = list(figure.subplots(rows, columns, sharex=share_x, squeeze=False).ravel())
    for axes in grid[::columns]:
        axes.yaxis.set_label_coords(-0.39 / (inner_inch / columns), 0.5)
    return figure, grid


def log_ticks(axis: "matplotlib.axis.Axis", ticks: Iterable[int | float]) -> None:
    from matplotlib.ticker import NullLocator

    axis.set_minor_locator(NullLocator())
    axis.set_ticks(ticks, labels=[f"{tick:,.6g}" for tick in ticks])


def legend_above(axes: "matplotlib.axes.Axes", columns: int = 1, raise_inch: float = 0.0) -> None:
    height_inch = axes.get_position().height * axes.figure.get_figheight()
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1 + raise_inch / height_inch),
        borderaxespad=0,
        borderpad=0.2,
        ncols=columns,
        handlelength=1.4,
        columnspacing=1.2,
        labelspacing=0.25,
    )


def smooth_density(sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian kernel density of cosines, reflected at ±1 so that no mass leaves [-1, 1].

    From bins, so its cost does not grow with the sample; the kernel has Silverman's width.
    """
    low, high = float(sample.min()), float(sample.max())
    spread = min(sample.std(), np.subtract(*np.quantile(sample, [0.75, 0.25])) / 1.349)
    width = max(0.9 * spread * len(sample) ** -0.2, 2e-3)
    t = np.linspace(max(-1.0, low - 2 * width), min(1.0, high + 2 * width), 121)
    edges = np.linspace(low - 1e-9, high + 1e-9, 401)
    centres, counts = (edges[1:] + edges[:-1]) / 2, np.histogram(sample, edges)[0]
    density = sum(
        np.exp(-0.5 * ((t[:, None] - mirrored) / width) ** 2) @ counts
        for mirrored in (centres, 2 - centres, -2 - centres)
    )
    return t, density


def share_limits(figures: Sequence["matplotlib.figure.Figure"], x: bool = True) -> None:
    """Gives figures that stand side by side the same axes.

    Args:
        figures: of one kind. Where one has more axes than another, those that both have are shared.
        x: whether to share the horizontal axes too.
    """
    for grid in zip(*(figure.axes for figure in figures), strict=False):
        for name in ("x", "y") if x else ("y",):
            limits = np.array([getattr(axes, f"get_{name}lim")() for axes in grid])
            shared = limits.min(axis=0)[0], limits.max(axis=0)[1]
            for axes in grid:
                getattr(axes, f"set_{name}lim")(shared)
        for axes in grid:
            if axes.get_yscale() == "log":
                log_ticks(axes.yaxis, decade_ticks(*axes.get_ylim()))


def decade_ticks(low: float, high: float) -> list[float]:
    """Round numbers within the limits of a logarithmic axis, the fewer the wider it is."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)))
    steps = (1,) if high > 1000 * low else (1, 3) if high > 30 * low else (1, 2, 5)
    return [d * step for d in decades for step in steps if low <= d * step <= high]


def reference(axes: "matplotlib.axes.Axes", value: float, label: str) -> None:
    """A dashed horizontal line, named above the axes, where no curve runs through its name."""
    axes.axhline(value, **DASHED)
    axes.set_title(f"dashed: {label}", loc="right", fontsize=7.5, pad=2)


def violin(
    axes: "matplotlib.axes.Axes", x: float, t: np.ndarray, density: np.ndarray, colour: str
) -> None:
    half = 0.18 * density / density.max()
    axes.fill_betweenx(t, x - half, x + half, color=colour, alpha=0.6, linewidth=0.5)


def series_colours(count: int) -> list:
    if count <= len(SERIES):
        return list(SERIES[:count])
    import matplotlib

    return [matplotlib.colormaps["cividis"](i / (count - 1)) for i in range(count)]


def text_colour(colour: str) -> str:
    """The colour for text: orange and sky blue are too pale to read on white."""
    return {UNTRAINED: "#9A6A00", BETWEEN: "#1F77A8"}.get(colour, colour)
