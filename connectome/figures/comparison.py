"""The figure of a comparison: two wiring diagrams side by side, each beside its random graphs."""

from __future__ import annotations

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from networkx.algorithms.triads import TRIAD_NAMES

from connectome.figures.layout import page
from connectome.figures.layout.elements import format_count

COLOURS = (page.BLUE, page.VERMILION)
MARKERS = ("o", "s")
CONNECTED_TRIADS = TRIAD_NAMES[3:]
FRACTIONS = {
    "density": ("size", "density"),
    "reciprocity": ("reciprocity", "share of connections"),
    "clustering": ("clustering", "mean local"),
    "transitivity": ("clustering", "transitivity"),
}


@page.use_style
def draw_comparison(graphs: dict) -> Figure:
    """Draw two graphs side by side.

    Parameters
    ----------
    graphs : dict of str to Topology
        Two, as `connectome.graph.topology.measure_topology` returns them, by name.

    Returns
    -------
    Figure
        Panels a, b: share of neurites with at least so many partners, and of connections with at
        least so many synapses; c: rich club against degree, its band ±1 standard deviation of
        random graphs; d: density, reciprocity and clustering, random graphs beside; e: how far
        the connected triads are off chance, z-scores of each graph scaled to unit length.
    """
    figure = page.create_page(124.0)
    drawn = list(zip(graphs.items(), COLOURS, MARKERS, strict=True))
    _draw_legend(figure, graphs)
    partners = page.add_panel(figure, (13.0, 16.0, 44.0, 36.0), "a", "Partners of a neurite", 11.0)
    synapses = page.add_panel(
        figure, (73.0, 16.0, 44.0, 36.0), "b", "Synapses of a connection", 11.0
    )
    club = page.add_panel(figure, (131.0, 16.0, 44.0, 36.0), "c", "Rich club", 9.0)
    shares = page.add_panel(figure, (22.0, 71.0, 35.0, 36.0), "d", "Shares", 20.0)
    triads = page.add_panel(figure, (73.0, 71.0, 102.0, 36.0), "e", "Triads against chance", 11.0)
    for row, ((_, topology), colour, marker) in enumerate(drawn):
        size = 2.6 - 1.2 * row  # both are seen where they coincide
        _draw_survival(partners, topology, "in_degree", colour, size, "-")
        _draw_survival(partners, topology, "out_degree", colour, size, (0, (3, 1.2)))
        _draw_survival(synapses, topology, "synapses_per_connection", colour, size, "-")
        _draw_rich_club(club, topology, colour)
        _draw_fractions(shares, topology, row, colour, marker)
        _draw_triads(triads, topology, row, colour, marker)
    partners.set(xlabel="at least so many (solid: in, dashed: out)", ylabel="share of neurites")
    synapses.set(xlabel="at least so many", ylabel="share of connections")
    club.axhline(1, color=page.MUTED, lw=0.5)
    club.set(xlabel="members' partners, more than", ylabel="coefficient / random")
    _format_fractions(shares)
    _format_triads(figure, triads, any(found.directed for found in graphs.values()))
    page.add_footer(
        figure,
        "random graphs: grey marks in d, ±1 sd in c; all of the same degrees, and but for"
        " reciprocity of as many reciprocal pairs",
        "",
    )
    return figure


def _draw_legend(figure: Figure, graphs: dict) -> None:
    """Say above the panels which colour is which graph."""
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


def _draw_survival(axes: Axes, topology, name: str, colour, size, dashes) -> None:
    """Draw which share of values is at least so large, on logarithmic axes."""
    values = np.sort(topology.distributions[name])
    values, first = np.unique(values[values > 0], return_index=True)
    everyone = topology.distributions[name]
    share = (np.count_nonzero(everyone > 0) - first) / max(len(everyone), 1)
    axes.plot(values, share, marker="o", ms=size, lw=0.7, color=colour, ls=dashes)
    axes.set(xscale="log", yscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_rich_club(axes: Axes, topology, colour) -> None:
    club = topology.comparable_rich_club
    axes.fill_between(
        club["degree"], 1 - club["sd"], 1 + club["sd"], color=colour, alpha=0.15, lw=0
    )
    axes.plot(club["degree"], club["normalised"], color=colour)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_fractions(axes: Axes, topology, row: int, colour, marker) -> None:
    table = topology.table.set_index(["group", "measure"])
    for place, key in enumerate(FRACTIONS.values()):
        y = place + (row - 0.5) * 0.36
        value = table.loc[key, "value"]
        axes.plot(value, y, marker, ms=3.6, color=colour, zorder=3, clip_on=False)
        random = table.loc[key, "random"]
        if np.isfinite(random):
            axes.plot(random, y, "|", ms=5, mew=1, color=page.MUTED)
            axes.plot([random, value], [y, y], lw=0.5, color=page.MUTED)


def _format_fractions(axes: Axes) -> None:
    axes.set_yticks(range(len(FRACTIONS)), list(FRACTIONS))
    axes.set(ylim=(len(FRACTIONS) - 0.5, -0.5), xlabel="share")
    axes.set_xlim(left=0)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_triads(axes: Axes, topology, row: int, colour, marker) -> None:
    """Draw the significance profile: z-scores over the root of their summed squares."""
    triads = topology.table[topology.table["group"] == "triads"].set_index("measure")
    z = triads.loc[list(CONNECTED_TRIADS), "z"].to_numpy(float)
    length = np.sqrt(np.nansum(z**2))
    if length == 0:
        return
    x = np.arange(len(z)) + (row - 0.5) * 0.3
    axes.vlines(x, 0, z / length, color=colour, lw=1.6)
    axes.plot(x, z / length, marker, ms=3, color=colour)


def _format_triads(figure: Figure, axes: Axes, directed: bool) -> None:
    """Name the triads by their pictures."""
    axes.axhline(0, color=page.MUTED, lw=0.5)
    reach = max(0.1, *np.abs(axes.dataLim.intervaly)) if axes.collections else 1.0
    n = len(CONNECTED_TRIADS)
    axes.set(xlim=(-0.6, n - 0.4), ylim=(-1.1 * reach, 1.1 * reach))
    axes.set_ylabel("z-score, scaled")
    axes.set_xticks(range(n), CONNECTED_TRIADS)
    axes.tick_params(axis="x", length=0, pad=26.0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    if not axes.collections:
        none = "random graphs to compare with" if directed else "directions, and so no triads"
        page.draw_notice(axes, f"no {none}")
    pictures = page.add_panel(figure, (73.0, 107.5, 102.0, 8.5))
    pictures.set(xlim=(0, 102.0), ylim=(8.5, 0))  # mm
    pictures.set_axis_off()
    for i, name in enumerate(CONNECTED_TRIADS):
        _draw_triad(pictures, name, (i + 0.6) / (n + 0.2) * 102.0, 4.4)


def _draw_triad(axes: Axes, name: str, x: float, y: float) -> None:
    """Draw a triad about 6 mm wide: three dots, and arrows with heads."""
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
