"""Draw raw EM, ground truth and the results of two programs side by side, in xy and xz."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from connectome.align import apply_transforms
from connectome.core.volume import Transforms, Volume
from connectome.figures.layout import page
from connectome.graph.colouring import NEIGHBOUR_DISTANCE_NM, colour_neurites

TINT = 0.5  # share of the neurite's colour
PANEL_MM = 42.5
GAP_MM = 2.0
MARGIN_MM = 1.6
TITLE_MM = 5.0
FOOT_MM = 6.0  # below each row: scale bar and caption
GREYS = 24  # enough for noisy EM, in few bytes


@dataclass(frozen=True, eq=False)
class Column:
    """A column of the picture: neurite ids and the shifts of the sections.

    Parameters
    ----------
    title : str
        Above the column.
    shifts : ndarray of float, shape (Z, 2)
        Shifts applied to the sections, in pixels.
    ids : ndarray of int, shape (Z, Y, X), optional
        Neurite ids in the aligned frame; None shows the EM alone.
    """

    title: str
    shifts: np.ndarray
    ids: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class _View:
    """A panel: a plane of the EM, of the ids if any, and where EM was imaged."""

    em: np.ndarray
    ids: np.ndarray | None
    imaged: np.ndarray


def match_ids(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Give found neurites the ids of the true neurites they match.

    Parameters
    ----------
    found, true : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 is none.

    Returns
    -------
    ndarray of int64, shape (Z, Y, X)
        The true id where the two neurites overlap each other most. Other found neurites, which
        are split off or match nothing, get new ids.
    """
    width = int(found.max()) + 1
    both = (found > 0) & (true > 0)
    keys, overlap = np.unique(true[both].astype(np.int64) * width + found[both], return_counts=True)
    ids, segments = np.divmod(keys[np.argsort(-overlap, kind="stable")], width)
    best_of_id, best_of_segment = (np.zeros(len(ids), bool) for _ in range(2))
    best_of_id[np.unique(ids, return_index=True)[1]] = True
    best_of_segment[np.unique(segments, return_index=True)[1]] = True
    mutual = best_of_id & best_of_segment
    table = np.arange(width) + int(true.max()) + 1
    table[0] = 0
    table[segments[mutual]] = ids[mutual]
    return table[found]


