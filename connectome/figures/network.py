"""Connectivity graph (Figure 3) as a network and as a matrix, for twenty to thousands of nodes."""

from __future__ import annotations

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import EllipseCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from scipy import sparse
from scipy.cluster import hierarchy
from scipy.spatial import cKDTree

from connectome.figures.layout import page
from connectome.figures.layout.elements import format_count
from connectome.graph.node_layout import layout_graph

MAX_NEURITES = 5000  # the strongest are drawn; more could not be resolved in print
MAX_CONNECTIONS = 20000
HIGHLIGHTED_CONNECTIONS = 300  # drawn opaque in dense graphs, so that they can be followed
MAX_VECTOR_CONNECTIONS = 3000  # beyond, arrows are rasterized: large vector pages open slowly
MAX_ALL_NAMED = 60
HUBS_NAMED = 15
MATRIX_SIZE = 24  # rows that can be labelled at 6 pt
NETWORK_MM = 104.0
LINE_MM = 2.3  # height of a line of text at 6 pt
NAME_GAP_MM = 0.4  # between a name and its dot, or another name
NAME_PAD = 0.08  # white margin around a name, in units of the font size
SEPARATED_DOTS = 300  # the largest dots, which could hide others, are pushed apart
DOT_GAP_MM = 2.0  # between the rims of two dots, so that arrow heads stay visible
ARROW_CURVATURE = 0.16  # in arrow lengths; separates reciprocal arrows
BLUNT_HEAD_MM = 0.01  # head length of an undirected connection
DOT_LABEL = "neurite (area: summed weight)"
WEIGHT_COLOURS = LinearSegmentedColormap.from_list("edges", ["#bcc5ce", "#14202b"])


@page.use_style
def draw_graph(graph: nx.Graph, source: str = "") -> Figure:
    """Draw the connectivity graph, and the connectivity matrix of its strongest neurites.

    Parameters
    ----------
    graph : networkx.DiGraph or networkx.Graph
        Directed edges run from the presynaptic to the postsynaptic neurite; ``weight`` is the sum
        of the scores of their synapses.
    source : str
        Source of the EM.

    Returns
    -------
    Figure
        Panel a: neurites as dots, their area proportional to summed weight, their colour the
        fraction that is output; connections as curved arrows, width and darkness by weight; the
        strongest neurites named. Panel b: weights among the strongest neurites, presynaptic in
        rows, ordered by similarity of partners (average linkage). In undirected graphs connections
        are straight lines and all dots have one colour.
    """
    figure = page.create_page(119.0)
    network = page.add_panel(figure, (2.0, 6.0, NETWORK_MM, NETWORK_MM), "a", "Connectivity graph")
    network.set(xlim=(0, NETWORK_MM), ylim=(NETWORK_MM, 0))  # coordinates are mm in print
    network.set_axis_off()
    page.add_panel(
        figure, (109.0, 6.0, 0.0, 0.0), "b", "Connectivity matrix, strongest neurites"
    ).set_axis_off()
    matrix = page.add_panel(figure, (123.0, 22.0, 52.0, 52.0))
    names = np.array([page.shorten(str(node), 8) for node in graph], dtype=object)
    if len(names) == 0:
        page.draw_notice(network, "no connected neurites")
        page.draw_notice(matrix, "no connections")
        matrix.set(xticks=[], yticks=[])
        page.add_footer(figure, "0 neurites · 0 connections", source)
        return figure
    directed = graph.is_directed()
    # The matrix of an undirected graph is symmetric and contains every connection twice.
    weights = sparse.csr_array(nx.to_scipy_sparse_array(graph, weight="weight", dtype=float))
    strength = weights.sum(axis=1) + weights.sum(axis=0)
    strongest = np.argsort(-strength, kind="stable")
    drawn = np.sort(strongest[:MAX_NEURITES])
    norm = _weight_norm(weights.data)
    _draw_network(network, weights[drawn][:, drawn], names[drawn], norm, directed)
    _draw_matrix(matrix, weights, names, _find_core(weights, MATRIX_SIZE), norm)
    _label_sides(matrix, directed)
    _draw_graph_keys(figure, norm, directed)
    connections = format_count(graph.number_of_edges(), "connection")
    text = f"{format_count(len(names), 'neurite')} · {connections}"
    if len(drawn) < len(names):
        text += f" · {len(drawn):,} strongest neurites shown"
    page.add_footer(figure, text, source)
    return figure


