"""Page layout shared by all figures: printed sizes, fonts, colours, panels, scale bars, footers.

Positions are in millimetres from the top left corner of the printed page. pyplot is not used, and
no matplotlib setting stays changed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.text import Text
from matplotlib.textpath import TextPath, text_to_path
from matplotlib.transforms import Affine2D

P = ParamSpec("P")
T = TypeVar("T")

DOUBLE_COLUMN_MM = 178.0
PRINT_DPI = 300  # of images in a PDF, as journals require
SCREEN_DPI = 200
MM_PER_INCH = 25.4

BODY_PT = 7.0
SMALL_PT = 6.0
LETTER_PT = 8.0

INK = "#1a1a1a"
MUTED = "#6b6b6b"
LIGHT_GREY = "#b9c2cc"

# Okabe & Ito (2008): distinguishable with any common form of colour vision.
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
OKABE_ITO = (ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE)
# Tol (2021), the "muted" scheme: ten distinguishable colours.
TEN_COLOURS = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933"),
    *("#DDCC77", "#CC6677", "#882255", "#AA4499", "#BBBBBB"),
)
NEURITE_COLOURS = np.array([to_rgb(colour) for colour in OKABE_ITO])

STYLE = {
    # Ships with matplotlib, so that output is byte-identical on every machine.
    "font.family": "DejaVu Sans",
    "font.size": BODY_PT,
    "axes.labelsize": BODY_PT,
    "axes.titlesize": BODY_PT,
    "xtick.labelsize": SMALL_PT,
    "ytick.labelsize": SMALL_PT,
    "legend.fontsize": SMALL_PT,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.5,
    "axes.labelpad": 2.0,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
    "xtick.major.pad": 1.5,
    "ytick.major.pad": 1.5,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "lines.linewidth": 0.9,
    "patch.linewidth": 0.5,
    "axes.unicode_minus": True,
    "text.usetex": False,
    "pdf.compression": 3,  # half the time of 6 for files a few per cent larger
    "pdf.fonttype": 42,  # TrueType: text stays editable, as journals require
    "savefig.bbox": None,  # "tight" renders twice and changes the page size
    "savefig.facecolor": "white",
    "figure.facecolor": "white",
    "path.simplify": True,
}


def use_style(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function to run with `STYLE`, whatever the user's matplotlib settings are."""

    @wraps(function)
    def run_with_style(*args: P.args, **kwargs: P.kwargs) -> T:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            return function(*args, **kwargs)

    return run_with_style


def create_page(height_mm: float, width_mm: float = DOUBLE_COLUMN_MM) -> Figure:
    """Create an empty page of the printed size."""
    return Figure(figsize=(width_mm / MM_PER_INCH, height_mm / MM_PER_INCH), dpi=PRINT_DPI)


def add_panel(
    figure: Figure,
    box: tuple[float, float, float, float],
    letter: str = "",
    title: str = "",
    indent: float = 0.0,
) -> Axes:
    """Add a panel to a page.

    Parameters
    ----------
    figure : Figure
        Page, from `create_page`.
    box : tuple of float
        Left, top, width and height in mm, from the page's top left corner.
    letter, title : str
        Panel letter, set in bold, and title above the panel.
    indent : float
        Distance of the letter from the left edge of the box, in mm, so that it stands above the
        axis labels.

    Returns
    -------
    Axes
    """
    left, top, width, height = box
    page_width, page_height = figure.get_size_inches() * MM_PER_INCH
    axes = figure.add_axes(
        (
            left / page_width,
            1 - (top + height) / page_height,
            width / page_width,
            height / page_height,
        )
    )
    if letter:
        _draw_letter(figure, left - indent, top - 1.3, letter)
    if title:
        write_text(figure, left - indent + (3.6 if letter else 0.0), top - 1.3, title)
    return axes


def _draw_letter(figure: Figure, left: float, bottom: float, letter: str) -> None:
    """Draw a bold panel letter as an outline, which is faster than embedding a second font."""
    font = FontProperties(family=STYLE["font.family"], weight="bold")
    outline = TextPath((0, 0), letter, size=LETTER_PT, prop=font)
    height = figure.get_size_inches()[1] * MM_PER_INCH
    transform = (
        Affine2D().scale(1 / 72).translate(left / MM_PER_INCH, (height - bottom) / MM_PER_INCH)
    )
    figure.add_artist(
        PathPatch(
            outline,
            transform=transform + figure.dpi_scale_trans,
            color=INK,
            linewidth=0,
            label=letter,
        )
    )


