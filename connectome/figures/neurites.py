"""Figures of neurites in space: three planes at right angles, and the ten largest in relief."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy import ndimage

from connectome.core.colouring import colour_orthogonal_planes
from connectome.core.volume import Volume
from connectome.figures.layout import page
from connectome.figures.layout.elements import (
    check_shapes,
    describe_extent,
    format_count,
    overlay_colours,
    to_greyscale,
)

# Figure 5: three planes ---------------------------------------------------------------------

BLOCK_MM = (84.0, 100.0)  # width and height of three planes together
GAP_MM = 2.0
MAX_DEPTH = 1.5  # times the wider side of a section: of deeper stacks the middle is shown


@page.use_style
def figure5(aligned: Volume, labels: np.ndarray) -> Figure:
    """Show three planes through the middle of the stack, as EM and with neurites.

    Parameters
    ----------
    aligned : Volume of float
        Intensities in [0, 1].
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 is none.

    Returns
    -------
    Figure
        Panels a and b: xy, with yz to its right and xz below, all to one scale; ticks where the
        planes cut each other.

    Raises
    ------
    DataError
        If the stacks differ in shape.
    """
    check_shapes(aligned.shape, labels)
    z, y, x = (n // 2 for n in aligned.shape)
    deep, tall, wide = aligned.field_of_view_um
    section_um = aligned.voxel_size[0] / 1000
    shown = min(len(labels), max(1, int(MAX_DEPTH * max(tall, wide) / section_um)))
    first = min(max(z - shown // 2, 0), len(labels) - shown)
    deep = shown * section_um
    scale = min((BLOCK_MM[0] - GAP_MM) / (wide + deep), (BLOCK_MM[1] - GAP_MM) / (tall + deep))
    sections = slice(first, first + shown)
    where = (np.s_[z], np.s_[sections, y], np.s_[sections, :, x])
    n_colours = len(page.NEURITE_COLOURS)
    xy, xz, yz = colour_orthogonal_planes(labels, z, aligned.voxel_size, n_colours)
    colours = xy, xz[sections], yz[sections]
    shades = [to_greyscale(aligned.data[plane]) for plane in where]
    wide, tall, deep = (side * scale for side in (wide, tall, deep))
    figure = page.create_page(tall + deep + GAP_MM + 18.0)
    marks = ((y, x), (z - first, x), (z - first, y))
    for left, letter, title in ((4.0, "a", "Aligned EM"), (92.0, "b", "Neurites")):
        left += (BLOCK_MM[0] - wide - deep - GAP_MM) / 2
        boxes = (
            (left, 6.0, wide, tall),
            (left, 6.0 + tall + GAP_MM, wide, deep),
            (left + wide + GAP_MM, 6.0, deep, tall),
        )
        for i, (box, shade, colour) in enumerate(zip(boxes, shades, colours, strict=True)):
            image = shade if letter == "a" else overlay_colours(shade, colour)
            axes = page.add_panel(figure, box, *((letter, title) if i == 0 else ()))
            _draw_plane(axes, image, marks[i], ("xy", "xz", "yz")[i])
        if letter == "a":
            page.draw_scale_bar(figure, left, tall + deep + GAP_MM + 7.4, scale, wide / 3)
    part = f", sections {first} to {first + shown - 1}" if shown < len(labels) else ""
    caption = f"Planes at x = {x}, y = {y}, z = {z} px{part}; red ticks: where they cut"
    page.add_note(figure, tall + deep + GAP_MM + 9.0, caption)
    page.add_footer(figure, describe_extent(aligned.shape, aligned.voxel_size), aligned.source)
    return figure


def _draw_plane(axes: Axes, image: np.ndarray, cut: tuple[int, int], name: str) -> None:
    """Draw a plane with ticks at the row and column where others cut it; yz stands upright."""
    if name == "yz":
        image, cut = image.swapaxes(0, 1), cut[::-1]
    page.draw_image(axes, image)
    axes.set_yticks([cut[0]], labels=[""])
    axes.set_xticks([cut[1]], labels=[""])
    axes.tick_params(left=True, right=True, top=True, bottom=True, color=page.VERMILION, width=1.0)
    box = {"boxstyle": "round,pad=0.15", "fc": (1, 1, 1, 0.8), "ec": "none"}
    axes.annotate(
        name,
        (0, 1),
        (2.5, -2.5),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=page.SMALL_PT,
        ha="left",
        va="top",
        bbox=box,
    )


# Figure 6: the largest neurites in relief ---------------------------------------------------

N_LARGEST = 10
GRID_SIZE = 180  # voxels along the longest side of what is looked at
AZIMUTH, ELEVATION = np.radians((32.0, 24.0))
LIGHT_DIRECTION = np.array([-0.4, -0.6, 0.69])  # comes from the upper left, of length 1
AMBIENT = 0.4
DEPTH_FADE = 0.3  # of brightness lost from the nearest to the farthest
SMOOTHING = 1.5  # voxels: a staircase of sections is no relief of a neurite
RELIEF_MM = 100.0
PER_ROW = 5
MAX_SINGLE_MM = (38.0, 13.0)  # most height and width of one by itself


@page.use_style
def figure6(labels: np.ndarray, voxel_size: tuple[float, float, float], source: str = "") -> Figure:
    """Show the ten largest neurites as shaded surfaces, seen from above one corner.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 is none.
    voxel_size : tuple of float
        (z, y, x) in nm.
    source : str
        Where the EM came from.

    Returns
    -------
    Figure
        Panel a: all together within the outline of the stack, in parallel projection; b: each by
        itself, with its id and volume.
    """
    ids, voxels = _find_largest(labels)
    volumes = voxels * np.prod(voxel_size) / 1e9
    view = _create_projection(np.array(labels.shape) * voxel_size)
    surfaces = _depth_maps(_renumber(labels, ids), voxel_size, view, len(ids))
    parts = [_crop(surface) for surface in surfaces]
    mm = _single_scale(parts)
    row_mm = max([len(part) * mm for part in parts], default=0.0) + 10.0
    top, bottom = _visible_rows(view)
    tall = RELIEF_MM * (bottom - top) / view.size
    height = max(tall, 2 + row_mm * -(-len(parts) // PER_ROW))
    figure = page.create_page(height + 16.0)
    title = f"The {format_count(len(ids), 'largest neurite')}"
    axes = page.add_panel(figure, (4.0, 6.0 + (height - tall) / 2, RELIEF_MM, tall), title="")
    page.add_panel(figure, (4.0, 6.0, 0.0, 0.0), "a", title).set_axis_off()
    axes.set(xlim=(-0.5, view.size - 0.5), ylim=(bottom, top))
    _draw_relief(axes, surfaces, view)
    scale = RELIEF_MM / (view.size * view.step / 1000)
    page.draw_scale_bar(figure, 4.0, height + 7.0, scale, RELIEF_MM / 4)
    if len(ids) == 0:
        page.draw_notice(axes, "no neurites")
    page.add_panel(figure, (108.0, 6.0, 0.0, 0.0), "b", "Each by itself").set_axis_off()
    titles = [f"{i}\n{_format_volume(v)} µm³" for i, v in zip(ids, volumes, strict=True)]
    _draw_singles(figure, parts, titles, mm, row_mm)
    if parts:
        page.draw_scale_bar(figure, 108.0, height + 7.0, mm / (view.step / 1000), MAX_SINGLE_MM[1])
    page.add_footer(figure, describe_extent(labels.shape, voxel_size), source)
    return figure


def _format_volume(volume: float) -> str:
    """Write a volume with two digits that count, zeros among them."""
    return f"{volume:#.2g}" if volume < 9.95 else f"{volume:.0f}"


@dataclass(frozen=True)
class _Projection:
    """A parallel projection: rows of ``turn`` are the viewer's depth, down and right."""

    turn: np.ndarray
    centre: np.ndarray
    size: int
    step: float
    corners: np.ndarray


