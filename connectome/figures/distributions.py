"""Distributions of a graph (Figure 8), and two graphs compared with each other and by chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from networkx.algorithms.triads import TRIAD_NAMES

from connectome.core.errors import DataError
from connectome.figures.layout import page
from connectome.figures.layout.elements import format_count, hide_spines, integer_locator
from connectome.graph.topology import Topology

# Figure 8: distributions of one run ---------------------------------------------------------

LIMITS_NM = ("100", "200", "400")  # distances at which synapses are evaluated
MAX_BARS = 40  # beyond, synapses per connection are binned


@page.use_style
def draw_distributions(
    nodes: pd.DataFrame,
    edges: pd.DataFrame,
    synapses: pd.DataFrame,
    evaluation: Mapping[str, Any],
    directed: bool = True,
    source: str = "",
) -> Figure:
    """Draw the distributions of degrees, synapses per connection and scores, and the evaluation.

    Parameters
    ----------
    nodes : DataFrame
        ``n_pre`` and ``n_post``, the number of partners of each neurite.
    edges : DataFrame
        ``n_synapses`` of each connection.
    synapses : DataFrame
        ``score`` of each candidate.
    evaluation : mapping
        As in ``tables/evaluation.json``; empty without ground truth.
    directed : bool
        Whether inputs and outputs are distinguished.
    source : str
        Source of the EM.

    Returns
    -------
    Figure
        Panel a: complementary cumulative distribution of degrees; b: synapses per connection; c:
        scores of the candidates; d: evaluation against ground truth.

    Raises
    ------
    DataError
        If a column is missing.
    """
    for table, name in ((nodes, "n_pre"), (nodes, "n_post"), (edges, "n_synapses")):
        if name not in table:
            raise DataError(f"there is no column {name}", "degrees cannot be drawn")
    if "score" not in synapses:
        raise DataError("the synapse table has no column score", "scores cannot be drawn")
    figure = page.create_page(54.0)
    degrees = page.add_panel(figure, (14.0, 8.0, 32.0, 32.0), "a", "Partners per neurite", 12.0)
    counts = page.add_panel(figure, (59.0, 8.0, 26.0, 32.0), "b", "Synapses per connection", 11.0)
    scores = page.add_panel(figure, (98.0, 8.0, 24.0, 32.0), "c", "Candidate scores", 10.0)
    quality = page.add_panel(figure, (146.0, 8.0, 22.0, 32.0), "d", "Evaluation", 20.0)
    _draw_degrees(degrees, nodes, directed)
    _draw_synapse_counts(counts, edges["n_synapses"].to_numpy(float))
    _draw_scores(scores, synapses["score"].to_numpy(float))
    _draw_evaluation(quality, evaluation, directed)
    text = f"{format_count(len(nodes), 'neurite')} · {format_count(len(edges), 'connection')}"
    page.add_footer(figure, f"{text} · {format_count(len(synapses), 'candidate')}", source)
    return figure


def _draw_degrees(axes: Axes, nodes: pd.DataFrame, directed: bool) -> None:
    """Draw the complementary cumulative distribution of degrees on logarithmic axes."""
    hide_spines(axes)
    if len(nodes) == 0 or nodes[["n_pre", "n_post"]].to_numpy().max() == 0:
        axes.set(xticks=[], yticks=[])
        page.draw_notice(axes, "no connections")
        return
    series = [("n_pre", "inputs", page.BLUE, "o"), ("n_post", "outputs", page.VERMILION, "s")]
    if not directed:
        series = [("n_pre", "partners", page.BLUE, "o")]
    for name, label, colour, marker in series:
        values, fraction = _survival(nodes[name].to_numpy(int))
        axes.plot(values, fraction, marker=marker, ms=2.2, lw=0.7, color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="partners, k", ylabel="fraction with ≥ k")
    axes.margins(0.08)
    _set_log_ticks(axes)
    max_degree = int(nodes[["n_pre", "n_post"]].to_numpy().max())
    if max_degree < 8:  # ticks at 1, 2 and 5 alone would leave most of a short axis unlabelled
        axes.set_xticks(range(1, max_degree + 1))
    axes.legend(loc="lower left", borderpad=0.1, handlelength=1.2)


def _set_log_ticks(axes: Axes) -> None:
    """Place ticks at 1, 2, 5, 10, …, or at powers of ten on axes of two decades and more."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axis.set_major_formatter("{x:g}")
    axes.minorticks_off()


