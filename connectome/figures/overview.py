"""The published figures but the graph: what became of the EM, where synapses may be, the shifts.

Every function takes arrays and returns a `matplotlib.figure.Figure` of its printed size;
`write_figure` writes it as PDF and PNG. The same input gives the same bytes.

``python -m connectome.figures outputs`` draws all figures again, and writes the report.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from connectome.core.colouring import colour_orthogonal_planes
from connectome.core.volume import Volume
from connectome.figures.layout import page
from connectome.figures.layout.elements import (
    check_shapes,
    describe_extent,
    find_boundaries,
    format_count,
    format_dimensions,
    integer_locator,
    overlay_colours,
    section_edges,
    set_section_axis,
    to_greyscale,
)
from connectome.io.paths import atomic_path

# Figure 1: the EM from raw to labelled ------------------------------------------------------

PICTURE_MM = 40.5
PICTURE_GAP_MM = 2.5


@page.use_style
def figure1(
    raw: Volume,
    preprocessed: np.ndarray,
    aligned: np.ndarray,
    labels: np.ndarray,
    section: int | None = None,
) -> Figure:
    """Show one section, and one plane across all sections, from raw to labelled.

    Parameters
    ----------
    raw : Volume
        The cutout as imaged: uint8, shape (Z, Y, X), with voxel size and source.
    preprocessed, aligned : ndarray of float, shape (Z, Y, X)
        Intensities in [0, 1].
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids of the aligned stack; 0 is none.
    section : int, optional
        Section to show; None takes the one nearest the middle that bears an image.

    Returns
    -------
    Figure
        Panels a-d: the section raw, preprocessed, aligned and with its neurites (xy). Panels
        e-h: the same across the sections (xz), where alignment shows. All are to one scale,
        and a neurite has one colour in both.

    Raises
    ------
    DataError
        If the stacks differ in shape.
    """
    check_shapes(raw.shape, preprocessed, aligned, labels)
    z = _choose_section(raw.data) if section is None else section
    views = _plan_planes(raw, z, raw.shape[1] // 2)
    colours = colour_orthogonal_planes(labels, z, raw.voxel_size, len(page.NEURITE_COLOURS))

    figure = page.create_page(8.0 + sum(view.height + 8.0 for view in views))
    top = 6.0
    for view, colour, letters in zip(views, colours, ("abcd", "efgh"), strict=False):
        colour = colour[view.sections]
        pictures = [to_greyscale(stack[view.where]) for stack in (raw.data, preprocessed, aligned)]
        pictures.append(overlay_colours(pictures[-1], colour))
        _draw_plane_row(figure, top, view, pictures, letters)
        top += view.height + 8.0
    page.add_footer(figure, describe_extent(raw.shape, raw.voxel_size), raw.source)
    return figure


@dataclass(frozen=True)
class _PrintedPlane:
    """A plane through the stack as printed: its voxels, size in mm, and where others cut it."""

    where: tuple[slice | int, ...]
    sections: slice  # those of the plane that are shown
    axis: str
    titles: Sequence[str]
    mark: int | None
    caption: str
    width: float
    height: float
    mm_per_um: float


def _plan_planes(volume: Volume, z: int, y: int) -> list[_PrintedPlane]:
    """Return the section ``z`` (xy) and, of more than one section, the plane ``y`` (xz)."""
    depth = len(volume.data)
    _, tall, wide = volume.field_of_view_um
    mm_per_um = min(PICTURE_MM / wide, 75.0 / tall)
    width, section_mm = wide * mm_per_um, volume.voxel_size[0] / 1000 * mm_per_um
    shown = min(depth, max(2, int(55.0 / section_mm)))
    first = min(max(z - shown // 2, 0), depth - shown)
    part = f", sections {first} to {first + shown - 1} of {depth}" if shown < depth else ""
    xy = _PrintedPlane(
        where=np.s_[z, :, :],
        sections=np.s_[:],
        axis="y",
        titles=("Raw", "Preprocessed", "Aligned", "Neurites"),
        mark=y if depth > 1 else None,
        caption=f"Section z = {z}" + ("; red ticks: the plane below" if depth > 1 else ""),
        width=width,
        height=tall * mm_per_um,
        mm_per_um=mm_per_um,
    )
    xz = replace(
        xy,
        where=np.s_[first : first + shown, y, :],
        sections=np.s_[first : first + shown],
        axis="z",
        titles=4 * ("",),
        mark=z - first,
        caption=f"Across sections at y = {y}{part}; red ticks: the section above",
        height=shown * section_mm,
    )
    return [xy, xz] if depth > 1 else [xy]


def _draw_plane_row(
    figure: Figure, top: float, view: _PrintedPlane, pictures: Sequence[np.ndarray], letters: str
) -> None:
    """Draw the pictures of one view side by side, ``top`` mm below the page's edge."""
    bottom = top + view.height
    margin = 6.0 + (PICTURE_MM - view.width) / 2
    for column, (image, letter, title) in enumerate(
        zip(pictures, letters, view.titles, strict=True)
    ):
        box = (margin + column * (PICTURE_MM + PICTURE_GAP_MM), top, view.width, view.height)
        axes = page.add_panel(figure, box, letter, title)
        page.draw_image(axes, image)
        if view.mark is not None:
            axes.set_yticks([view.mark], labels=[""])
            axes.tick_params(left=True, right=True, color=page.VERMILION, width=1.0)
        if column == 0:
            axes.set_ylabel(view.axis, rotation=0, va="center")
    page.draw_scale_bar(figure, margin, bottom + 1.4, view.mm_per_um, view.width / 3)
    page.add_note(figure, bottom + 3.0, view.caption)


