"""Alignment (Figure 4): the shift and rotation applied to each section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from connectome.figures.layout import page
from connectome.figures.layout.elements import (
    format_count,
    format_dimensions,
    integer_locator,
    section_edges,
    set_section_axis,
)

MIN_SCALING_PERCENT = 0.01  # below it sections are drawn as rotated only


@page.use_style
def draw_alignment(
    alignment: Mapping[str, Any], voxel_size: tuple[float, float, float], source: str = ""
) -> Figure:
    """Draw the transform applied to each section.

    Parameters
    ----------
    alignment : mapping
        As in ``tables/alignment_shifts.json``: ``shifts``, shape (Z, 2), the shift (dy, dx) of
        each section in pixels, and optionally

        - ``true_shifts``, shape (Z, 2): true shifts in pixels. The median difference to ``shifts``
          is subtracted, because moving the whole stack misaligns nothing;
        - ``damaged_sections``: sections excluded from alignment;
        - ``confidence``, shape (Z,), of each shift, in [0, 1];
        - ``trend``, shape (Z, 2): slow drift in pixels, attributed to the tissue and not removed;
        - ``matrices``, shape (Z, 2, 2): rotation and scaling of each section, on (y, x).
    voxel_size : tuple of float
        (z, y, x) in nm.
    source : str
        Source of the EM.

    Returns
    -------
    Figure
        Panels a, b: dy and dx by section, in px and nm; c: displacement of the sections in their
        plane; d, if known: confidence; e, if there are matrices: rotation in degrees and scaling
        in percent.
    """
    shifts = np.asarray(alignment["shifts"], float).reshape(-1, 2)
    true_shifts, confidence, drift, matrices = (
        np.asarray(alignment[name], float) if alignment.get(name) is not None else None
        for name in ("true_shifts", "confidence", "trend", "matrices")
    )
    damaged_sections = tuple(alignment.get("damaged_sections", ()))
    if true_shifts is not None:
        true_shifts = true_shifts + np.median(shifts - true_shifts, axis=0)
    if drift is not None and not np.any(drift):
        drift = None
    figure = page.create_page(77.0 if confidence is None and matrices is None else 97.0)
    _draw_shifts(figure, shifts, true_shifts, drift, damaged_sections, voxel_size)
    path = page.add_panel(
        figure, (121.0, 8.0, 44.0, 44.0), "c", "Displacement of sections", indent=12.0
    )
    _draw_path(path, figure, shifts * voxel_size[1:], damaged_sections)
    if confidence is not None:
        strip = page.add_panel(figure, (14.0, 75.0, 80.0, 10.0), "d", "Confidence", indent=12.0)
        strip.stairs(confidence, section_edges(len(shifts)), fill=True, color=page.LIGHT_GREY)
        strip.set(ylim=(0, 1.05), yticks=[0, 1])
        set_section_axis(strip, len(shifts))
    if matrices is not None:
        rotation = page.add_panel(figure, (121.0, 70.0, 44.0, 15.0), "e", "Rotation", indent=12.0)
        _draw_rotation(rotation, matrices)
    pixel = format_dimensions(f"{nm:.4g}" for nm in voxel_size[:0:-1])
    text = f"{format_count(len(shifts), 'section')} · pixel size {pixel} nm (x, y)"
    page.add_footer(figure, text, source)
    return figure


def _draw_shifts(
    figure: Figure,
    shifts: np.ndarray,
    true_shifts: np.ndarray | None,
    drift: np.ndarray | None,
    damaged_sections: Sequence[int],
    voxel_size: tuple[float, float, float],
) -> None:
    """Draw dy and dx in two panels with a common scale, in px on the left and nm on the right."""
    series = np.stack([each for each in (shifts, true_shifts, drift) if each is not None])
    half_range = max(0.6 * np.ptp(series, axis=(0, 1)).max(), 0.5)
    for component, name in enumerate(("dy", "dx")):
        box = (14.0, 8.0 + 32.0 * component, 80.0, 24.0)
        axes = page.add_panel(figure, box, "ab"[component], f"Shift {name}", indent=12.0)
        _draw_shift_component(
            axes,
            shifts[:, component],
            None if true_shifts is None else true_shifts[:, component],
            damaged_sections,
        )
        if drift is not None:
            axes.plot(drift[:, component], color=page.GREEN, lw=1.2, label="drift kept")
        shown = series[..., component]
        middle = (np.max(shown) + np.min(shown)) / 2
        limits = np.array([middle - half_range, middle + half_range])
        axes.set(ylim=limits, ylabel="px")
        axes.yaxis.set_label_coords(-0.09, 0.5)
        right = axes.twinx()
        right.set(ylim=limits * voxel_size[1 + component], ylabel="nm")
        right.yaxis.set_label_coords(1.09, 0.5)
        if component == 0:
            axes.legend(
                loc="lower right", bbox_to_anchor=(1, 1), ncols=4, columnspacing=1.2, borderpad=0.1
            )


def _draw_shift_component(
    axes: Axes,
    applied: np.ndarray,
    true: np.ndarray | None,
    damaged_sections: Sequence[int],
) -> None:
    """Draw one component of the applied and, if known, the true shifts, in pixels."""
    sections = np.arange(len(applied))
    axes.axhline(0, color=page.MUTED, lw=0.4)
    axes.plot(sections, applied, "-o", ms=1.6, color=page.BLUE, label="applied", zorder=3)
    if true is not None:
        axes.plot(sections, true, "o", ms=3.2, mfc="none", mec=page.ORANGE, mew=0.8, label="true")
    for z in damaged_sections:
        label = "damaged section" if z == damaged_sections[0] else None
        axes.axvspan(z - 0.5, z + 0.5, color=page.VERMILION, alpha=0.25, lw=0, label=label)
    set_section_axis(axes, len(applied))


def _draw_path(
    axes: Axes, figure: Figure, shifts_nm: np.ndarray, damaged_sections: Sequence[int]
) -> None:
    """Draw shifts (dy, dx) in nm as a path in the plane of the sections, coloured by section."""
    dy, dx = shifts_nm.T
    axes.plot(dx, dy, "-", lw=0.5, color=page.LIGHT_GREY, zorder=1)
    sections = Normalize(0, max(len(dx) - 1, 1))
    dots = axes.scatter(dx, dy, 7, np.arange(len(dx)), norm=sections, zorder=2, linewidths=0)
    marked = list(damaged_sections)
    axes.plot(dx[marked], dy[marked], "o", ms=5, mfc="none", mec=page.VERMILION, mew=0.8, zorder=3)
    centre = (shifts_nm.max(axis=0) + shifts_nm.min(axis=0)) / 2
    half_range = max(0.58 * np.ptp(shifts_nm, axis=0).max(), 1.0)
    axes.set(
        xlim=(centre[1] - half_range, centre[1] + half_range),
        ylim=(centre[0] + half_range, centre[0] - half_range),  # y points down, as in images
        xlabel="dx (nm)",
        ylabel="dy (nm)",
    )
    bar = figure.colorbar(dots, cax=axes.inset_axes((1.03, 0, 0.04, 1)))
    bar.set_label("section z")
    bar.ax.yaxis.set_major_locator(integer_locator(6))


def _draw_rotation(axes: Axes, matrices: np.ndarray) -> None:
    """Draw the rotation of each section in degrees and, if there is any, the scaling in percent."""
    (yy, yx), (xy, xx) = np.moveaxis(matrices, 0, 2)
    scaling = 100 * (np.sqrt(np.linalg.det(matrices)) - 1)
    axes.axhline(0, color=page.MUTED, lw=0.4)
    lines = axes.plot(np.degrees(np.arctan2(xy - yx, yy + xx)), "-o", ms=1.6, color=page.BLUE)
    # Positive from y, which points down, to x.
    axes.set_ylabel("° counter-\nclockwise")
    if np.abs(scaling).max() > MIN_SCALING_PERCENT:
        right = axes.twinx()
        lines += right.plot(scaling, "-o", ms=1.6, color=page.ORANGE)
        right.set_ylabel("scaling (%)")
        axes.legend(
            lines, ("rotation", "scaling"), loc="lower right", bbox_to_anchor=(1, 1), ncols=2
        )
    set_section_axis(axes, len(matrices))
