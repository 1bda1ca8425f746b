"""Neurites in 3D: orthogonal views (Figure 5) and shaded surfaces of the largest (Figure 6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy import ndimage

from connectome.core.volume import Volume
from connectome.figures.layout import page
from connectome.figures.layout.elements import (
    check_shapes,
    describe_extent,
    format_count,
    overlay_colours,
    to_greyscale,
)
from connectome.graph.colouring import colour_orthogonal_planes

# Figure 5: orthogonal views -----------------------------------------------------------------

BLOCK_MM = (84.0, 100.0)  # maximum width and height of the three planes together
GAP_MM = 2.0
MAX_DEPTH = 1.5  # in section widths; of deeper stacks the middle is shown


@page.use_style
def draw_ortho_views(aligned: Volume, labels: np.ndarray) -> Figure:
    """Draw three orthogonal planes through the middle of the stack, as EM and with neurites.

    Parameters
    ----------
    aligned : Volume of float, shape (Z, Y, X)
        Aligned EM in [0, 1].
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 is background.

    Returns
    -------
    Figure
        Panels a and b: xy, with yz to its right and xz below, at one scale; ticks mark the
        intersections of the planes.

    Raises
    ------
    DataError
        If the stacks differ in shape.
    """
    check_shapes(aligned.shape, labels)
    z, y, x = (n // 2 for n in aligned.shape)
    sections, mm_per_um = _fit_planes(aligned)
    n_shown = sections.stop - sections.start
    _, tall, wide = (um * mm_per_um for um in aligned.field_of_view_um)
    deep = n_shown * (aligned.voxel_size[0] / 1000) * mm_per_um
    xy, xz, yz = colour_orthogonal_planes(labels, z, aligned.voxel_size, len(page.NEURITE_COLOURS))
    colours = xy, xz[sections], yz[sections]
    planes = (np.s_[z], np.s_[sections, y], np.s_[sections, :, x])
    images = [to_greyscale(aligned.data[plane]) for plane in planes]
    marks = ((y, x), (z - sections.start, x), (z - sections.start, y))
    height = tall + deep + GAP_MM
    figure = page.create_page(height + 18.0)
    for left, letter, title in ((4.0, "a", "Aligned EM"), (92.0, "b", "Neurites")):
        left += (BLOCK_MM[0] - wide - deep - GAP_MM) / 2
        boxes = (
            (left, 6.0, wide, tall),
            (left, 6.0 + tall + GAP_MM, wide, deep),
            (left + wide + GAP_MM, 6.0, deep, tall),
        )
        for i, (box, image, colour) in enumerate(zip(boxes, images, colours, strict=True)):
            axes = page.add_panel(figure, box, *((letter, title) if i == 0 else ()))
            shown = image if letter == "a" else overlay_colours(image, colour)
            _draw_plane(axes, shown, marks[i], ("xy", "xz", "yz")[i])
        if letter == "a":
            page.draw_scale_bar(figure, left, height + 7.4, mm_per_um=mm_per_um, max_mm=wide / 3)
    part = f", sections {sections.start} to {sections.stop - 1}" if n_shown < len(labels) else ""
    note = f"Planes at x = {x}, y = {y}, z = {z}{part}; red ticks: intersections of the planes"
    page.add_note(figure, height + 9.0, note)
    page.add_footer(figure, describe_extent(aligned.shape, aligned.voxel_size), aligned.source)
    return figure


def _fit_planes(volume: Volume) -> tuple[slice, float]:
    """Return the sections that are shown, and the printed mm per µm."""
    _, tall_um, wide_um = volume.field_of_view_um
    section_um = volume.voxel_size[0] / 1000
    depth = len(volume.data)
    n_shown = min(depth, max(1, int(MAX_DEPTH * max(tall_um, wide_um) / section_um)))
    first = min(max(depth // 2 - n_shown // 2, 0), depth - n_shown)
    deep_um = n_shown * section_um
    width, height = (side - GAP_MM for side in BLOCK_MM)
    mm_per_um = min(width / (wide_um + deep_um), height / (tall_um + deep_um))
    return slice(first, first + n_shown), mm_per_um


def _draw_plane(axes: Axes, image: np.ndarray, mark: tuple[int, int], name: str) -> None:
    """Draw a plane, with ticks at the row and column of the other planes; yz is transposed."""
    if name == "yz":
        image, mark = image.swapaxes(0, 1), mark[::-1]
    page.draw_image(axes, image)
    axes.set_yticks([mark[0]], labels=[""])
    axes.set_xticks([mark[1]], labels=[""])
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


# Figure 6: shaded surfaces ------------------------------------------------------------------

N_LARGEST = 10
GRID_SIZE = 180  # pixels along each side of the projection
AZIMUTH, ELEVATION = np.radians((32.0, 24.0))
LIGHT_DIRECTION = np.array([-0.4, -0.6, 0.69])  # unit vector, from the upper left
AMBIENT = 0.4
DEPTH_FADE = 0.3  # of brightness, from the nearest to the farthest surface
SMOOTHING = 1.5  # pixels; removes the steps between sections
RELIEF_MM = 100.0
PER_ROW = 5
MAX_SINGLE_MM = (38.0, 13.0)  # height and width of a single neurite


@page.use_style
def draw_largest_neurites(
    labels: np.ndarray, voxel_size: tuple[float, float, float], source: str = ""
) -> Figure:
    """Draw the ten largest neurites as shaded surfaces in oblique view.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 is background.
    voxel_size : tuple of float
        (z, y, x) in nm.
    source : str
        Source of the EM.

    Returns
    -------
    Figure
        Panel a: all together within the outline of the stack, in parallel projection; b: each
        neurite separately, with its id and volume.
    """
    ids, n_voxels = _find_largest(labels)
    volumes = n_voxels * np.prod(voxel_size) / 1e9
    projection = _create_projection(np.array(labels.shape) * voxel_size)
    surfaces = _depth_maps(_renumber(labels, ids), voxel_size, projection, len(ids))
    singles = [_crop(surface) for surface in surfaces]
    mm_per_px = _single_scale(singles)
    row_mm = max([len(single) * mm_per_px for single in singles], default=0.0) + 10.0
    top, bottom = _visible_rows(projection)
    relief_height = RELIEF_MM * (bottom - top) / projection.size
    height = max(relief_height, 2 + row_mm * -(-len(singles) // PER_ROW))
    figure = page.create_page(height + 16.0)
    axes = page.add_panel(
        figure, (4.0, 6.0 + (height - relief_height) / 2, RELIEF_MM, relief_height)
    )
    title = format_count(len(ids), "largest neurite")
    page.add_panel(figure, (4.0, 6.0, 0.0, 0.0), "a", title).set_axis_off()
    axes.set(xlim=(-0.5, projection.size - 0.5), ylim=(bottom, top))
    _draw_relief(axes, surfaces, projection)
    um_per_px = projection.step / 1000
    scale = RELIEF_MM / (projection.size * um_per_px)
    page.draw_scale_bar(figure, 4.0, height + 7.0, mm_per_um=scale, max_mm=RELIEF_MM / 4)
    if len(ids) == 0:
        page.draw_notice(axes, "no neurites")
    page.add_panel(figure, (108.0, 6.0, 0.0, 0.0), "b", "Individual neurites").set_axis_off()
    titles = [f"{i}\n{_format_volume(v)} µm³" for i, v in zip(ids, volumes, strict=True)]
    _draw_singles(figure, singles, titles, mm_per_px, row_mm)
    if singles:
        scale = mm_per_px / um_per_px
        page.draw_scale_bar(figure, 108.0, height + 7.0, mm_per_um=scale, max_mm=MAX_SINGLE_MM[1])
    page.add_footer(figure, describe_extent(labels.shape, voxel_size), source)
    return figure


def _format_volume(volume: float) -> str:
    """Format a volume in µm³ with two significant digits."""
    return f"{volume:#.2g}" if volume < 9.95 else f"{volume:.0f}"


@dataclass(frozen=True)
class _Projection:
    """A parallel projection of the stack onto a square image.

    The rows of ``rotation`` are the directions of depth, down and right in the stack; ``centre``
    is the middle of the stack in nm, ``size`` the side of the image in pixels, ``step`` the size of
    a pixel in nm, and ``corners`` the projected corners (x, y) of the stack in pixels.
    """

    rotation: np.ndarray
    centre: np.ndarray
    size: int
    step: float
    corners: np.ndarray


def _find_largest(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids and voxel counts of the largest neurites, the largest first."""
    counts = pd.Series(labels.ravel()).value_counts()
    counts = counts.drop(0, errors="ignore").sort_index()
    counts = counts.sort_values(ascending=False, kind="stable")[:N_LARGEST]
    return counts.index.to_numpy(), counts.to_numpy()