def _find_largest(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of the largest neurites and their voxels, the largest first."""
    counts = pd.Series(labels.ravel()).value_counts()
    counts = counts.drop(0, errors="ignore").sort_index()
    counts = counts.sort_values(ascending=False, kind="stable")[:N_LARGEST]
    return counts.index.to_numpy(), counts.to_numpy()


def _renumber(labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the places of voxels in the chosen ids, counted from 1; 0 for all others."""
    order = np.argsort(ids)
    place = np.searchsorted(ids[order], labels).clip(max=max(len(ids) - 1, 0))
    if len(ids) == 0:
        return np.zeros(labels.shape, np.uint8)
    return np.where(ids[order][place] == labels, order[place] + 1, 0).astype(np.uint8)


def _create_projection(size_nm: np.ndarray) -> _Projection:
    """Look at a box of the given sides (z, y, x) so that all of it is seen."""
    sin_a, cos_a, sin_e, cos_e = (f(a) for a in (AZIMUTH, ELEVATION) for f in (np.sin, np.cos))
    # Sections lie flat, one upon the other: z runs down, y away from the viewer, x to the right.
    about = np.array([[1, 0, 0], [0, cos_a, -sin_a], [0, sin_a, cos_a]])
    tilt = np.array([[sin_e, cos_e, 0], [cos_e, -sin_e, 0], [0, 0, 1]])
    turn = tilt @ about
    box = np.array(np.meshgrid(*([-0.5, 0.5],) * 3, indexing="ij")).reshape(3, -1).T * size_nm
    seen = box @ turn.T
    reach = 1.04 * np.abs(seen[:, 1:]).max()
    step = 2 * reach / GRID_SIZE
    return _Projection(
        turn, size_nm / 2, GRID_SIZE, step, seen[:, :0:-1] / step + GRID_SIZE / 2 - 0.5
    )


def _depth_maps(
    compact: np.ndarray, voxel_size: tuple[float, float, float], view: _Projection, count: int
) -> np.ndarray:
    """Return how deep each neurite is first met behind each pixel (count, Y, X); NaN for never."""
    deep = int(np.ceil(np.linalg.norm(2 * view.centre) / view.step))
    shape = np.array([deep, view.size, view.size])
    # From the voxels of the view, through nm, to those of the stack.
    matrix = view.turn.T * view.step / np.array(voxel_size)[:, None]
    middle = view.centre / voxel_size - 0.5
    seen = ndimage.affine_transform(
        compact,
        matrix,
        middle - matrix @ ((shape - 1) / 2),
        tuple(shape),
        order=0,
        mode="grid-constant",
    )
    surfaces = np.full((count, view.size, view.size), np.nan, np.float32)
    for i in range(count):
        inside = seen == i + 1
        first = inside.argmax(axis=0).astype(np.float32)
        surfaces[i] = np.where(inside.any(axis=0), first, np.nan)
    return surfaces


def _shade(surface: np.ndarray, depth: tuple[float, float], colour: str) -> np.ndarray:
    """Return a lit surface as RGBA, the far parts darker."""
    seen = np.isfinite(surface)
    known = ndimage.gaussian_filter(seen.astype(np.float32), SMOOTHING) + 1e-6
    even = ndimage.gaussian_filter(np.where(seen, surface, 0), SMOOTHING) / known
    down, right = np.gradient(even)
    normal = np.stack([right, down, np.ones_like(even)])  # deeper to the right: it faces right
    normal /= np.linalg.norm(normal, axis=0)
    lit = AMBIENT + (1 - AMBIENT) * np.clip(np.tensordot(LIGHT_DIRECTION, normal, 1), 0, 1)
    near, far = depth
    lit *= 1 - DEPTH_FADE * (np.nan_to_num(surface, nan=near) - near) / max(far - near, 1.0)
    # Dark colours would hide their relief.
    paint = 0.2 + 0.8 * np.array(to_rgb(colour))
    return np.dstack([np.clip(lit[..., None] * paint, 0, 1), seen]).astype(np.float32)


def _depth_range(surfaces: np.ndarray) -> tuple[float, float]:
    seen = surfaces[np.isfinite(surfaces)]
    return (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)


def _draw_relief(axes: Axes, surfaces: np.ndarray, view: _Projection) -> None:
    """Draw all surfaces, the nearest in front, within the outline of the stack."""
    axes.set_axis_off()
    ends = [(i, j) for i in range(8) for j in range(i) if bin(i ^ j).count("1") == 1]
    lines = [view.corners[list(pair)] for pair in ends]
    axes.add_collection(
        LineCollection(lines, colors=page.LIGHT_GREY, linewidths=0.5), autolim=False
    )
    if len(surfaces) == 0:
        return
    depth = _depth_range(surfaces)
    painted = np.zeros((view.size, view.size, 4), np.float32)
    nearest = np.full(painted.shape[:2], np.inf, np.float32)
    for surface, colour in zip(surfaces, page.TEN_COLOURS, strict=False):
        front = np.nan_to_num(surface, nan=np.inf) < nearest
        painted[front] = _shade(surface, depth, colour)[front]
        nearest[front] = surface[front]
    box = (-0.5, view.size - 0.5, view.size - 0.5, -0.5)
    drawn = axes.axis()
    axes.imshow(painted, interpolation="bilinear", zorder=2, extent=box, aspect="auto")
    axes.axis(drawn)


def _visible_rows(view: _Projection) -> tuple[float, float]:
    """Return the first and last row of a view that the stack reaches."""
    rows = view.corners[:, 1]
    return rows.min() - 2, rows.max() + 2


def _crop(surface: np.ndarray) -> np.ndarray:
    """Return the part of a view in which there is something to see, and a rim around it."""
    seen = np.argwhere(np.isfinite(surface))
    if len(seen) == 0:  # too small for the grid
        seen = np.zeros((1, 2), int)
    (top, left), (bottom, right) = seen.min(axis=0), seen.max(axis=0) + 1
    # Slopes need more than one pixel either way, however thin a neurite is.
    return np.pad(surface[top:bottom, left:right], 1, constant_values=np.nan)


def _single_scale(parts: list[np.ndarray]) -> float:
    """Return how many mm a pixel has where all are drawn by themselves."""
    sizes = np.array([part.shape for part in parts]).reshape(-1, 2)
    return float(np.min(np.array(MAX_SINGLE_MM) / sizes.max(axis=0, initial=1)))


def _draw_singles(
    figure: Figure, parts: list[np.ndarray], titles: list[str], mm: float, row_mm: float
) -> None:
    """Draw every surface by itself, all to one scale, with its title below."""
    for i, (part, title) in enumerate(zip(parts, titles, strict=True)):
        row, column = divmod(i, PER_ROW)
        tall, wide = np.array(part.shape) * mm
        middle, bottom = 115.0 + 13.9 * column, 8.0 + row_mm * (row + 1) - 10.0
        axes = page.add_panel(figure, (middle - wide / 2, bottom - tall, wide, tall))
        image = _shade(part, _depth_range(part), page.TEN_COLOURS[i])
        axes.imshow(image, interpolation="bilinear", aspect="auto")
        axes.set_axis_off()
        text = {"size": page.SMALL_PT, "ha": "center", "linespacing": 1.1}
        page.write_text(figure, middle, bottom + 6.2, title, **text)
