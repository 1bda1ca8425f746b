"""Processing overview (Figure 1): one section and one plane across sections, raw to segmented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

from connectome.core.volume import Volume
from connectome.figures.layout import page
from connectome.figures.layout.elements import (
    check_shapes,
    describe_extent,
    overlay_colours,
    to_greyscale,
)
from connectome.graph.colouring import colour_orthogonal_planes

IMAGE_MM = 40.5
GAP_MM = 2.5
MAX_SECTION_MM = 75.0  # height of a section in print
MAX_DEPTH_MM = 55.0  # height of a plane across sections; of deeper stacks a part is shown
ROW_MM = 8.0  # added to the height of each row for titles and notes
TITLES = ("Raw", "Preprocessed", "Aligned", "Neurites")


@page.use_style
def draw_overview(
    cutout: Volume,
    preprocessed: np.ndarray,
    aligned: Volume,
    labels: np.ndarray,
    section: int | None = None,
) -> Figure:
    """Draw one section, and one plane across all sections, at every processing step.

    Parameters
    ----------
    cutout : Volume of uint8, shape (Z, Y, X)
        EM as imaged.
    preprocessed : ndarray of float, shape (Z, Y, X)
        EM before alignment, in [0, 1].
    aligned : Volume of float, shape (Z, Y, X)
        EM after alignment, in [0, 1].
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids of the aligned stack; 0 is background.
    section : int, optional
        Section to show; None selects the one nearest the middle that is not blank.

    Returns
    -------
    Figure
        Panels a-d: the section raw, preprocessed, aligned and with neurites (xy). Panels e-h: the
        same across the sections (xz), which shows the quality of the alignment. All panels share
        one scale, and a neurite has the same colour in both rows.

    Raises
    ------
    DataError
        If the stacks differ in shape.
    """
    check_shapes(cutout.shape, preprocessed, aligned.data, labels)
    z = _choose_section(cutout.data) if section is None else section
    planes = _plan_planes(cutout, z, cutout.shape[1] // 2)
    colours = colour_orthogonal_planes(labels, z, cutout.voxel_size, len(page.NEURITE_COLOURS))

    figure = page.create_page(ROW_MM + sum(plane.height + ROW_MM for plane in planes))
    top = 6.0
    for plane, colour, letters in zip(planes, colours, ("abcd", "efgh"), strict=False):
        stacks = (cutout.data, preprocessed, aligned.data)
        images = [to_greyscale(stack[plane.index]) for stack in stacks]
        images.append(overlay_colours(images[-1], colour[plane.rows]))
        _draw_plane_row(figure, top, plane, images, letters)
        top += plane.height + ROW_MM
    page.add_footer(figure, describe_extent(cutout.shape, cutout.voxel_size), cutout.source)
    return figure


@dataclass(frozen=True)
class _PrintedPlane:
    """A plane through the stack and its printed size.

    ``index`` selects the plane from a stack and ``rows`` its part that is shown; ``mark`` is the
    row in which the other plane intersects it. Lengths are in mm.
    """

    index: tuple[slice | int, ...]
    rows: slice
    vertical_axis: str
    titles: Sequence[str]
    mark: int | None
    note: str
    width: float
    height: float
    mm_per_um: float


def _plan_planes(volume: Volume, z: int, y: int) -> list[_PrintedPlane]:
    """Return the section ``z`` (xy) and, if there are several sections, the plane ``y`` (xz)."""
    depth = len(volume.data)
    _, height_um, width_um = volume.field_of_view_um
    mm_per_um = min(IMAGE_MM / width_um, MAX_SECTION_MM / height_um)
    section_mm = volume.voxel_size[0] / 1000 * mm_per_um
    n_shown = min(depth, max(2, int(MAX_DEPTH_MM / section_mm)))
    first = min(max(z - n_shown // 2, 0), depth - n_shown)
    part = f", sections {first} to {first + n_shown - 1} of {depth}" if n_shown < depth else ""
    xy = _PrintedPlane(
        index=np.s_[z, :, :],
        rows=np.s_[:],
        vertical_axis="y",
        titles=TITLES,
        mark=y if depth > 1 else None,
        note=f"Section z = {z}" + ("; red ticks: position of the xz plane" if depth > 1 else ""),
        width=width_um * mm_per_um,
        height=height_um * mm_per_um,
        mm_per_um=mm_per_um,
    )
    xz = replace(
        xy,
        index=np.s_[first : first + n_shown, y, :],
        rows=np.s_[first : first + n_shown],
        vertical_axis="z",
        titles=len(TITLES) * ("",),
        mark=z - first,
        note=f"xz plane at y = {y}{part}; red ticks: position of the section",
        height=n_shown * section_mm,
    )
    return [xy, xz] if depth > 1 else [xy]


def _draw_plane_row(
    figure: Figure, top: float, plane: _PrintedPlane, images: Sequence[np.ndarray], letters: str
) -> None:
    """Draw the images of one plane side by side, ``top`` mm below the page's top edge."""
    bottom = top + plane.height
    margin = 6.0 + (IMAGE_MM - plane.width) / 2
    for column, (image, letter, title) in enumerate(
        zip(images, letters, plane.titles, strict=True)
    ):
        box = (margin + column * (IMAGE_MM + GAP_MM), top, plane.width, plane.height)
        axes = page.add_panel(figure, box, letter, title)
        page.draw_image(axes, image)
        if plane.mark is not None:
            axes.set_yticks([plane.mark], labels=[""])
            axes.tick_params(left=True, right=True, color=page.VERMILION, width=1.0)
        if column == 0:
            axes.set_ylabel(plane.vertical_axis, rotation=0, va="center")
    page.draw_scale_bar(
        figure, margin, bottom + 1.4, mm_per_um=plane.mm_per_um, max_mm=plane.width / 3
    )
    page.add_note(figure, bottom + 3.0, plane.note)


def _choose_section(stack: np.ndarray) -> int:
    """Return the section nearest the middle with at least half the median contrast."""
    subsampled = stack[:, ::4, ::4].astype(np.float32)
    contrast = subsampled.std(axis=(1, 2))
    usable = np.flatnonzero(contrast >= 0.5 * np.median(contrast))
    return int(usable[np.argmin(np.abs(usable - len(stack) // 2))])