def write_text(
    figure: Figure,
    left: float,
    baseline: float,
    text: str,
    size: float = BODY_PT,
    **kwargs: Any,
) -> Text:
    """Write text on a page, its baseline ``baseline`` mm below the page's top edge."""
    width, height = figure.get_size_inches() * MM_PER_INCH
    # Source names come from users: a "$" in a path must not start a formula.
    return figure.text(
        left / width, 1 - baseline / height, text, fontsize=size, parse_math=False, **kwargs
    )


def add_note(figure: Figure, baseline: float, text: str) -> None:
    """Write a small note at the right margin, its baseline in mm from the page's top."""
    right = figure.get_figwidth() * MM_PER_INCH - 2.5
    write_text(figure, right, baseline, text, size=SMALL_PT, ha="right", color=MUTED)


def add_footer(figure: Figure, text: str, source: str) -> None:
    """Write the data source and a summary of the data at the bottom of a page."""
    width, height = figure.get_size_inches() * MM_PER_INCH
    lengths = range(len(source), 2, -1)
    lines = (" · ".join(filter(None, (shorten(source, n), text))) for n in lengths)
    fitting = (line for line in lines if measure_text_mm(line, SMALL_PT) <= width - 4.0)
    write_text(figure, 2.0, height - 2.0, next(fitting, text), size=SMALL_PT, color=MUTED)


def shorten(text: str, length: int) -> str:
    """Replace the middle of a text longer than ``length`` characters by an ellipsis."""
    if len(text) <= length:
        return text
    kept = max(length - 1, 2)
    return f"{text[: kept // 3]}…{text[-(kept - kept // 3) :]}"


def measure_text_mm(text: str, size: float = BODY_PT) -> float:
    """Return the printed width of a line of text in mm, in the font of `STYLE`."""
    font = FontProperties(family=STYLE["font.family"], size=size)
    with warnings.catch_warnings():
        # A missing glyph is drawn as a box; the measured width includes it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return width / 72 * MM_PER_INCH


def draw_image(axes: Axes, image: np.ndarray, shape: tuple[int, int] | None = None) -> None:
    """Fill a panel with an 8-bit greyscale (Y, X) or colour (Y, X, 3) image.

    Parameters
    ----------
    axes : Axes
        Panel to fill.
    image : ndarray of uint8
        The image, possibly enlarged.
    shape : tuple of int, optional
        Rows and columns of the image before enlargement, which define the panel's coordinates.
    """
    rows, columns = image.shape[:2] if shape is None else shape
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, aspect="auto", extent=extent)
    axes.set(xticks=[], yticks=[])


def draw_notice(axes: Axes, text: str) -> None:
    """Write in an empty panel why it is empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=MUTED)


def round_bar_length(limit: float) -> float:
    """Return the largest of …, 0.1, 0.2, 0.5, 1, 2, 5, … that does not exceed ``limit``."""
    power = 10.0 ** np.floor(np.log10(limit))
    # The tolerance absorbs rounding: 0.2 / 0.1 must count as 2.
    return float(power * max(m for m in (1, 2, 5) if m * power <= limit * (1 + 1e-9)))


def draw_scale_bar(
    figure: Figure, left: float, top: float, *, mm_per_um: float, max_mm: float
) -> None:
    """Draw a scale bar of a round length in µm, with its label to the right.

    Parameters
    ----------
    figure : Figure
        Page to draw on.
    left, top : float
        Left end and upper edge of the bar, in mm from the page's top left corner.
    mm_per_um : float
        Scale of the image: printed mm per µm of tissue.
    max_mm : float
        Maximum length of the bar.
    """
    length = round_bar_length(max_mm / mm_per_um)
    axes = add_panel(figure, (left, top, length * mm_per_um, 0.7))
    axes.set(xticks=[], yticks=[], facecolor=INK)
    write_text(figure, left + length * mm_per_um + 1.2, top + 1.3, f"{length:g} µm", size=SMALL_PT)