def _weight_norm(weights: np.ndarray) -> Normalize:
    """Return the colour scale of weights: logarithmic if they span more than a decade."""
    positive = weights[weights > 0]
    if len(positive) == 0:
        return Normalize(0, 1)
    # A few very weak connections would leave no contrast among the others.
    low, high = float(np.percentile(positive, 5)), float(positive.max())
    if high <= 10 * low:
        return Normalize(0, high)
    return LogNorm(max(low, high / 1000), high, clip=True)


def _find_core(weights: sparse.csr_array, size: int) -> np.ndarray:
    """Return the neurites most strongly connected with each other, by iterative removal."""
    kept = np.arange(weights.shape[0])
    while len(kept) > size:
        part = weights[kept][:, kept]
        strength = part.sum(axis=1) + part.sum(axis=0)
        strongest = np.argsort(-strength, kind="stable")
        kept = np.sort(kept[strongest[: max(size, int(0.8 * len(kept)))]])
    return kept


def _draw_network(
    axes: Axes, weights: sparse.csr_array, names: np.ndarray, norm: Normalize, directed: bool
) -> None:
    """Draw neurites and connections in a panel whose coordinates are in mm."""
    out, into = weights.sum(axis=1), weights.sum(axis=0)
    strength = out + into
    connections = weights.tocoo() if directed else sparse.triu(weights)
    order = np.argsort(connections.data, kind="stable")  # the strongest on top
    pre, post = (ends[order] for ends in connections.coords)
    shown = np.flatnonzero(pre != post)[-MAX_CONNECTIONS:]
    pre, post, weight = pre[shown], post[shown], connections.data[order][shown]

    centres, spacing = _scale_to_panel(layout_graph(pre, post, len(names)))
    radius = _dot_radii(strength, spacing)
    centres = _separate_dots(centres, radius)
    scaled_weight = np.asarray(norm(weight))
    width, alpha = _line_widths(scaled_weight, spacing, len(names))
    arrows = _arrow_polygons(
        centres[pre],
        centres[post],
        start_radius=radius[pre],
        end_radius=radius[post],
        width=width,
        directed=directed,
    )
    rasterized = len(weight) > MAX_VECTOR_CONNECTIONS
    colours = WEIGHT_COLOURS(scaled_weight, alpha=alpha)
    axes.add_collection(
        PolyCollection(arrows, facecolors=colours, edgecolors="none", rasterized=rasterized),
        autolim=False,
    )
    # In undirected graphs the fraction would differ from 0.5 by rounding only.
    has_sides = directed & (strength > 0)
    output_fraction = np.divide(out, strength, out=np.full(len(out), 0.5), where=has_sides)
    rank = np.argsort(strength, kind="stable")  # the strongest on top
    axes.add_collection(
        _create_dots(axes, centres[rank], radius[rank], output_fraction[rank], rasterized)
    )
    named = rank[::-1][: len(names) if len(names) <= MAX_ALL_NAMED else HUBS_NAMED]
    lines = np.empty((0, 2)) if rasterized else arrows.reshape(-1, 2)
    _draw_names(axes, centres[named], radius[named], names[named], lines)


