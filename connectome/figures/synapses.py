"""Synapse candidates: in place on three sections (Figure 2) and as a gallery (Figure 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from scipy import ndimage

from connectome.core.errors import DataError
from connectome.core.synapse_table import decode_ids
from connectome.core.volume import Volume
from connectome.figures.layout import page
from connectome.figures.layout.elements import (
    check_shapes,
    describe_extent,
    find_boundaries,
    format_count,
    hide_spines,
    integer_locator,
    section_edges,
    set_section_axis,
    to_greyscale,
)

# Figure 2: overlay --------------------------------------------------------------------------

SECTIONS_SHOWN = 3
ARROW_MM = 3.8
ARROW_NOTE = "Arrows: from presynaptic to postsynaptic neurite (heuristic direction)"
LINE_NOTE = "Lines connect the partners of a candidate (undirected)"
DOT_NOTE = "; dots: partner not visible in this section"
ARROW_HEAD = {"headwidth": 3.2, "headlength": 3.4, "headaxislength": 3.0}  # in line widths
PARTNER_RADIUS_NM = 120.0  # around a candidate in which its partners' centres are determined


@page.use_style
def draw_synapse_overlay(
    aligned: Volume, labels: np.ndarray, synapses: pd.DataFrame, directed: bool = True
) -> Figure:
    """Draw synapse candidates on the sections that have most of them.

    Parameters
    ----------
    aligned : Volume of float, shape (Z, Y, X)
        Aligned EM in [0, 1].
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 is background.
    synapses : DataFrame
        Candidates: ``z, y, x`` in voxels, ``pre_id``, ``post_id`` and ``score``; optionally
        ``z_first`` and ``z_last``, the sections that a candidate spans.
    directed : bool
        Whether the pre- and postsynaptic partner are distinguished.

    Returns
    -------
    Figure
        Above, one section from each third of the stack with neurite boundaries and, at each
        candidate, an arrow from the presynaptic to the postsynaptic neurite (a line if not
        ``directed``), coloured by score. Below, candidates per section and the distribution of
        scores with the colour scale.

    Raises
    ------
    DataError
        If the stacks differ in shape.
    """
    check_shapes(aligned.shape, labels)
    depth = len(labels)
    by_section = _repeat_per_section(synapses, depth)
    counts = np.bincount(by_section["section"], minlength=depth)
    shown = _choose_sections(counts)
    scores = synapses["score"].to_numpy(float)
    norm = _score_norm(scores)

    _, height_um, width_um = aligned.field_of_view_um
    mm_per_um = min(56.0 / width_um, 95.0 / height_um)
    width, height = width_um * mm_per_um, height_um * mm_per_um
    figure = page.create_page(height + 55.0)
    has_dots = False
    for column, (z, letter) in enumerate(zip(shown, "abc", strict=False)):
        left = 2.0 + column * 59.0 + (56.0 - width) / 2
        title = f"Section z = {z} · {format_count(counts[z], 'candidate')}"
        axes = page.add_panel(figure, (left, 6.0, width, height), letter, title)
        _draw_boundaries(axes, to_greyscale(aligned.data[z]), labels[z], width)
        has_dots |= _draw_candidates(
            axes,
            by_section[by_section["section"] == z],
            labels[z],
            voxel_size=aligned.voxel_size,
            norm=norm,
            directed=directed,
        )
        if column == 0:
            page.draw_scale_bar(figure, left, height + 7.4, mm_per_um=mm_per_um, max_mm=width / 3)
    note = ARROW_NOTE if directed else LINE_NOTE
    page.add_note(figure, height + 9.0, note + DOT_NOTE * has_dots)
    letters = iter("abcde"[len(shown) :])
    box = (14.0, height + 18.0, 88.0, 22.0)
    axes = page.add_panel(figure, box, next(letters), "Candidates per section", indent=12.0)
    _draw_counts(axes, counts, shown)
    box = (118.0, height + 18.0, 54.0, 22.0)
    axes = page.add_panel(figure, box, next(letters), "Distribution of scores", indent=12.0)
    _draw_scores(axes, scores, norm)
    page.add_footer(figure, describe_extent(aligned.shape, aligned.voxel_size), aligned.source)
    return figure


def _repeat_per_section(synapses: pd.DataFrame, depth: int) -> pd.DataFrame:
    """Return one row, with its ``section``, for every section that a candidate spans."""
    middle = _to_pixels(synapses["z"], depth)
    first, last = (
        _to_pixels(synapses[end].fillna(synapses["z"]), depth) if end in synapses else middle
        for end in ("z_first", "z_last")
    )
    first, last = np.minimum(first, middle), np.maximum(last, middle)
    sections = [np.arange(low, high + 1) for low, high in zip(first, last, strict=True)]
    repeated = synapses.loc[synapses.index.repeat(last - first + 1)]
    return repeated.assign(section=np.concatenate([np.zeros(0, int), *sections]))


def _choose_sections(counts: np.ndarray) -> list[int]:
    """Return the section with most candidates in each third; the most central one of equals."""
    shown = []
    for part in np.array_split(np.arange(len(counts)), min(SECTIONS_SHOWN, len(counts))):
        off_centre = np.abs(part - part.mean()) / len(counts)
        shown.append(int(part[np.argmax(counts[part] - off_centre)]))
    return shown


def _score_norm(scores: np.ndarray) -> Normalize:
    """Return the colour scale of scores, never of zero length."""
    if len(scores) == 0:
        return Normalize(0, 1)
    low, high = float(scores.min()), float(scores.max())
    return Normalize(low, high) if high > low else Normalize(low - 0.5, high + 0.5)


def _draw_boundaries(axes: Axes, grey: np.ndarray, ids: np.ndarray, width_mm: float) -> None:
    """Draw a section with neurite boundaries one printed pixel wide."""
    rows, columns = ids.shape
    # An integer factor puts boundaries exactly between the pixels that they separate.
    factor = max(1, round(width_mm / page.MM_PER_INCH * page.SCREEN_DPI / columns))
    size = (columns * factor, rows * factor)
    enlarged = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))
    boundary = find_boundaries(ids.repeat(factor, axis=0).repeat(factor, axis=1))
    image = np.repeat(enlarged[..., None], 3, axis=-1)
    colour = 255 * np.array(to_rgb(page.SKY))
    image[boundary] = (0.2 * image[boundary] + 0.8 * colour).astype(np.uint8)
    page.draw_image(axes, image, (rows, columns))


def _draw_candidates(
    axes: Axes,
    candidates: pd.DataFrame,
    ids: np.ndarray,
    *,
    voxel_size: tuple[float, float, float],
    norm: Normalize,
    directed: bool,
) -> bool:
    """Draw an arrow or a line at each candidate, or a dot where a partner is not visible.

    Returns
    -------
    bool
        Whether there are dots.
    """
    if candidates.empty:
        return False
    # High scores last, so that they are drawn on top.
    candidates = candidates.sort_values("score", kind="stable")
    dx, dy = _partner_directions(candidates, ids, voxel_size).T
    visible = np.isfinite(dx)
    x, y, score = (candidates[name].to_numpy(float) for name in ("x", "y", "score"))
    style: dict[str, Any] = {"cmap": "viridis", "norm": norm, "edgecolors": "white"}
    axes.scatter(x[~visible], y[~visible], 12, c=score[~visible], zorder=3, linewidths=0.4, **style)
    arrows = axes.quiver(
        x[visible],
        y[visible],
        dx[visible],
        -dy[visible],
        score[visible],
        cmap="viridis",
        norm=norm,
        angles=np.degrees(np.arctan2(-dy[visible], dx[visible])),
        pivot="tail" if directed else "mid",  # arrows of a polyadic synapse share their tail
        units="inches",
        scale_units="inches",
        scale=page.MM_PER_INCH / ARROW_MM,
        width=0.6 / page.MM_PER_INCH,
        **(ARROW_HEAD if directed else dict.fromkeys(ARROW_HEAD, 0)),
        zorder=4,
    )
    arrows.set(edgecolor="white", linewidth=0.5)
    return not visible.all()


def _partner_directions(
    candidates: pd.DataFrame, ids: np.ndarray, voxel_size: tuple[float, float, float]
) -> np.ndarray:
    """Return unit vectors (x, y) from the pre- to the postsynaptic profile, shape (N, 2).

    Each connects the centres of mass of the two profiles within `PARTNER_RADIUS_NM` of the
    candidate in its section. NaN where either profile is not there.
    """
    pixel_nm = np.array(voxel_size[1:])
    radius_y, radius_x = np.clip(np.round(PARTNER_RADIUS_NM / pixel_nm), 2, 15).astype(int)
    dy, dx = np.mgrid[-radius_y : radius_y + 1, -radius_x : radius_x + 1]
    padded = np.pad(ids, ((radius_y, radius_y), (radius_x, radius_x)))
    rows = _to_pixels(candidates["y"], ids.shape[0])[:, None, None]
    columns = _to_pixels(candidates["x"], ids.shape[1])[:, None, None]
    windows = padded[rows + dy + radius_y, columns + dx + radius_x]
    offsets_nm = np.stack([dx * pixel_nm[1], dy * pixel_nm[0]], axis=-1)

    def centre_of_mass(partner: pd.Series) -> np.ndarray:
        inside = windows == partner.to_numpy()[:, None, None]
        with np.errstate(invalid="ignore"):
            return np.einsum("nyx,yxc->nc", inside, offsets_nm) / inside.sum((1, 2))[:, None]

    vector = centre_of_mass(candidates["post_id"]) - centre_of_mass(candidates["pre_id"])
    with np.errstate(invalid="ignore"):
        return vector / np.linalg.norm(vector, axis=1, keepdims=True)


def _to_pixels(coordinates: pd.Series, size: int) -> np.ndarray:
    """Round coordinates along an axis to its ``size`` pixels."""
    return np.clip(np.rint(coordinates.to_numpy(float)), 0, size - 1).astype(int)


def _draw_counts(axes: Axes, counts: np.ndarray, shown: Sequence[int]) -> None:
    """Draw the number of candidates per section, and mark the sections shown."""
    axes.stairs(counts, section_edges(len(counts)), fill=True, color=page.LIGHT_GREY)
    top = max(counts.max() * 1.25, 1.0)
    axes.plot(shown, np.full(len(shown), 0.94 * top), "v", ms=3, color=page.VERMILION)
    axes.set(ylim=(0, top), ylabel="candidates")
    axes.yaxis.set_major_locator(integer_locator(4))
    set_section_axis(axes, len(counts))
    hide_spines(axes)


def _draw_scores(axes: Axes, scores: np.ndarray, norm: Normalize) -> None:
    """Draw a histogram of scores and, below it, the colour scale of the candidates."""
    axes.set(xlabel="score", ylabel="candidates", xlim=(norm.vmin, norm.vmax))
    hide_spines(axes)
    axes.yaxis.set_major_locator(integer_locator(4))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    colour_scale = axes.inset_axes((0, -0.09, 1, 0.07))
    colour_scale.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap="viridis")
    colour_scale.set(xticks=[], yticks=[])
    axes.tick_params(axis="x", length=0, pad=7.0)
    if len(scores) == 0:
        axes.set(yticks=[])
        page.draw_notice(axes, "no synapse candidates")
        return
    edges = np.linspace(norm.vmin, norm.vmax, 25)
    counts, _ = np.histogram(scores, edges)
    axes.stairs(counts, edges, fill=True, color=page.LIGHT_GREY)


# Figure 7: gallery --------------------------------------------------------------------------

PER_ROW = 8
THUMBNAIL_NM = 640.0
THUMBNAIL_MM = 20.0
THUMBNAIL_PX = 160
OUTLINE_PX = 2
OUTSIDE_GREY = 236  # of what lies outside the stack
PRE_COLOUR, POST_COLOUR = page.ORANGE, page.SKY
UNDIRECTED_COLOURS = (POST_COLOUR, POST_COLOUR)


@page.use_style
def draw_synapse_gallery(
    aligned: Volume, labels: np.ndarray, synapses: pd.DataFrame, directed: bool = True
) -> Figure:
    """Draw thumbnails of the highest- and the lowest-scoring synapse candidates.

    Parameters
    ----------
    aligned : Volume of float, shape (Z, Y, X)
        Aligned EM in [0, 1].
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 is background.
    synapses : DataFrame
        Candidates: ``z, y, x`` in voxels, ``pre_id``, ``score``, and ``post_ids`` or ``post_id``.
    directed : bool
        Whether the pre- and postsynaptic partner are distinguished.

    Returns
    -------
    Figure
        Panel a: the highest-scoring candidates; b: the lowest-scoring. Each is centred in its
        section, shown once without and once with the outlines of its partners: presynaptic and
        postsynaptic in two colours, or all in one if not ``directed``. The area outside the stack
        is light grey.

    Raises
    ------
    DataError
        If the stacks differ in shape or a column is missing.
    """
    check_shapes(aligned.shape, labels)
    post_column = "post_ids" if "post_ids" in synapses else "post_id"
    for name in ("z", "y", "x", "pre_id", post_column, "score"):
        if name not in synapses:
            raise DataError(
                f"the synapse table has no column {name}", "the gallery cannot be drawn"
            )
    ranked = synapses.sort_values("score", ascending=False, kind="stable")
    best, worst = ranked[:PER_ROW], ranked[PER_ROW:][-PER_ROW:]
    groups = [("a", "Highest scores", best)] + [("b", "Lowest scores", worst)] * (len(worst) > 0)
    figure = page.create_page(11.0 + 51.0 * len(groups))
    for row, (letter, title, group) in enumerate(groups):
        top = 6.0 + 51.0 * row
        page.add_panel(figure, (4.0, top, 0, 0), letter, title).set_axis_off()
        for column, synapse in enumerate(group.itertuples()):
            left = 4.0 + column * (THUMBNAIL_MM + 1.4)
            post_ids = decode_ids(getattr(synapse, post_column))
            _draw_thumbnails(figure, (left, top), aligned, labels, synapse, post_ids, directed)
    bottom = figure.get_figheight() * page.MM_PER_INCH
    if len(ranked) == 0:
        axes = page.add_panel(figure, (4.0, 6.0, 170.0, 40.0))
        axes.set(xticks=[], yticks=[])
        page.draw_notice(axes, "no synapse candidates")
    else:
        mm_per_um = THUMBNAIL_MM / THUMBNAIL_NM * 1000
        page.draw_scale_bar(
            figure, 4.0, bottom - 8.0, mm_per_um=mm_per_um, max_mm=0.5 * THUMBNAIL_MM
        )
        _draw_outline_key(figure, bottom - 6.7, directed)
    count = format_count(len(ranked), "candidate")
    text = f"{count} · {describe_extent(aligned.shape, aligned.voxel_size)}"
    page.add_footer(figure, text, aligned.source)
    return figure


def _draw_thumbnails(
    figure: Figure,
    corner: tuple[float, float],
    aligned: Volume,
    labels: np.ndarray,
    synapse: Any,
    post_ids: Sequence[int],
    directed: bool,
) -> None:
    """Draw a candidate without and with outlines, its partners and score below."""
    left, top = corner
    colours = (PRE_COLOUR, POST_COLOUR) if directed else UNDIRECTED_COLOURS
    images, (mark_y, mark_x) = _render_thumbnails(aligned, labels, synapse, post_ids, colours)
    axes = page.add_panel(figure, (left, top, THUMBNAIL_MM, 2.025 * THUMBNAIL_MM))
    axes.imshow(images, interpolation="none", aspect="auto")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    lower = mark_y + len(images) - THUMBNAIL_PX
    axes.plot(mark_x, lower, "+", ms=4, mew=0.7, color=page.VERMILION)
    partners = _label_candidate(synapse.pre_id, post_ids, "→" if directed else "–")  # noqa: RUF001
    text = f"{partners}\n{synapse.score:.2f} · z {synapse.z:.0f}"
    page.write_text(figure, left, top + 46.0, text, size=page.SMALL_PT, linespacing=1.15)


def _draw_outline_key(figure: Figure, baseline: float, directed: bool) -> None:
    """Explain the colours of outlines, and the grey outside the stack."""
    keys = [(66.0, 3 * (OUTSIDE_GREY / 255,), "outside the stack")]
    if directed:
        keys += [
            (100.0, to_rgb(PRE_COLOUR), "presynaptic (heuristic)"),
            (138.0, to_rgb(POST_COLOUR), "postsynaptic"),
        ]
    else:
        keys += [(100.0, to_rgb(UNDIRECTED_COLOURS[0]), "partners (undirected)")]
    for left, colour, text in keys:
        axes = page.add_panel(figure, (left, baseline - 1.5, 4.0, 1.2))
        axes.set(xticks=[], yticks=[], facecolor=colour)
        axes.spines[:].set_visible(False)
        page.write_text(figure, left + 5.2, baseline, text, size=page.SMALL_PT, color=page.MUTED)


def _label_candidate(pre_id: int, post_ids: Sequence[int], sign: str) -> str:
    """Return a label with as many partner ids, each unabridged, as fit under a thumbnail."""
    shapes = [(n_shown, 20) for n_shown in range(len(post_ids), 0, -1)]
    shapes += [(1, max_length) for max_length in (8, 7, 6, 5, 4)]
    labels = [_format_partners(pre_id, post_ids, sign, *shape) for shape in shapes]
    max_mm = THUMBNAIL_MM - 0.2
    fitting = (label for label in labels if page.measure_text_mm(label, page.SMALL_PT) <= max_mm)
    return next(fitting, labels[-1])


def _format_partners(
    pre_id: int, post_ids: Sequence[int], sign: str, n_shown: int, max_length: int
) -> str:
    """Format ``pre → post; post +1``, ids of more than ``max_length`` digits abridged."""
    pre, *shown = (page.shorten(str(each), max_length) for each in (pre_id, *post_ids[:n_shown]))
    more = f" +{len(post_ids) - n_shown}" if n_shown < len(post_ids) else ""
    return f"{pre} {sign} {'; '.join(shown)}{more}"


def _render_thumbnails(
    aligned: Volume,
    labels: np.ndarray,
    synapse: Any,
    post_ids: Sequence[int],
    colours: tuple[str, str],
) -> tuple[np.ndarray, np.ndarray]:
    """Render the surroundings of a candidate without and, below, with its partners' outlines.

    Returns
    -------
    image : ndarray of uint8, shape (2 N + gap, N, 3)
    mark : ndarray of float, shape (2,)
        Position (y, x) of the candidate in the upper half, in pixels.
    """
    centre, shape = (synapse.y, synapse.x), aligned.shape[1:]
    z = int(np.clip(round(synapse.z), 0, len(labels) - 1))
    windows = [_window_pixels(*axis) for axis in zip(centre, aligned.voxel_size[1:], strict=True)]
    mark = [(c - w[0] + 0.5) / len(w) for c, w in zip(centre, windows, strict=True)]
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    clipped = np.ix_(*(w.clip(0, n - 1) for w, n in zip(windows, shape, strict=True)))
    rows, columns = ((w >= 0) & (w < n) for w, n in zip(windows, shape, strict=True))
    inside = Image.fromarray(np.logical_and.outer(rows, columns))
    outside = ~np.asarray(inside.resize(size, Image.Resampling.NEAREST))
    em = Image.fromarray(to_greyscale(aligned.data[z][clipped]))
    grey = np.asarray(em.resize(size, Image.Resampling.BICUBIC))
    plain, outlined = (np.repeat(grey[..., None], 3, axis=-1) for _ in range(2))
    for ids, colour in zip(([synapse.pre_id], post_ids), colours, strict=True):
        profile = Image.fromarray((255 * np.isin(labels[z][clipped], ids)).astype(np.uint8))
        smooth = np.asarray(profile.resize(size, Image.Resampling.BICUBIC)) > 127
        # Outlines run inside the profiles, so that both are visible where two profiles touch.
        interior = ndimage.binary_erosion(smooth, iterations=OUTLINE_PX, border_value=1)
        outlined[smooth & ~interior] = 255 * np.array(to_rgb(colour))
    for image in (plain, outlined):
        image[outside] = OUTSIDE_GREY
    gap = np.full((THUMBNAIL_PX // 40, THUMBNAIL_PX, 3), 255, np.uint8)
    return np.concatenate([plain, gap, outlined]), np.array(mark) * THUMBNAIL_PX


def _window_pixels(centre: float, pixel_nm: float) -> np.ndarray:
    """Return the pixels around a coordinate along one axis; some may lie outside the image."""
    n_pixels = max(4, round(THUMBNAIL_NM / pixel_nm))
    return np.arange(n_pixels) + round(centre) - n_pixels // 2