def _survival(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct positive values and the fraction of all values that reach each."""
    positive, first = np.unique(np.sort(values[values > 0]), return_index=True)
    return positive, (np.count_nonzero(values > 0) - first) / max(len(values), 1)


def _draw_synapse_counts(axes: Axes, synapses: np.ndarray) -> None:
    """Draw a histogram of synapses per connection."""
    hide_spines(axes)
    axes.set(xlabel="synapses", ylabel="connections")
    if len(synapses) == 0:
        axes.set(xticks=[], yticks=[])
        page.draw_notice(axes, "no connections")
        return
    counts = np.bincount(synapses.astype(int))
    if len(counts) > MAX_BARS:
        edges = np.linspace(0.5, synapses.max() + 0.5, MAX_BARS)
        axes.hist(synapses, edges, color=page.LIGHT_GREY)
    else:
        axes.bar(np.arange(1, len(counts)), counts[1:], 0.8, color=page.LIGHT_GREY)
    axes.set_xlim(0.3, max(len(counts), 4) - 0.3)
    axes.xaxis.set_major_locator(integer_locator(5))
    axes.yaxis.set_major_locator(integer_locator(4))


def _draw_scores(axes: Axes, scores: np.ndarray) -> None:
    """Draw a histogram of candidate scores."""
    hide_spines(axes)
    axes.set(xlabel="score", ylabel="candidates", xlim=(0, 1))
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    if len(scores) == 0:
        axes.set(yticks=[])
        page.draw_notice(axes, "no candidates")
        return
    counts, edges = np.histogram(scores.clip(0, 1), np.linspace(0, 1, 21))
    axes.stairs(counts, edges, fill=True, color=page.LIGHT_GREY)
    axes.yaxis.set_major_locator(integer_locator(4))


def _draw_evaluation(axes: Axes, evaluation: Mapping[str, Any], directed: bool) -> None:
    """Draw the scores whose best value is 1, or a notice without ground truth."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    rows = _list_scores(evaluation, directed)
    if not rows:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        page.draw_notice(axes, "no ground truth:\nnot evaluated")
        return
    names, values = zip(*rows, strict=True)
    positions = np.arange(len(rows))
    axes.hlines(positions, 0, values, color=page.LIGHT_GREY, lw=0.8)
    axes.plot(values, positions, "o", ms=3.6, color=page.BLUE)
    for position, value in zip(positions, values, strict=True):
        axes.text(1.1, position, f"{value:.2f}", fontsize=page.SMALL_PT, va="center_baseline")
    axes.set_yticks(positions, names)
    axes.set(xlim=(0, 1.04), ylim=(len(rows) - 0.5, -0.5), xticks=(0, 0.5, 1), xlabel="1 = perfect")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.tick_params(axis="y", length=0)


def _list_scores(evaluation: Mapping[str, Any], directed: bool) -> list[tuple[str, float]]:
    """Return names and values of the scores between 0 and 1."""
    rows = []
    if segmentation := evaluation.get("segmentation"):
        rows.append(("1 \N{MINUS SIGN} ARE", 1 - segmentation["are"]))
    synapses = evaluation.get("synapses", {})
    for limit in LIMITS_NM:
        if found := synapses.get(limit):
            rows.append((f"F1, {limit} nm", found["f1"]))
    found = synapses.get("200", {})
    names = ("precision", "recall", "partners", "direction")[: 4 if directed else 3]
    return rows + [(f"{name}, 200 nm", found[name]) for name in names if name in found]


# Two graphs ---------------------------------------------------------------------------------

COLOURS = (page.BLUE, page.VERMILION)
MARKERS = ("o", "s")
CONNECTED_TRIADS = TRIAD_NAMES[3:]
FRACTIONS = {
    "density": ("size", "density"),
    "reciprocity": ("reciprocity", "share of connections"),
    "clustering": ("clustering", "mean local"),
    "transitivity": ("clustering", "transitivity"),
}  # label: group and measure in the table of a `Topology`


@page.use_style
def draw_comparison(graphs: Mapping[str, Topology]) -> Figure:
    """Draw the topology of two graphs side by side.

    Parameters
    ----------
    graphs : mapping of str to Topology
        Two graphs by name.

    Returns
    -------
    Figure
        Panels a, b: complementary cumulative distributions of degrees and of synapses per
        connection; c: rich-club coefficient against degree, normalised by random graphs, the band
        ±1 standard deviation of these; d: density, reciprocity and clustering, with random graphs;
        e: triad significance profile, the z-scores of each graph scaled to unit length (Milo et
        al. 2004).
    """
    figure = page.create_page(124.0)
    _draw_legend(figure, graphs)
    degrees = page.add_panel(figure, (13.0, 16.0, 44.0, 36.0), "a", "Partners per neurite", 11.0)
    synapses = page.add_panel(
        figure, (73.0, 16.0, 44.0, 36.0), "b", "Synapses per connection", 11.0
    )
    club = page.add_panel(figure, (131.0, 16.0, 44.0, 36.0), "c", "Rich club", 9.0)
    fractions = page.add_panel(
        figure, (22.0, 71.0, 35.0, 36.0), "d", "Reciprocity and clustering", 20.0
    )
    triads = page.add_panel(
        figure, (73.0, 71.0, 102.0, 36.0), "e", "Triad significance profile", 11.0
    )
    for row, (topology, colour, marker) in enumerate(
        zip(graphs.values(), COLOURS, MARKERS, strict=True)
    ):
        dot = {"color": colour, "ms": 2.6 - 1.2 * row}  # both are visible where they coincide
        _draw_survival(degrees, topology.distributions["in_degree"], ls="-", **dot)
        _draw_survival(degrees, topology.distributions["out_degree"], ls=(0, (3, 1.2)), **dot)
        _draw_survival(synapses, topology.distributions["synapses_per_connection"], **dot)
        _draw_rich_club(club, topology, colour)
        _draw_fractions(fractions, topology, row, colour, marker)
        _draw_triads(triads, topology, row, colour, marker)
    degrees.set(xlabel="partners, k (solid: in, dashed: out)", ylabel="fraction with ≥ k")
    synapses.set(xlabel="synapses, n", ylabel="fraction with ≥ n")
    _set_log_ticks(degrees)
    _set_log_ticks(synapses)
    club.axhline(1, color=page.MUTED, lw=0.5)
    club.set(xlabel="degree threshold, k", ylabel="normalised coefficient")
    _format_fractions(fractions)
    _format_triads(figure, triads, any(graph.directed for graph in graphs.values()))
    text = (
        "Random graphs: grey marks in d, ±1 s.d. in c. They preserve all degrees and, except for"
        " reciprocity, the number of reciprocal pairs."
    )
    page.add_footer(figure, text, source="")
    return figure


def _draw_legend(figure: Figure, graphs: Mapping[str, Topology]) -> None:
    """Draw the colour, name and size of each graph above the panels."""
    axes = page.add_panel(figure, (2.0, 2.0, 174.0, 4.0))
    axes.set(xlim=(0, 174), ylim=(4, 0))
    axes.set_axis_off()
    for left, (name, topology), colour, marker in zip(
        (2.0, 90.0), graphs.items(), COLOURS, MARKERS, strict=True
    ):
        neurites = len(topology.distributions["in_degree"])
        connections = len(topology.distributions["synapses_per_connection"])
        axes.plot(left, 2, marker, ms=4, color=colour)
        sizes = f"{format_count(neurites, 'neurite')}, {format_count(connections, 'connection')}"
        text = f"{page.shorten(name, 30)}: {sizes}"
        axes.text(left + 2.5, 2, text, va="center", parse_math=False)


def _draw_survival(axes: Axes, values: np.ndarray, **style: Any) -> None:
    """Draw a complementary cumulative distribution on logarithmic axes."""
    axes.plot(*_survival(np.asarray(values)), marker="o", lw=0.7, **style)
    axes.set(xscale="log", yscale="log")
    hide_spines(axes)


def _draw_rich_club(axes: Axes, topology: Topology, colour: str) -> None:
    """Draw the normalised rich-club coefficient and its band of random graphs."""
    club = topology.comparable_rich_club
    low, high = 1 - club["sd"], 1 + club["sd"]
    axes.fill_between(club["degree"], low, high, color=colour, alpha=0.15, lw=0)
    axes.plot(club["degree"], club["normalised"], color=colour)
    hide_spines(axes)


def _draw_fractions(axes: Axes, topology: Topology, row: int, colour: str, marker: str) -> None:
    """Draw measures between 0 and 1, each connected with its mean over random graphs."""
    table = topology.table.set_index(["group", "measure"])
    for position, key in enumerate(FRACTIONS.values()):
        y = position + (row - 0.5) * 0.36
        value = table.loc[key, "value"]
        axes.plot(value, y, marker, ms=3.6, color=colour, zorder=3, clip_on=False)
        random = table.loc[key, "random"]
        if np.isfinite(random):
            axes.plot(random, y, "|", ms=5, mew=1, color=page.MUTED)
            axes.plot([random, value], [y, y], lw=0.5, color=page.MUTED)


def _format_fractions(axes: Axes) -> None:
    """Label the measures."""
    axes.set_yticks(range(len(FRACTIONS)), list(FRACTIONS))
    axes.set(ylim=(len(FRACTIONS) - 0.5, -0.5), xlabel="fraction")
    axes.set_xlim(left=0)
    axes.tick_params(axis="y", length=0)
    hide_spines(axes)


def _draw_triads(axes: Axes, topology: Topology, row: int, colour: str, marker: str) -> None:
    """Draw the significance profile: z-scores divided by the root of their summed squares."""
    triads = topology.table[topology.table["group"] == "triads"].set_index("measure")
    z = triads.loc[list(CONNECTED_TRIADS), "z"].to_numpy(float)
    length = np.sqrt(np.nansum(z**2))
    if length == 0:
        return
    x = np.arange(len(z)) + (row - 0.5) * 0.3
    axes.vlines(x, 0, z / length, color=colour, lw=1.6)
    axes.plot(x, z / length, marker, ms=3, color=colour)


def _format_triads(figure: Figure, axes: Axes, directed: bool) -> None:
    """Label the triads with their names and diagrams."""
    axes.axhline(0, color=page.MUTED, lw=0.5)
    half_range = max(0.1, *np.abs(axes.dataLim.intervaly)) if axes.collections else 1.0
    n = len(CONNECTED_TRIADS)
    axes.set(xlim=(-0.6, n - 0.4), ylim=(-1.1 * half_range, 1.1 * half_range))
    axes.set_ylabel("normalised z-score")
    axes.set_xticks(range(n), CONNECTED_TRIADS)
    axes.tick_params(axis="x", length=0, pad=26.0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    if not axes.collections:
        notice = "no random graphs" if directed else "not applicable to undirected graphs"
        page.draw_notice(axes, notice)
    diagrams = page.add_panel(figure, (73.0, 107.5, 102.0, 8.5))
    diagrams.set(xlim=(0, 102.0), ylim=(8.5, 0))  # mm
    diagrams.set_axis_off()
    for i, name in enumerate(CONNECTED_TRIADS):
        _draw_triad(diagrams, name, (i + 0.6) / (n + 0.2) * 102.0, 4.4)


def _draw_triad(axes: Axes, name: str, x: float, y: float) -> None:
    """Draw the diagram of a triad, about 6 mm wide: three dots and arrows."""
    triad = nx.triad_graph(name)
    corner = dict(zip("abc", [(x, y - 2.6), (x - 2.6, y + 2.0), (x + 2.6, y + 2.0)], strict=True))
    lines = []
    for start, end in triad.edges:
        p, q = np.array(corner[start]), np.array(corner[end])
        along = (q - p) / np.linalg.norm(q - p)
        across = np.array([-along[1], along[0]])
        tip = q - 0.8 * along
        lines += [[p + 0.7 * along, tip]]
        lines += [[tip - 0.9 * along + side * 0.55 * across, tip] for side in (1, -1)]
    axes.add_collection(LineCollection(lines, colors=page.INK, linewidths=0.6), autolim=False)
    axes.plot(*np.array(list(corner.values())).T, "o", ms=2.2, color=page.INK)
