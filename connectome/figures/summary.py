"""Figures that sum up: the best and the worst synapse candidates, and how all of it is spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from PIL import Image
from scipy import ndimage

from connectome.core.errors import DataError
from connectome.core.volume import Volume
from connectome.figures.layout import page
from connectome.figures.layout.elements import (
    check_shapes,
    describe_extent,
    format_count,
    integer_locator,
    to_greyscale,
)

# Figure 7: synapse gallery ------------------------------------------------------------------

PER_ROW = 8
THUMBNAIL_NM = 640.0
THUMBNAIL_MM = 20.0
THUMBNAIL_PX = 160
OUTLINE_PX = 2
OUTSIDE_GREY = 236  # grey of what lies beyond the image
PRE_COLOUR, POST_COLOUR = page.ORANGE, page.SKY
UNDIRECTED_COLOURS = (
    POST_COLOUR,
    POST_COLOUR,
)  # alike: which is the presynaptic one does not count


@page.use_style
def figure7(
    aligned: Volume, labels: np.ndarray, synapses: pd.DataFrame, directed: bool = True
) -> Figure:
    """Show the best and the worst synapse candidates as thumbnails.

    Parameters
    ----------
    aligned : Volume of float
        Intensities in [0, 1].
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 is none.
    synapses : DataFrame
        Candidates: ``z, y, x`` in voxels, ``pre_id``, ``score``, and ``post_ids`` or ``post_id``.
    directed : bool
        Whether it counts which partner is the presynaptic one.

    Returns
    -------
    Figure
        Panel a: the candidates of highest score, b: those of lowest, each in its section, once
        as it is and once with the outlines of the presynaptic and the postsynaptic profiles, or of
        all partners in one colour. It is in the middle; what lies beyond the image is pale.

    Raises
    ------
    DataError
        If the stacks differ in shape or a column is missing.
    """
    check_shapes(aligned.shape, labels)
    partners = "post_ids" if "post_ids" in synapses else "post_id"
    for name in ("z", "y", "x", "pre_id", partners, "score"):
        if name not in synapses:
            raise DataError(f"the synapses have no column {name}", "there would be no gallery")
    ranked = synapses.sort_values("score", ascending=False, kind="stable")
    best, worst = ranked[:PER_ROW], ranked[PER_ROW:][-PER_ROW:]
    groups = [("a", "Highest scores", best)] + [("b", "Lowest scores", worst)] * (len(worst) > 0)
    figure = page.create_page(11.0 + 51.0 * len(groups))
    for row, (letter, title, group) in enumerate(groups):
        top = 6.0 + 51.0 * row
        page.add_panel(figure, (4.0, top, 0, 0), letter, title).set_axis_off()
        for column, synapse in enumerate(group.itertuples()):
            left = 4.0 + column * (THUMBNAIL_MM + 1.4)
            posts = [int(p) for p in str(getattr(synapse, partners)).split(";")]
            colours = (PRE_COLOUR, POST_COLOUR) if directed else UNDIRECTED_COLOURS
            pair, mark = _render_thumbnails(aligned, labels, synapse, posts, colours)
            axes = page.add_panel(figure, (left, top, THUMBNAIL_MM, 2.025 * THUMBNAIL_MM))
            axes.imshow(pair, interpolation="none", aspect="auto")  # no finer than it is
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            below = mark[0] + len(pair) - THUMBNAIL_PX
            axes.plot(mark[1], below, "+", ms=4, mew=0.7, color=page.VERMILION)
            name = _label_candidate(synapse.pre_id, posts, "→" if directed else "–")  # noqa: RUF001
            text = f"{name}\n{synapse.score:.2f} · z {synapse.z:.0f}"
            page.write_text(figure, left, top + 46.0, text, size=page.SMALL_PT, linespacing=1.15)
    bottom = figure.get_figheight() * page.MM_PER_INCH
    if len(ranked) == 0:
        axes = page.add_panel(figure, (4.0, 6.0, 170.0, 40.0))
        axes.set(xticks=[], yticks=[])
        page.draw_notice(axes, "no synapse candidates")
    else:
        scale = THUMBNAIL_MM / THUMBNAIL_NM * 1000
        page.draw_scale_bar(figure, 4.0, bottom - 8.0, scale, 0.5 * THUMBNAIL_MM)
        _draw_outline_key(figure, bottom - 6.7, directed)
    count = format_count(len(ranked), "candidate")
    text = f"{count} · {describe_extent(aligned.shape, aligned.voxel_size)}"
    page.add_footer(figure, text, aligned.source)
    return figure


def _draw_outline_key(figure: Figure, baseline: float, directed: bool) -> None:
    """Say which colour is which side, and what has none."""
    sides = (
        (100.0, PRE_COLOUR, "presynaptic (heuristic)"),
        (138.0, POST_COLOUR, "postsynaptic"),
    )
    if not directed:
        sides = ((100.0, UNDIRECTED_COLOURS[0], "partners, without direction"),)
    keys = (*sides, (66.0, 3 * (OUTSIDE_GREY / 255,), "beyond the stack"))
    for left, colour, text in keys:
        axes = page.add_panel(figure, (left, baseline - 1.5, 4.0, 1.2))
        axes.set(xticks=[], yticks=[], facecolor=colour)
        axes.spines[:].set_visible(False)
        page.write_text(figure, left + 5.2, baseline, text, size=page.SMALL_PT, color=page.MUTED)


def _label_candidate(pre: int, posts: Sequence[int], sign: str) -> str:
    """Name a candidate by its neurites: as many, each whole, as there is room for."""
    texts = [_format_partners(pre, posts, sign, shown, 20) for shown in range(len(posts), 0, -1)]
    texts += [_format_partners(pre, posts, sign, 1, length) for length in (8, 7, 6, 5, 4)]
    room = THUMBNAIL_MM - 0.2
    fitting = (text for text in texts if page.measure_text_mm(text, page.SMALL_PT) <= room)
    return next(fitting, texts[-1])


def _format_partners(pre: int, posts: Sequence[int], sign: str, shown: int, length: int) -> str:
    pre, *named = (page.shorten(str(neurite), length) for neurite in (pre, *posts[:shown]))
    more = f" +{len(posts) - shown}" if shown < len(posts) else ""
    return f"{pre} {sign} {'; '.join(named)}{more}"


def _render_thumbnails(
    aligned: Volume,
    labels: np.ndarray,
    synapse,
    posts: Sequence[int],
    colours: tuple[str, str],
) -> tuple[np.ndarray, np.ndarray]:
    """Return a candidate's surroundings as they are and, below, with its partners; and its place.

    The picture is (2 N + gap, N, 3); the place (y, x) is in pixels of the upper half.
    """
    place, sides = (synapse.y, synapse.x), aligned.shape[1:]
    z = int(np.clip(round(synapse.z), 0, len(labels) - 1))
    windows = [_window_pixels(*along) for along in zip(place, aligned.voxel_size[1:], strict=True)]
    mark = [(p - w[0] + 0.5) / len(w) for p, w in zip(place, windows, strict=True)]
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    inside = np.ix_(*(w.clip(0, n - 1) for w, n in zip(windows, sides, strict=True)))
    there = [(w >= 0) & (w < n) for w, n in zip(windows, sides, strict=True)]
    there = np.logical_and.outer(*there)
    beyond = ~np.asarray(Image.fromarray(there).resize(size, Image.Resampling.NEAREST))
    shade = Image.fromarray(to_greyscale(aligned.data[z][inside])).resize(
        size, Image.Resampling.BICUBIC
    )
    above, below = (np.repeat(np.asarray(shade)[..., None], 3, axis=-1) for _ in range(2))
    for ids, colour in zip(([synapse.pre_id], posts), colours, strict=True):
        side = Image.fromarray((255 * np.isin(labels[z][inside], ids)).astype(np.uint8))
        smooth = np.asarray(side.resize(size, Image.Resampling.BICUBIC)) > 127
        # Each line runs inside its profile, so that both are seen where two profiles meet.
        inside_line = ndimage.binary_erosion(smooth, iterations=OUTLINE_PX, border_value=1)
        below[smooth & ~inside_line] = 255 * np.array(to_rgb(colour))
    for picture in (above, below):
        picture[beyond] = OUTSIDE_GREY
    between = np.full((THUMBNAIL_PX // 40, THUMBNAIL_PX, 3), 255, np.uint8)
    return np.concatenate([above, between, below]), np.array(mark) * THUMBNAIL_PX


def _window_pixels(place: float, nm: float) -> np.ndarray:
    """Return the pixels around a place; some may lie beyond the image."""
    shown = max(4, round(THUMBNAIL_NM / nm))
    return np.arange(shown) + round(place) - shown // 2


# Figure 8: how it is spread, and how good it is ---------------------------------------------

LIMITS_NM = ("100", "200", "400")


@page.use_style
def figure8(
    nodes: pd.DataFrame,
    edges: pd.DataFrame,
    synapses: pd.DataFrame,
    evaluation: dict,
    source: str = "",
    directed: bool = True,
) -> Figure:
    """Show how degrees, synapses per connection and scores are spread, and the scores of a run.

    Parameters
    ----------
    nodes : DataFrame
        ``n_pre`` and ``n_post``: partners of every neurite.
    edges : DataFrame
        ``n_synapses`` of every connection.
    synapses : DataFrame
        ``score`` of every candidate.
    evaluation : dict
        As in ``tables/evaluation.json``; empty where no truth is known.
    source : str
        Where the EM came from.
    directed : bool
        Whether inputs and outputs are two things.

    Returns
    -------
    Figure
        Panel a: share of neurites with at least so many partners; b: synapses per connection;
        c: scores of the candidates; d: how the draft compares with the truth.

    Raises
    ------
    DataError
        If a column is missing.
    """
    for table, name in ((nodes, "n_pre"), (nodes, "n_post"), (edges, "n_synapses")):
        if name not in table:
            raise DataError(f"there is no column {name}", "degrees cannot be drawn")
    if "score" not in synapses:
        raise DataError("the synapses have no column score", "scores cannot be drawn")
    figure = page.create_page(54.0)
    partners = page.add_panel(figure, (14.0, 8.0, 32.0, 32.0), "a", "Partners of a neurite", 12.0)
    strength = page.add_panel(
        figure, (59.0, 8.0, 26.0, 32.0), "b", "Synapses of a connection", 11.0
    )
    scores = page.add_panel(figure, (98.0, 8.0, 24.0, 32.0), "c", "Candidates", 10.0)
    quality = page.add_panel(figure, (146.0, 8.0, 22.0, 32.0), "d", "Against the truth", 20.0)
    _draw_degrees(partners, nodes, directed)
    _draw_synapse_counts(strength, edges["n_synapses"].to_numpy(float))
    _draw_scores(scores, synapses["score"].to_numpy(float))
    _draw_evaluation(quality, evaluation, directed)
    text = f"{format_count(len(nodes), 'neurite')} · {format_count(len(edges), 'connection')}"
    page.add_footer(figure, f"{text} · {format_count(len(synapses), 'candidate')}", source)
    return figure


def _hide_spines(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _draw_degrees(axes: Axes, nodes: pd.DataFrame, directed: bool) -> None:
    """Draw which share of neurites has at least so many partners, on logarithmic axes."""
    _hide_spines(axes)
    if len(nodes) == 0 or nodes[["n_pre", "n_post"]].to_numpy().max() == 0:
        axes.set(xticks=[], yticks=[])
        page.draw_notice(axes, "no connections")
        return
    kinds = (("n_pre", "inputs", page.BLUE, "o"), ("n_post", "outputs", page.VERMILION, "s"))
    if not directed:
        kinds = (("n_pre", "partners", page.BLUE, "o"),)
    for name, label, colour, marker in kinds:
        degrees = np.sort(nodes[name].to_numpy(int))
        values, first = np.unique(degrees[degrees > 0], return_index=True)
        share = (np.count_nonzero(degrees > 0) - first) / len(degrees)
        axes.plot(values, share, marker=marker, ms=2.2, lw=0.7, color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="at least so many", ylabel="share of neurites")
    axes.margins(0.08)
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axis.set_major_formatter("{x:g}")
    most = int(nodes[["n_pre", "n_post"]].to_numpy().max())
    if most < 8:  # 1, 2 and 5 alone would leave out much of so short an axis
        axes.set_xticks(range(1, most + 1))
    axes.minorticks_off()
    axes.legend(loc="lower left", borderpad=0.1, handlelength=1.2)


def _draw_synapse_counts(axes: Axes, synapses: np.ndarray) -> None:
    """Draw how many connections have how many synapses."""
    _hide_spines(axes)
    axes.set(xlabel="synapses", ylabel="connections")
    if len(synapses) == 0:
        axes.set(xticks=[], yticks=[])
        page.draw_notice(axes, "no connections")
        return
    counts = np.bincount(synapses.astype(int))
    if len(counts) > 40:
        axes.hist(synapses, np.linspace(0.5, synapses.max() + 0.5, 40), color=page.LIGHT_GREY)
    else:
        axes.bar(np.arange(1, len(counts)), counts[1:], 0.8, color=page.LIGHT_GREY)
    axes.set_xlim(0.3, max(len(counts), 4) - 0.3)
    axes.xaxis.set_major_locator(integer_locator(5))
    axes.yaxis.set_major_locator(integer_locator(4))


def _draw_scores(axes: Axes, scores: np.ndarray) -> None:
    """Draw how the scores of candidates are spread."""
    _hide_spines(axes)
    axes.set(xlabel="score", ylabel="candidates", xlim=(0, 1))
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    if len(scores) == 0:
        axes.set(yticks=[])
        page.draw_notice(axes, "no candidates")
        return
    counts, edges = np.histogram(scores.clip(0, 1), np.linspace(0, 1, 21))
    axes.stairs(counts, edges, fill=True, color=page.LIGHT_GREY)
    axes.yaxis.set_major_locator(integer_locator(4))


def _draw_evaluation(axes: Axes, evaluation: dict, directed: bool) -> None:
    """Draw the scores that have a best value of 1, or say that there is no truth."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    rows = _list_scores(evaluation, directed)
    if not rows:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        page.draw_notice(axes, "no truth is known:\nnothing is scored")
        return
    names, values = zip(*rows, strict=True)
    places = np.arange(len(rows))
    axes.hlines(places, 0, values, color=page.LIGHT_GREY, lw=0.8)
    axes.plot(values, places, "o", ms=3.6, color=page.BLUE)
    for place, value in zip(places, values, strict=True):
        axes.text(1.1, place, f"{value:.2f}", fontsize=page.SMALL_PT, va="center_baseline")
    axes.set_yticks(places, names)
    axes.set(xlim=(0, 1.04), ylim=(len(rows) - 0.5, -0.5), xticks=(0, 0.5, 1), xlabel="1 is best")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.tick_params(axis="y", length=0)


def _list_scores(evaluation: dict, directed: bool) -> list[tuple[str, float]]:
    """List what can be drawn from 0 to 1."""
    rows = []
    if neurites := evaluation.get("segmentation"):
        rows.append(("1 - ARE", 1 - neurites["are"]))
    synapses = evaluation.get("synapses", {})
    for limit in LIMITS_NM:
        if found := synapses.get(limit):
            rows.append((f"F1, {limit} nm", found["f1"]))
    found = synapses.get("200", {})
    told = ("precision", "recall", "partners", "direction")[: 4 if directed else 3]
    rows += [(f"{name}, 200 nm", found[name]) for name in told if name in found]
    return [(name.replace("-", "\N{MINUS SIGN}"), value) for name, value in rows]