def _line_widths(
    scaled_weight: np.ndarray, spacing: float, n_neurites: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return width in mm and opacity of connections sorted by weight.

    In dense graphs lines are thin and transparent, so that overlapping lines show their density,
    except for the strongest `HIGHLIGHTED_CONNECTIONS`.
    """
    n = len(scaled_weight)
    unit = np.clip(0.5 * spacing, 0.5, 2.0) * min(1.0, (8 / max(n / n_neurites, 1)) ** 0.5)
    opacity = np.clip(np.sqrt(600 / max(n, 1)), 0.2, 1.0)
    strong = np.arange(n) >= n - HIGHLIGHTED_CONNECTIONS
    units = np.where(strong, max(unit, 0.8), unit)
    alpha = np.where(strong, max(opacity, 0.85), opacity)
    return (0.05 + 0.2 * scaled_weight) * units, alpha


def _create_dots(
    axes: Axes,
    centres: np.ndarray,
    radius: np.ndarray,
    output_fraction: np.ndarray,
    rasterized: bool,
) -> EllipseCollection:
    """Return one dot per neurite, coloured by the fraction of its weight that is output."""
    return EllipseCollection(
        2 * radius,
        2 * radius,
        np.zeros(len(radius)),
        units="xy",
        offsets=centres,
        offset_transform=axes.transData,
        array=output_fraction,
        cmap="cividis",
        norm=Normalize(0, 1),
        edgecolors="white",
        linewidths=np.clip(radius * 0.4, 0.05, 0.4),
        rasterized=rasterized,
        zorder=2,
    )


def _dot_radii(strength: np.ndarray, spacing: float) -> np.ndarray:
    """Return radii in mm, areas proportional to strength within a printable range."""
    median = max(float(np.median(strength)), 1e-12)
    radius = min(0.22 * spacing, 1.6) * np.sqrt(strength / median)
    return np.clip(radius, min(max(0.1 * spacing, 0.15), 0.8), min(max(0.45 * spacing, 1.4), 2.8))


def _arrow_polygons(
    start: np.ndarray,
    end: np.ndarray,
    *,
    start_radius: np.ndarray,
    end_radius: np.ndarray,
    width: np.ndarray,
    directed: bool = True,
) -> np.ndarray:
    """Return arrows between the rims of dots as polygons, shape (N, vertices, 2), in mm.

    Each follows a quadratic Bézier curve that bends to one side of its direction, so that
    reciprocal connections do not overlap. Undirected connections are straight lines without heads.
    """
    chord = end - start
    length = np.maximum(np.linalg.norm(chord, axis=1), 1e-6)
    normal = np.stack([-chord[:, 1], chord[:, 0]], axis=1)
    control = (start + end) / 2 + (ARROW_CURVATURE if directed else 0.0) * normal
    head = np.minimum(2.6 * width + 0.4 if directed else BLUNT_HEAD_MM, 0.5 * length)
    first = np.clip(start_radius / length, 0, 0.45)
    tip = 1 - np.clip((end_radius + 0.1) / length, 0, 0.45)
    neck = np.maximum(tip - head / length, first)

    def curve(t: np.ndarray) -> np.ndarray:
        t = t[..., None]
        return (
            (1 - t) ** 2 * start[:, None] + 2 * t * (1 - t) * control[:, None] + t**2 * end[:, None]
        )

    t = first[:, None] + (neck - first)[:, None] * np.linspace(0, 1, 11)
    spine, point = curve(t), curve(tip[:, None])
    along = np.diff(np.concatenate([spine, point], axis=1), axis=1)
    along /= np.maximum(np.linalg.norm(along, axis=2, keepdims=True), 1e-9)
    across = np.stack([-along[..., 1], along[..., 0]], axis=-1)
    half = across * (width / 2)[:, None, None]
    barb = across[:, -1:] * (0.42 * head)[:, None, None]
    right = [spine + half, spine[:, -1:] + barb]
    left = [spine[:, -1:] - barb, (spine - half)[:, ::-1]]
    return np.concatenate([*right, point, *left], axis=1)


def _scale_to_panel(layout: np.ndarray) -> tuple[np.ndarray, float]:
    """Scale a layout to the panel; return it and the median nearest-neighbour distance, in mm."""
    low, high = layout.min(axis=0), layout.max(axis=0)
    scale = min(16.0, (NETWORK_MM - 10.0) / max((high - low).max(), 1e-9))
    centres = (layout - (low + high) / 2) * scale + NETWORK_MM / 2
    if len(centres) < 2:
        return centres, scale
    distance, _ = cKDTree(centres).query(centres, k=2)
    return centres, float(np.median(distance[:, 1]))


def _separate_dots(centres: np.ndarray, radius: np.ndarray, iterations: int = 60) -> np.ndarray:
    """Push the largest dots apart, so that none hides another or the arrow between them.

    All in mm. In crowded panels gaps may remain smaller than `DOT_GAP_MM`.
    """
    centres = centres.copy()
    largest = np.argsort(-radius, kind="stable")[:SEPARATED_DOTS]
    moved, moved_radius = centres[largest], radius[largest]
    gap = DOT_GAP_MM * min(1.0, MAX_ALL_NAMED / len(centres))
    i, j = np.triu_indices(len(largest), 1)
    min_distance = moved_radius[i] + moved_radius[j] + gap
    for _ in range(iterations):
        offset = moved[i] - moved[j]
        distance = np.maximum(np.linalg.norm(offset, axis=1), 1e-6)
        close = np.flatnonzero(distance < min_distance - 0.05)
        if len(close) == 0:
            break
        push = (0.4 * (min_distance[close] / distance[close] - 1))[:, None] * offset[close]
        np.add.at(moved, i[close], push)
        np.subtract.at(moved, j[close], push)
        margin = moved_radius[:, None]
        moved = np.clip(moved, margin + 1.0, NETWORK_MM - 1.0 - margin)
    centres[largest] = moved
    return centres


def _draw_names(
    axes: Axes, centres: np.ndarray, radius: np.ndarray, names: np.ndarray, lines: np.ndarray
) -> None:
    """Write names beside dots, each in the position that hides least names, dots and lines.

    All in mm; ``lines`` are points (N, 2) along the arrows. Greedy, in the order given.
    """
    angles = np.radians([0, 180, 270, 90, 315, 225, 45, 135])
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    occupied = np.concatenate([centres - radius[:, None], centres + radius[:, None]], axis=1)
    for dot, dot_radius, name in zip(centres, radius, names, strict=True):
        size = np.array([_name_width_mm(name), LINE_MM])
        positions = dot + directions * (dot_radius + NAME_GAP_MM + size / 2)
        positions = np.clip(positions, size / 2, NETWORK_MM - size / 2)
        # Without a gap two names in a row would read as one number.
        half_size = size / 2 + [NAME_GAP_MM, 0]
        boxes = np.concatenate([positions - half_size, positions + half_size], axis=1)
        overlap = np.minimum(boxes[:, None, 2:], occupied[:, 2:]) - np.maximum(
            boxes[:, None, :2], occupied[:, :2]
        )
        crossed = np.all((lines > boxes[:, None, :2]) & (lines < boxes[:, None, 2:]), axis=2)
        covered = np.prod(np.clip(overlap, 0, None), axis=2).sum(axis=1)
        best = np.argmin(30 * covered + crossed.sum(axis=1))
        occupied = np.concatenate([occupied, boxes[[best]]])
        axes.text(
            *positions[best],
            name,
            fontsize=page.SMALL_PT,
            ha="center",
            va="center_baseline",
            parse_math=False,
            zorder=3,
            bbox={"boxstyle": f"round,pad={NAME_PAD}", "fc": (1, 1, 1, 0.75), "ec": "none"},
        )


def _name_width_mm(name: str) -> float:
    """Return the printed width of a name including its white margin, in mm."""
    pad = NAME_PAD * page.SMALL_PT / 72 * page.MM_PER_INCH
    return page.measure_text_mm(name, page.SMALL_PT) + 2 * pad


def _draw_matrix(
    axes: Axes,
    weights: sparse.csr_array,
    names: np.ndarray,
    chosen: np.ndarray,
    norm: Normalize,
) -> None:
    """Draw the weights among chosen neurites, ordered by similarity of their partners."""
    part = weights[chosen][:, chosen].toarray()
    if len(chosen) > 2:
        profile = np.log1p(np.concatenate([part, part.T], axis=1))
        tree = hierarchy.linkage(profile, "average", optimal_ordering=True)
        order = hierarchy.leaves_list(tree)
        part, chosen = part[order][:, order], chosen[order]
    axes.imshow(
        np.ma.masked_less_equal(part, 0), cmap=WEIGHT_COLOURS, norm=norm, interpolation="none"
    )
    ticks = np.arange(len(chosen))
    lines = {"color": page.LIGHT_GREY, "linewidth": 0.15}
    axes.hlines(ticks[1:] - 0.5, -0.5, len(chosen) - 0.5, **lines)
    axes.vlines(ticks[1:] - 0.5, -0.5, len(chosen) - 0.5, **lines)
    axes.set_yticks(ticks, names[chosen], parse_math=False)
    axes.set_xticks(ticks, names[chosen], rotation=90, parse_math=False)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.yaxis.set_label_coords(-0.25, 0.5)
    axes.xaxis.set_label_coords(0.5, 1 + (max(map(_name_width_mm, names[chosen])) + 4.2) / 52.0)


def _label_sides(axes: Axes, directed: bool) -> None:
    """Label the rows and columns of the matrix."""
    axes.set_ylabel("presynaptic" if directed else "neurite")
    axes.set_xlabel("postsynaptic" if directed else "neurite")


def _draw_graph_keys(figure: Figure, norm: Normalize, directed: bool = True) -> None:
    """Draw the keys to line colours, dots, and arrows or lines under the matrix."""
    scale = page.add_panel(figure, (123.0, 78.0, 52.0, 2.0))
    bar = figure.colorbar(ScalarMappable(norm, WEIGHT_COLOURS), cax=scale, orientation="horizontal")
    bar.set_label("connection weight (summed score)")
    if isinstance(norm, LogNorm):
        # By default every digit has a tick and their labels overlap.
        narrow = norm.vmax <= 100 * norm.vmin
        bar.ax.xaxis.set_major_locator(LogLocator(subs=(1, 3) if narrow else (1,)))
        bar.minorticks_off()
    bar.ax.xaxis.set_major_formatter("{x:g}")
    if directed:
        _draw_output_key(figure)
    else:
        dot = _add_key_row(figure, 97.0, DOT_LABEL)
        dot.plot(8.0, 2.0, "o", ms=6.0, color=page.MUTED)
    text = "pre- to postsynaptic (heuristic)" if directed else "connection (undirected)"
    arrow = _add_key_row(figure, 104.0, text)
    start, end, radius = np.array([[2.0, 2.0]]), np.array([[14.0, 2.0]]), np.ones(1)
    shape = _arrow_polygons(
        start, end, start_radius=radius, end_radius=radius, width=0.3 * radius, directed=directed
    )
    arrow.add_collection(PolyCollection(shape, facecolors=page.INK, edgecolors="none"))
    arrow.plot([2.0, 14.0], [2.0, 2.0], "o", ms=3.5, color=page.MUTED)


def _add_key_row(figure: Figure, top: float, text: str) -> Axes:
    """Add a row with the text of a key; its symbol is drawn at its left, in mm."""
    row = page.add_panel(figure, (123.0, top, 52.0, 4.0))
    row.set(xlim=(0, 52), ylim=(4, 0))
    row.set_axis_off()
    row.text(17, 2, text, fontsize=page.SMALL_PT, va="center")
    return row


def _draw_output_key(figure: Figure) -> None:
    """Draw the key to the colours of dots."""
    scale = page.add_panel(figure, (131.0, 92.0, 36.0, 2.0))
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), "cividis"), cax=scale, orientation="horizontal"
    )
    bar.set_ticks([0, 0.5, 1], labels=["input only", "both", "output only"])
    bar.set_label(DOT_LABEL)