def _renumber(labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Replace the given ids by 1, 2, … in their order, and all others by 0."""
    if len(ids) == 0:
        return np.zeros(labels.shape, np.uint8)
    order = np.argsort(ids)
    index = np.searchsorted(ids[order], labels).clip(max=len(ids) - 1)
    return np.where(ids[order][index] == labels, order[index] + 1, 0).astype(np.uint8)


def _create_projection(size_nm: np.ndarray) -> _Projection:
    """Return an oblique projection that contains a box of the given sides (z, y, x) in nm."""
    sin_a, cos_a, sin_e, cos_e = (f(a) for a in (AZIMUTH, ELEVATION) for f in (np.sin, np.cos))
    # z points down, y away from the viewer, x to the right.
    azimuth = np.array([[1, 0, 0], [0, cos_a, -sin_a], [0, sin_a, cos_a]])
    elevation = np.array([[sin_e, cos_e, 0], [cos_e, -sin_e, 0], [0, 0, 1]])
    rotation = elevation @ azimuth
    box = np.array(np.meshgrid(*([-0.5, 0.5],) * 3, indexing="ij")).reshape(3, -1).T * size_nm
    projected = box @ rotation.T
    step = 2 * 1.04 * np.abs(projected[:, 1:]).max() / GRID_SIZE
    return _Projection(
        rotation=rotation,
        centre=size_nm / 2,
        size=GRID_SIZE,
        step=step,
        corners=projected[:, :0:-1] / step + GRID_SIZE / 2 - 0.5,
    )


def _depth_maps(
    numbered: np.ndarray,
    voxel_size: tuple[float, float, float],
    projection: _Projection,
    count: int,
) -> np.ndarray:
    """Return the depth of each neurite's surface behind each pixel, shape (count, Y, X).

    Depths are in pixels of the projection; NaN where the neurite is not behind the pixel.
    ``numbered`` contains 1 to ``count``.
    """
    depth = int(np.ceil(np.linalg.norm(2 * projection.centre) / projection.step))
    shape = np.array([depth, projection.size, projection.size])
    # From voxels of the projection, through nm, to voxels of the stack.
    matrix = projection.rotation.T * projection.step / np.array(voxel_size)[:, None]
    middle = projection.centre / voxel_size - 0.5
    rotated = ndimage.affine_transform(
        numbered,
        matrix,
        middle - matrix @ ((shape - 1) / 2),
        tuple(shape),
        order=0,
        mode="grid-constant",
    )
    surfaces = np.full((count, projection.size, projection.size), np.nan, np.float32)
    for i in range(count):
        inside = rotated == i + 1
        first = inside.argmax(axis=0).astype(np.float32)
        surfaces[i] = np.where(inside.any(axis=0), first, np.nan)
    return surfaces


def _shade(surface: np.ndarray, depth_range: tuple[float, float], colour: str) -> np.ndarray:
    """Return a depth map as an illuminated surface (RGBA), darker with depth."""
    visible = np.isfinite(surface)
    weight = ndimage.gaussian_filter(visible.astype(np.float32), SMOOTHING) + 1e-6
    smooth = ndimage.gaussian_filter(np.where(visible, surface, 0), SMOOTHING) / weight
    down, right = np.gradient(smooth)
    normal = np.stack([right, down, np.ones_like(smooth)])  # depth grows to the right: faces right
    normal /= np.linalg.norm(normal, axis=0)
    light = AMBIENT + (1 - AMBIENT) * np.clip(np.tensordot(LIGHT_DIRECTION, normal, 1), 0, 1)
    near, far = depth_range
    light *= 1 - DEPTH_FADE * (np.nan_to_num(surface, nan=near) - near) / max(far - near, 1.0)
    # Lightened, because shading is invisible on dark colours.
    rgb = 0.2 + 0.8 * np.array(to_rgb(colour))
    return np.dstack([np.clip(light[..., None] * rgb, 0, 1), visible]).astype(np.float32)


def _depth_range(surfaces: np.ndarray) -> tuple[float, float]:
    """Return the least and the largest depth in depth maps."""
    depths = surfaces[np.isfinite(surfaces)]
    return (float(depths.min()), float(depths.max())) if depths.size else (0.0, 1.0)


def _draw_relief(axes: Axes, surfaces: np.ndarray, projection: _Projection) -> None:
    """Draw all surfaces, the nearest in front, within the outline of the stack."""
    axes.set_axis_off()
    edges = [(i, j) for i in range(8) for j in range(i) if (i ^ j).bit_count() == 1]
    lines = [projection.corners[list(edge)] for edge in edges]
    axes.add_collection(
        LineCollection(lines, colors=page.LIGHT_GREY, linewidths=0.5), autolim=False
    )
    if len(surfaces) == 0:
        return
    depth_range = _depth_range(surfaces)
    image = np.zeros((projection.size, projection.size, 4), np.float32)
    nearest = np.full(image.shape[:2], np.inf, np.float32)
    for surface, colour in zip(surfaces, page.TEN_COLOURS, strict=False):
        in_front = np.nan_to_num(surface, nan=np.inf) < nearest
        image[in_front] = _shade(surface, depth_range, colour)[in_front]
        nearest[in_front] = surface[in_front]
    extent = (-0.5, projection.size - 0.5, projection.size - 0.5, -0.5)
    limits = axes.axis()
    axes.imshow(image, interpolation="bilinear", zorder=2, extent=extent, aspect="auto")
    axes.axis(limits)


def _visible_rows(projection: _Projection) -> tuple[float, float]:
    """Return the first and last row of the projection that the stack reaches."""
    rows = projection.corners[:, 1]
    return rows.min() - 2, rows.max() + 2


def _crop(surface: np.ndarray) -> np.ndarray:
    """Crop a depth map to its visible part with a margin of one pixel."""
    visible = np.argwhere(np.isfinite(surface))
    if len(visible) == 0:  # smaller than a pixel of the projection
        visible = np.zeros((1, 2), int)
    (top, left), (bottom, right) = visible.min(axis=0), visible.max(axis=0) + 1
    # The margin makes gradients defined for surfaces one pixel wide.
    return np.pad(surface[top:bottom, left:right], 1, constant_values=np.nan)


def _single_scale(singles: list[np.ndarray]) -> float:
    """Return the printed mm per pixel at which every single neurite fits its panel."""
    sizes = np.array([single.shape for single in singles]).reshape(-1, 2)
    return float(np.min(np.array(MAX_SINGLE_MM) / sizes.max(axis=0, initial=1)))


def _draw_singles(
    figure: Figure,
    singles: list[np.ndarray],
    titles: list[str],
    mm_per_px: float,
    row_mm: float,
) -> None:
    """Draw each neurite separately, all at one scale, with its title below."""
    for i, (single, title) in enumerate(zip(singles, titles, strict=True)):
        row, column = divmod(i, PER_ROW)
        height, width = np.array(single.shape) * mm_per_px
        middle, bottom = 115.0 + 13.9 * column, 8.0 + row_mm * (row + 1) - 10.0
        axes = page.add_panel(figure, (middle - width / 2, bottom - height, width, height))
        image = _shade(single, _depth_range(single), page.TEN_COLOURS[i])
        axes.imshow(image, interpolation="bilinear", aspect="auto")
        axes.set_axis_off()
        page.write_text(
            figure, middle, bottom + 6.2, title, size=page.SMALL_PT, ha="center", linespacing=1.1
        )