def _choose_section(stack: np.ndarray) -> int:
    """Return the section nearest the middle with at least half the usual contrast."""
    sparse_rows = stack[:, ::4, ::4].astype(np.float32)
    contrast = sparse_rows.std(axis=(1, 2))
    usable = np.flatnonzero(contrast >= 0.5 * np.median(contrast))
    return int(usable[np.argmin(np.abs(usable - len(stack) // 2))])


# Figure 2: synapse candidates ---------------------------------------------------------------

SECTIONS_SHOWN = 3
ARROW_MM = 3.8
ARROW_NOTE = "Arrows start at the candidate, from presynaptic to postsynaptic neurite (heuristic)"
DOT_NOTE = "; dots: a partner is not in sight"
LINE_NOTE = "Lines lead across the candidate from one partner to the other, without direction"
ARROW_HEAD = {"headwidth": 3.2, "headlength": 3.4, "headaxislength": 3.0}  # in widths of its line
PARTNER_RADIUS_NM = 120.0  # as far around a candidate its partners are looked for


@page.use_style
def figure2(
    aligned: np.ndarray,
    labels: np.ndarray,
    synapses: pd.DataFrame,
    voxel_size: tuple[float, float, float],
    source: str = "",
    directed: bool = True,
) -> Figure:
    """Show synapse candidates on the sections that have most of them.

    Parameters
    ----------
    aligned : ndarray of float, shape (Z, Y, X)
        Intensities in [0, 1].
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 is none.
    synapses : DataFrame
        Candidates: ``z, y, x`` in voxels, ``pre_id``, ``post_id`` and ``score``; ``z_first`` and
        ``z_last`` where it is known which sections they span.
    voxel_size : tuple of float
        (z, y, x) in nm.
    source : str
        Where the EM came from.
    directed : bool
        Whether it counts which partner is the presynaptic one.

    Returns
    -------
    Figure
        One section from each third of the stack, neurite boundaries thin, an arrow from the
        presynaptic to the postsynaptic neurite at each candidate, or a line across it, coloured
        by score; below, candidates per section and the distribution of scores with the colour key.

    Raises
    ------
    DataError
        If the stacks differ in shape.
    """
    check_shapes(aligned.shape, labels)
    depth = len(aligned)
    seen = _repeat_per_section(synapses, depth)
    counts = np.bincount(seen["section"], minlength=depth)
    shown = _choose_sections(counts)
    scores = synapses["score"].to_numpy(float)
    norm = _score_norm(scores)

    _, tall, wide = np.multiply(aligned.shape, voxel_size) / 1000
    mm_per_um = min(56.0 / wide, 95.0 / tall)
    width, height = wide * mm_per_um, tall * mm_per_um
    figure = page.create_page(height + 55.0)
    dotted = False
    for column, (z, letter) in enumerate(zip(shown, "abc", strict=False)):
        left = 2.0 + column * 59.0 + (56.0 - width) / 2
        title = f"Section z = {z} · {format_count(counts[z], 'candidate')}"
        axes = page.add_panel(figure, (left, 6.0, width, height), letter, title)
        _draw_boundaries(axes, to_greyscale(aligned[z]), labels[z], width)
        here = seen[seen["section"] == z]
        dotted |= _draw_candidates(axes, here, labels[z], voxel_size, norm, directed)
        if column == 0:
            page.draw_scale_bar(figure, left, height + 7.4, mm_per_um, width / 3)
    remark = ARROW_NOTE if directed else LINE_NOTE
    page.add_note(figure, height + 9.0, remark + DOT_NOTE * dotted)
    letters = iter("abcde"[len(shown) :])
    box = (14.0, height + 18.0, 88.0, 22.0)
    axes = page.add_panel(figure, box, next(letters), "Candidates per section", indent=12.0)
    _draw_counts(axes, counts, shown)
    box = (118.0, height + 18.0, 54.0, 22.0)
    axes = page.add_panel(figure, box, next(letters), "Scores of all candidates", indent=12.0)
    _draw_scores(axes, scores, norm)
    page.add_footer(figure, describe_extent(aligned.shape, voxel_size), source)
    return figure


def _repeat_per_section(synapses: pd.DataFrame, depth: int) -> pd.DataFrame:
    """Return a row, with its ``section``, for every section that a candidate spans."""
    middle = _to_pixels(synapses["z"], depth)
    first, last = (
        _to_pixels(synapses[end].fillna(synapses["z"]), depth) if end in synapses else middle
        for end in ("z_first", "z_last")
    )
    first, last = np.minimum(first, middle), np.maximum(last, middle)
    sections = [np.arange(low, high + 1) for low, high in zip(first, last, strict=True)]
    spread = synapses.loc[synapses.index.repeat(last - first + 1)]
    return spread.assign(section=np.concatenate([np.zeros(0, int), *sections]))


def _choose_sections(counts: np.ndarray) -> list[int]:
    """Return the section with most candidates in each part of the stack, its middle if equal."""
    shown = []
    for part in np.array_split(np.arange(len(counts)), min(SECTIONS_SHOWN, len(counts))):
        off_centre = np.abs(part - part.mean()) / len(counts)
        shown.append(int(part[np.argmax(counts[part] - off_centre)]))
    return shown


def _score_norm(scores: np.ndarray) -> Normalize:
    if len(scores) == 0:
        return Normalize(0, 1)
    low, high = float(scores.min()), float(scores.max())
    return Normalize(low, high) if high > low else Normalize(low - 0.5, high + 0.5)


def _draw_boundaries(axes: Axes, grey: np.ndarray, plane: np.ndarray, width_mm: float) -> None:
    """Draw a section with thin neurite boundaries, fine enough for the printed size."""
    rows, columns = plane.shape
    # Whole multiples: boundaries then fall between the pixels they separate.
    fold = max(1, round(width_mm / page.MM_PER_INCH * page.SCREEN_DPI / columns))
    size = (columns * fold, rows * fold)
    shade = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))
    fine = plane.repeat(fold, axis=0).repeat(fold, axis=1)
    edge = find_boundaries(fine)
    image = np.repeat(shade[..., None], 3, axis=-1)
    image[edge] = (0.2 * image[edge] + 0.8 * 255 * np.array(to_rgb(page.SKY))).astype(np.uint8)
    page.draw_image(axes, image, (rows, columns))


def _draw_candidates(
    axes: Axes,
    candidates: pd.DataFrame,
    plane: np.ndarray,
    voxel_size: tuple[float, float, float],
    norm: Normalize,
    directed: bool,
) -> bool:
    """Draw an arrow, or a line, at each candidate; tell if one is a dot: no partner in sight."""
    if candidates.empty:
        return False
    # Strong ones last, so that they lie on top.
    candidates = candidates.sort_values("score", kind="stable")
    across, down = _partner_directions(candidates, plane, voxel_size).T
    known = np.isfinite(across)
    x, y, score = (candidates[name].to_numpy(float) for name in ("x", "y", "score"))
    key = {"cmap": "viridis", "norm": norm, "edgecolors": "white", "linewidths": 0.4}
    axes.scatter(x[~known], y[~known], 12, c=score[~known], zorder=3, **key)
    arrows = axes.quiver(
        x[known],
        y[known],
        across[known],
        -down[known],
        score[known],
        cmap="viridis",
        norm=norm,
        angles=np.degrees(np.arctan2(-down[known], across[known])),
        pivot="tail" if directed else "mid",  # tails together, polyadic synapses fan out
        units="inches",
        scale_units="inches",
        scale=page.MM_PER_INCH / ARROW_MM,
        width=0.6 / page.MM_PER_INCH,
        **(ARROW_HEAD if directed else dict.fromkeys(ARROW_HEAD, 0)),
        zorder=4,
    )
    arrows.set(edgecolor="white", linewidth=0.5)
    return not known.all()


def _partner_directions(
    candidates: pd.DataFrame, plane: np.ndarray, voxel_size: tuple[float, float, float]
) -> np.ndarray:
    """Return unit vectors (N, 2), along (x, y), from the pre- to the postsynaptic profile.

    Each points from the one's centre of mass to the other's, both within `PARTNER_RADIUS_NM` of the
    candidate in its section. NaN where either is not there.
    """
    nm = np.array(voxel_size[1:])
    reach_y, reach_x = np.clip(np.round(PARTNER_RADIUS_NM / nm), 2, 15).astype(int)
    dy, dx = np.mgrid[-reach_y : reach_y + 1, -reach_x : reach_x + 1]
    padded = np.pad(plane, ((reach_y, reach_y), (reach_x, reach_x)))
    rows = _to_pixels(candidates["y"], plane.shape[0])[:, None, None]
    columns = _to_pixels(candidates["x"], plane.shape[1])[:, None, None]
    window = padded[rows + dy + reach_y, columns + dx + reach_x]
    offsets = np.stack([dx * nm[1], dy * nm[0]], axis=-1)

    def centre(ids: pd.Series) -> np.ndarray:
        inside = window == ids.to_numpy()[:, None, None]
        with np.errstate(invalid="ignore"):
            return np.einsum("nyx,yxc->nc", inside, offsets) / inside.sum((1, 2))[:, None]

    vector = centre(candidates["post_id"]) - centre(candidates["pre_id"])
    with np.errstate(invalid="ignore"):
        return vector / np.linalg.norm(vector, axis=1, keepdims=True)


def _to_pixels(places: pd.Series, size: int) -> np.ndarray:
    """Round places along an axis to its ``size`` pixels."""
    return np.clip(np.rint(places.to_numpy(float)), 0, size - 1).astype(int)


def _draw_counts(axes: Axes, counts: np.ndarray, shown: Sequence[int]) -> None:
    axes.stairs(counts, section_edges(len(counts)), fill=True, color=page.LIGHT_GREY)
    top = max(counts.max() * 1.25, 1.0)
    axes.plot(shown, np.full(len(shown), 0.94 * top), "v", ms=3, color=page.VERMILION)
    axes.set(ylim=(0, top), ylabel="candidates")
    axes.yaxis.set_major_locator(integer_locator(4))
    set_section_axis(axes, len(counts))
    axes.spines[["top", "right"]].set_visible(False)


def _draw_scores(axes: Axes, scores: np.ndarray, norm: Normalize) -> None:
    """Draw a histogram of scores, and below it the colour key of the candidates."""
    axes.set(xlabel="score", ylabel="candidates", xlim=(norm.vmin, norm.vmax))
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_major_locator(integer_locator(4))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    key = axes.inset_axes((0, -0.09, 1, 0.07))
    key.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap="viridis")
    key.set(xticks=[], yticks=[])
    axes.tick_params(axis="x", length=0, pad=7.0)
    if len(scores) == 0:
        axes.set(yticks=[])
        page.draw_notice(axes, "no synapse candidates")
        return
    edges = np.linspace(norm.vmin, norm.vmax, 25)
    counts, _ = np.histogram(scores, edges)
    axes.stairs(counts, edges, fill=True, color=page.LIGHT_GREY)


# Figure 4: alignment ------------------------------------------------------------------------


@page.use_style
def figure4(
    shifts: np.ndarray,
    voxel_size: tuple[float, float, float],
    source: str = "",
    truth_shifts: np.ndarray | None = None,
    damaged: Sequence[int] = (),
    confidence: np.ndarray | None = None,
    trend: np.ndarray | None = None,
    matrices: np.ndarray | None = None,
) -> Figure:
    """Show how far each section was shifted, and turned.

    Parameters
    ----------
    shifts : ndarray of float, shape (Z, 2)
        Shift (dy, dx) applied to each section, in pixels.
    voxel_size : tuple of float
        (z, y, x) in nm.
    source : str
        Where the EM came from.
    truth_shifts : ndarray of float, shape (Z, 2), optional
        True shifts in pixels. What all sections have in common is taken from ``shifts``: moving
        the whole stack misaligns nothing.
    damaged : sequence of int
        Sections that could not be used.
    confidence : ndarray of float, shape (Z,), optional
        Of each section's shift, in [0, 1].
    trend : ndarray of float, shape (Z, 2), optional
        How the tissue leans by itself, in pixels: what the shifts leave as it is.
    matrices : ndarray of float, shape (Z, 2, 2), optional
        What turned and stretched each section, on (y, x).

    Returns
    -------
    Figure
        Panels a, b: dy and dx by section, in px and nm; c: the path of the sections in their
        plane; d, if known: confidence; e, if there are matrices: turns in degrees and, if there
        are any, stretches in percent.
    """
    shifts = np.asarray(shifts, float).reshape(-1, 2)
    known = [shifts]
    if truth_shifts is not None:
        truth_shifts = np.asarray(truth_shifts, float)
        known.append(truth_shifts + np.median(shifts - truth_shifts, axis=0))
    leans = trend is not None and np.any(trend)
    # One scale for all, so that they can be compared.
    shown = [*known, trend] if leans else known
    reach = max(0.6 * np.ptp(shown, axis=(0, 1)).max(), 0.5)
    figure = page.create_page(77.0 if confidence is None and matrices is None else 97.0)
    for row, name in enumerate(("dy", "dx")):
        box = (14.0, 8.0 + 32.0 * row, 80.0, 24.0)
        axes = page.add_panel(figure, box, "ab"[row], f"Shift {name}", indent=12.0)
        series = [shift[:, row] for shift in known]
        _draw_shift_component(axes, series, damaged)
        if leans:
            axes.plot(trend[:, row], color=page.GREEN, lw=1.2, label="trend kept")
        drawn = [shift[:, row] for shift in shown]
        middle = (np.max(drawn) + np.min(drawn)) / 2
        limits = np.array([middle - reach, middle + reach])
        axes.set(ylim=limits, ylabel="px")
        axes.yaxis.set_label_coords(-0.09, 0.5)
        in_nm = axes.twinx()
        in_nm.set(ylim=limits * voxel_size[1 + row], ylabel="nm")
        in_nm.yaxis.set_label_coords(1.09, 0.5)
        if row == 0:
            axes.legend(
                loc="lower right", bbox_to_anchor=(1, 1), ncols=4, columnspacing=1.2, borderpad=0.1
            )
    path = page.add_panel(
        figure, (121.0, 8.0, 44.0, 44.0), "c", "Path of the sections", indent=12.0
    )
    _draw_path(path, figure, shifts * voxel_size[1:], damaged)
    if confidence is not None:
        strip = page.add_panel(figure, (14.0, 75.0, 80.0, 10.0), "d", "Confidence", indent=12.0)
        strip.stairs(confidence, section_edges(len(shifts)), fill=True, color=page.LIGHT_GREY)
        strip.set(ylim=(0, 1.05), yticks=[0, 1])
        set_section_axis(strip, len(shifts))
    if matrices is not None:
        turns = page.add_panel(figure, (121.0, 70.0, 44.0, 15.0), "e", "Turn", indent=12.0)
        _draw_rotation(turns, np.asarray(matrices, float))
    pixel = format_dimensions(f"{nm:.4g}" for nm in voxel_size[:0:-1])
    text = f"{format_count(len(shifts), 'section')} · pixels of {pixel} nm (x, y)"
    page.add_footer(figure, text, source)
    return figure


def _draw_shift_component(axes: Axes, known: Sequence[np.ndarray], damaged: Sequence[int]) -> None:
    """Draw one component of the applied shifts and, if there are two series, of the true ones."""
    applied, *truth = known
    sections = np.arange(len(applied))
    axes.axhline(0, color=page.MUTED, lw=0.4)
    axes.plot(sections, applied, "-o", ms=1.6, color=page.BLUE, label="applied", zorder=3)
    for series in truth:
        axes.plot(sections, series, "o", ms=3.2, mfc="none", mec=page.ORANGE, mew=0.8, label="true")
    for z in damaged:
        label = "damaged section" if z == damaged[0] else None
        axes.axvspan(z - 0.5, z + 0.5, color=page.VERMILION, alpha=0.25, lw=0, label=label)
    set_section_axis(axes, len(applied))


def _draw_path(axes: Axes, figure: Figure, path_nm: np.ndarray, damaged: Sequence[int]) -> None:
    """Draw shifts (dy, dx) in nm as a path in the plane of the sections, coloured by section."""
    dy, dx = path_nm.T
    axes.plot(dx, dy, "-", lw=0.5, color=page.LIGHT_GREY, zorder=1)
    sections = Normalize(0, max(len(dx) - 1, 1))
    dots = axes.scatter(dx, dy, 7, np.arange(len(dx)), norm=sections, zorder=2, linewidths=0)
    marked = list(damaged)
    axes.plot(dx[marked], dy[marked], "o", ms=5, mfc="none", mec=page.VERMILION, mew=0.8, zorder=3)
    centre = (path_nm.max(axis=0) + path_nm.min(axis=0)) / 2
    reach = max(0.58 * np.ptp(path_nm, axis=0).max(), 1.0)
    axes.set(
        xlim=(centre[1] - reach, centre[1] + reach),
        ylim=(centre[0] + reach, centre[0] - reach),  # y grows downwards, as in the pictures
        xlabel="dx (nm)",
        ylabel="dy (nm)",
    )
    bar = figure.colorbar(dots, cax=axes.inset_axes((1.03, 0, 0.04, 1)))
    bar.set_label("section z")
    bar.ax.yaxis.set_major_locator(integer_locator(6))


def _draw_rotation(axes: Axes, matrices: np.ndarray) -> None:
    """Draw by what angle sections were turned and, if they were, by how much stretched."""
    (yy, yx), (xy, xx) = np.moveaxis(matrices, 0, 2)
    stretch = 100 * (np.sqrt(np.linalg.det(matrices)) - 1)
    axes.axhline(0, color=page.MUTED, lw=0.4)
    lines = axes.plot(np.degrees(np.arctan2(xy - yx, yy + xx)), "-o", ms=1.6, color=page.BLUE)
    # From y, which points down, to x.
    axes.set_ylabel("° counter-\nclockwise")
    if np.abs(stretch).max() > 0.01:
        beside = axes.twinx()
        lines += beside.plot(stretch, "-o", ms=1.6, color=page.ORANGE)
        beside.set_ylabel("% larger")
        axes.legend(lines, ("turn", "stretch"), loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    set_section_axis(axes, len(matrices))


# Writing ------------------------------------------------------------------------------------


@page.use_style
def write_figure(figure: Figure, stem: Path) -> None:
    """Write a figure as ``<stem>.pdf`` and ``<stem>.png``.

    Parameters
    ----------
    figure : Figure
        Of its printed size.
    stem : Path
        Target without its ending; folders are made. Each file appears whole or not at all, and
        bears no date, so that the same figure gives the same bytes.
    """
    formats = {
        "pdf": {"metadata": {"Title": stem.name, "CreationDate": None}},
        "png": {
            "metadata": {"Title": stem.name, "Software": None},
            "dpi": page.SCREEN_DPI,
            "pil_kwargs": {"compress_level": 3},
        },
    }
    with warnings.catch_warnings():
        # A source's name may be in a script the font lacks; a box in its place does no harm.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for kind, options in formats.items():
            with atomic_path(stem.with_name(f"{stem.name}.{kind}")) as temporary:
                figure.savefig(temporary, **options)