@page.use_style
def draw_comparison(volume: Volume, columns: Sequence[Column]) -> Figure:
    """Draw the middle section and the middle plane across the sections, for every column.

    Parameters
    ----------
    volume : Volume of uint8
        EM as imaged, shape (Z, Y, X).
    columns : sequence of Column
        From left to right; a neurite has the same colour wherever it has the same id.

    Returns
    -------
    Figure
        Above, the section as imaged, cropped to a square: the same tissue in every column. Below,
        the plane across as aligned, which shows steps between sections; white where nothing was
        imaged. Both rows have the same scale.
    """
    depth, tall, wide = volume.shape
    dz, dy, dx = volume.voxel_size
    side = min(tall, wide)
    mm_per_nm = PANEL_MM / (side * dx)
    heights = [side * dy * mm_per_nm, depth * dz * mm_per_nm]
    captions = (
        f"xy: section {depth // 2 + 1} of {depth}, as imaged; red ticks: the plane below",
        "xz: across the sections, as aligned",
    )
    width = 2 * MARGIN_MM + len(columns) * (PANEL_MM + GAP_MM) - GAP_MM
    figure = page.create_page(TITLE_MM + sum(heights) + len(heights) * FOOT_MM, width)
    rows = [[view(volume, column) for column in columns] for view in (_section, _across)]
    colours = _colours(rows, volume.voxel_size)
    top = TITLE_MM
    for row, tints, height, caption in zip(rows, colours, heights, captions, strict=True):
        for i, (view, tint) in enumerate(zip(row, tints, strict=True)):
            box = (MARGIN_MM + i * (PANEL_MM + GAP_MM), top, PANEL_MM, height)
            axes = page.add_panel(figure, box, title=columns[i].title if row is rows[0] else "")
            page.draw_image(axes, _tinted(view, tint, box[2:]), view.em.shape)
            if row is rows[0]:
                axes.set_yticks([side // 2], labels=[""])
                axes.tick_params(left=True, right=True, color=page.VERMILION, width=1.2)
        foot = top + height
        page.draw_scale_bar(
            figure, MARGIN_MM, foot + 1.6, mm_per_um=1000 * mm_per_nm, max_mm=PANEL_MM / 3
        )
        page.add_note(figure, foot + 3.2, caption)
        top = foot + FOOT_MM
    return figure


def _section(volume: Volume, column: Column) -> _View:
    """Return the middle section as imaged."""
    z = slice(len(volume.data) // 2, len(volume.data) // 2 + 1)
    where = (0, *(_middle(n, min(volume.shape[1:])) for n in volume.shape[1:]))
    em, ids = volume.data[z], column.ids
    if ids is not None:
        # Back to the frame as imaged.
        ids = apply_transforms(ids[z], Transforms(-column.shifts[z]), order=0)[where]
    return _View(em[where], ids, np.ones(em[where].shape, bool))


def _across(volume: Volume, column: Column) -> _View:
    """Return the middle plane across the sections as aligned."""
    _, tall, wide = volume.shape
    where = (slice(None), tall // 2, _middle(wide, min(tall, wide)))
    em = apply_transforms(volume.data, Transforms(column.shifts), order=1)
    imaged = apply_transforms(np.ones_like(em), Transforms(column.shifts), order=0) > 0
    ids = None if column.ids is None else np.where(imaged, column.ids, 0)[where]
    return _View(em[where], ids, imaged[where])


def _middle(length: int, part: int) -> slice:
    first = (length - part) // 2
    return slice(first, first + part)


def _colours(
    rows: list[list[_View]], voxel_size: tuple[float, float, float]
) -> list[list[np.ndarray]]:
    """Colour the neurites of all panels at once, so that one id has one colour everywhere."""
    # Wide enough that neurites of different panels are not neighbours.
    gap = int(np.ceil(NEIGHBOUR_DISTANCE_NM / voxel_size[2])) + 1
    strips = []
    for row in rows:
        ids = [np.zeros(view.em.shape, int) if view.ids is None else view.ids for view in row]
        strips.append(np.concatenate([np.pad(each, ((0, 0), (0, gap))) for each in ids], axis=1))
    coloured = colour_neurites(strips, voxel_size, len(page.NEURITE_COLOURS))
    parts = [np.split(strip, len(row), axis=1) for strip, row in zip(coloured, rows, strict=True)]
    return [[part[:, :-gap] for part in row] for row in parts]


def _tinted(view: _View, colour: np.ndarray, size_mm: tuple[float, float]) -> np.ndarray:
    """Overlay neurite colours on EM, at print resolution."""
    size = tuple(round(mm / page.MM_PER_INCH * page.SCREEN_DPI) for mm in size_mm)

    def nearest(plane):
        image = Image.fromarray(plane.astype(np.int32))
        return np.asarray(image.resize(size, Image.Resampling.NEAREST))[..., None]

    em = np.asarray(Image.fromarray(view.em).resize(size, Image.Resampling.BICUBIC))
    shade = np.where(nearest(view.imaged), em[..., None], 255)
    index = nearest(colour)
    blend = (1 - TINT) * shade + TINT * 255 * page.NEURITE_COLOURS[index[..., 0]]
    return np.where(index < 0, shade, blend).round().astype(np.uint8)


def reduce_colours(picture: Image.Image) -> Image.Image:
    """Reduce a picture to a few greys, as many shades of each neurite colour, and the red."""
    greys = np.repeat(np.linspace(0, 255, GREYS)[:, None], 3, axis=1)
    tinted = [(1 - TINT) * greys + TINT * 255 * colour for colour in page.NEURITE_COLOURS]
    palette = [greys, *tinted, 255 * np.array([to_rgb(page.VERMILION)])]
    few = Image.new("P", (1, 1))
    few.putpalette(np.concatenate(palette).round().astype(np.uint8).tobytes())
    return picture.convert("RGB").quantize(palette=few, dither=Image.Dither.NONE)
