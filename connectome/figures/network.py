"""Figure 3: the graph as a network and as a matrix, readable at twenty nodes and at thousands."""

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

MAX_NEURITES = 5000  # the strongest; more would be dust in print
MAX_CONNECTIONS = 20000
HIGHLIGHTED_CONNECTIONS = 300  # stand out of a crowd, so that directions can be followed
MAX_VECTOR_CONNECTIONS = 3000  # beyond, arrows become a picture: a page of vectors opens slowly
MAX_ALL_NAMED = 60
HUBS_NAMED = 15
MATRIX_SIZE = 24  # rows that can be named at 6 pt
NETWORK_MM = 104.0
LINE_MM = 2.3  # height of a line at 6 pt
NAME_GAP_MM = 0.4  # between a name and its dot, or another name
NAME_PAD = 0.08  # of the white around a name, in heights of its letters
SEPARATED_DOTS = 300  # the largest, which may hide others
DOT_GAP_MM = 2.0  # between the rims of two dots, where there is room: an arrow shows its head
ARROW_CURVATURE = 0.16  # of an arrow's length: opposite arrows bow apart
BLUNT_HEAD_MM = 0.01  # length of what is left of a head on a line without direction
DOT_LABEL = "neurite; its area: summed score"
WEIGHT_COLOURS = LinearSegmentedColormap.from_list("edges", ["#bcc5ce", "#14202b"])


@page.use_style
def figure3(graph: nx.Graph, source: str = "") -> Figure:
    """Show the graph of connections, and its strongest part as a matrix.

    Parameters
    ----------
    graph : networkx.DiGraph or networkx.Graph
        Edges run from the presynaptic to the postsynaptic neurite, or have no direction;
        ``weight`` is the summed score.
    source : str
        Where the EM came from.

    Returns
    -------
    Figure
        Panel a: neurites as dots, area by summed score, colour by the share that is output;
        connections as curved arrows, width and darkness by score; the strongest named. Panel b:
        scores among the strongest, presynaptic in rows, ordered by similarity of partners.
        Without direction a connection is one straight line, and all dots have one colour.
    """
    figure = page.create_page(119.0)
    network = page.add_panel(figure, (2.0, 6.0, NETWORK_MM, NETWORK_MM), "a", "Connections")
    network.set(xlim=(0, NETWORK_MM), ylim=(NETWORK_MM, 0))  # its coordinates are mm of paper
    network.set_axis_off()
    page.add_panel(figure, (109.0, 6.0, 0.0, 0.0), "b", "Scores among the strongest").set_axis_off()
    matrix = page.add_panel(figure, (123.0, 22.0, 52.0, 52.0))
    names = np.array([page.shorten(str(node), 8) for node in graph], dtype=object)
    if len(names) == 0:
        page.draw_notice(network, "no neurites in the graph")
        page.draw_notice(matrix, "no connections")
        matrix.set(xticks=[], yticks=[])
        page.add_footer(figure, "0 neurites · 0 connections", source)
        return figure
    directed = graph.is_directed()
    # Without direction the matrix is symmetric: it has every connection twice.
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
        text += f" · the {len(drawn):,} strongest neurites drawn"
    page.add_footer(figure, text, source)
    return figure


def _weight_norm(weights: np.ndarray) -> Normalize:
    """Scale scores to [0, 1]: logarithmic where they span more than a decade."""
    positive = weights[weights > 0]
    if len(positive) == 0:
        return Normalize(0, 1)
    # A few very weak ones would leave all others the same shade.
    low, high = float(np.percentile(positive, 5)), float(positive.max())
    if high <= 10 * low:
        return Normalize(0, high)
    return LogNorm(max(low, high / 1000), high, clip=True)


def _find_core(weights: sparse.csr_array, size: int) -> np.ndarray:
    """Return the neurites that are strongest among each other, the others peeled off in turns."""
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
    """Draw neurites and connections in a panel whose coordinates are mm."""
    out, into = weights.sum(axis=1), weights.sum(axis=0)
    strength = out + into
    connections = weights.tocoo() if directed else sparse.triu(weights)
    order = np.argsort(connections.data, kind="stable")  # strong ones on top
    pre, post = (ends[order] for ends in connections.coords)
    shown = np.flatnonzero(pre != post)[-MAX_CONNECTIONS:]
    pre, post, weight = pre[shown], post[shown], connections.data[order][shown]

    place, spacing = _scale_to_panel(layout_graph(pre, post, len(names)))
    radius = _dot_radii(strength, spacing)
    place = _separate_dots(place, radius)
    grade = np.asarray(norm(weight))
    # Where there are many they are fine and faint, and add up to a density instead of a blot.
    per_neurite = len(weight) / len(names)
    finest = np.clip(0.5 * spacing, 0.5, 2.0) * min(1.0, (8 / max(per_neurite, 1)) ** 0.5)
    alpha = np.clip(np.sqrt(600 / max(len(weight), 1)), 0.2, 1.0)
    strong = np.arange(len(weight)) >= len(weight) - HIGHLIGHTED_CONNECTIONS
    finest = np.where(strong, max(finest, 0.8), finest)
    alpha = np.where(strong, max(alpha, 0.85), alpha)
    width = (0.05 + 0.2 * grade) * finest
    arrows = _arrow_polygons(place[pre], place[post], radius[pre], radius[post], width, directed)
    crowded = len(weight) > MAX_VECTOR_CONNECTIONS
    shades = WEIGHT_COLOURS(grade, alpha=alpha)
    axes.add_collection(
        PolyCollection(arrows, facecolors=shades, edgecolors="none", rasterized=crowded),
        autolim=False,
    )
    sides = directed & (strength > 0)  # without direction rounding alone would tell dots apart
    output = np.divide(out, strength, out=np.full(len(out), 0.5), where=sides)
    rank = np.argsort(strength, kind="stable")  # strong ones on top
    axes.add_collection(_create_dots(axes, place[rank], radius[rank], output[rank], crowded))
    named = rank[::-1][: len(names) if len(names) <= MAX_ALL_NAMED else HUBS_NAMED]
    lines = np.empty((0, 2)) if crowded else arrows.reshape(-1, 2)
    _draw_names(axes, place[named], radius[named], names[named], lines)


def _create_dots(
    axes: Axes, place: np.ndarray, radius: np.ndarray, output: np.ndarray, rasterized: bool
) -> EllipseCollection:
    """Return one dot per neurite, its colour the share of its score that is output."""
    return EllipseCollection(
        2 * radius,
        2 * radius,
        np.zeros(len(radius)),
        units="xy",
        offsets=place,
        offset_transform=axes.transData,
        array=output,
        cmap="cividis",
        norm=Normalize(0, 1),
        edgecolors="white",
        linewidths=np.clip(radius * 0.4, 0.05, 0.4),
        rasterized=rasterized,
        zorder=2,
    )


def _dot_radii(strength: np.ndarray, spacing: float) -> np.ndarray:
    """Return radii in mm such that areas are as strengths, within what a page can show."""
    usual = max(float(np.median(strength)), 1e-12)
    radius = min(0.22 * spacing, 1.6) * np.sqrt(strength / usual)
    return np.clip(radius, min(max(0.1 * spacing, 0.15), 0.8), min(max(0.45 * spacing, 1.4), 2.8))


def _arrow_polygons(
    start: np.ndarray,
    end: np.ndarray,
    start_radius: np.ndarray,
    end_radius: np.ndarray,
    width: np.ndarray,
    directed: bool = True,
) -> np.ndarray:
    """Return curved arrows as polygons of shape (N, vertices, 2), from rim to rim.

    Each follows a quadratic Bézier curve that bows to one side of its direction, so that a
    connection and its reciprocal enclose a lens instead of hiding each other. What has no
    direction is straight and blunt. All in mm.
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


def _scale_to_panel(place: np.ndarray) -> tuple[np.ndarray, float]:
    """Scale a layout to the panel, in mm; return it and the usual distance between neighbours."""
    low, high = place.min(axis=0), place.max(axis=0)
    room = NETWORK_MM - 10.0
    scale = min(16.0, room / max((high - low).max(), 1e-9))
    place = (place - (low + high) / 2) * scale + NETWORK_MM / 2
    if len(place) < 2:
        return place, scale
    distance, _ = cKDTree(place).query(place, k=2)
    return place, float(np.median(distance[:, 1]))


def _separate_dots(place: np.ndarray, radius: np.ndarray, turns: int = 60) -> np.ndarray:
    """Push the largest dots off each other, so that none hides another or the arrow between.

    All in mm. Where there is no room for all, they end as far apart as there is.
    """
    place = place.copy()
    moved = np.argsort(-radius, kind="stable")[:SEPARATED_DOTS]
    spot, reach = place[moved], radius[moved]
    gap = DOT_GAP_MM * min(1.0, MAX_ALL_NAMED / len(place))
    one, other = np.triu_indices(len(moved), 1)
    wanted = reach[one] + reach[other] + gap
    for _ in range(turns):
        apart = spot[one] - spot[other]
        distance = np.maximum(np.linalg.norm(apart, axis=1), 1e-6)
        close = np.flatnonzero(distance < wanted - 0.05)
        if len(close) == 0:
            break
        push = (0.4 * (wanted[close] / distance[close] - 1))[:, None] * apart[close]
        np.add.at(spot, one[close], push)
        np.subtract.at(spot, other[close], push)
        spot = np.clip(spot, reach[:, None] + 1.0, NETWORK_MM - 1.0 - reach[:, None])
    place[moved] = spot
    return place


def _draw_names(
    axes: Axes, place: np.ndarray, radius: np.ndarray, names: np.ndarray, lines: np.ndarray
) -> None:
    """Write names beside dots, each where it hides least of other names, dots and lines.

    All in mm; ``lines`` are points (N, 2) along the arrows.
    """
    angles = np.radians([0, 180, 270, 90, 315, 225, 45, 135])
    sides = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    taken = np.concatenate([place - radius[:, None], place + radius[:, None]], axis=1)
    for spot, reach, name in zip(place, radius, names, strict=True):
        size = np.array([_name_width_mm(name), LINE_MM])
        centres = spot + sides * (reach + NAME_GAP_MM + size / 2)
        centres = np.clip(centres, size / 2, NETWORK_MM - size / 2)
        # Two names in a row without a gap would read as one number.
        room = size / 2 + [NAME_GAP_MM, 0]
        boxes = np.concatenate([centres - room, centres + room], axis=1)
        overlap = np.minimum(boxes[:, None, 2:], taken[:, 2:]) - np.maximum(
            boxes[:, None, :2], taken[:, :2]
        )
        crossed = np.all((lines > boxes[:, None, :2]) & (lines < boxes[:, None, 2:]), axis=2)
        covered = np.prod(np.clip(overlap, 0, None), axis=2).sum(axis=1)
        best = np.argmin(30 * covered + crossed.sum(axis=1))  # names and dots before lines
        taken = np.concatenate([taken, boxes[[best]]])
        axes.text(
            *centres[best],
            name,
            fontsize=page.SMALL_PT,
            ha="center",
            va="center_baseline",
            parse_math=False,
            zorder=3,
            bbox={"boxstyle": f"round,pad={NAME_PAD}", "fc": (1, 1, 1, 0.75), "ec": "none"},
        )


def _name_width_mm(name: str) -> float:
    """Return how wide a name is with the white around it, in mm."""
    pad = NAME_PAD * page.SMALL_PT / 72 * page.MM_PER_INCH
    return page.measure_text_mm(name, page.SMALL_PT) + 2 * pad


def _draw_matrix(
    axes: Axes,
    weights: sparse.csr_array,
    names: np.ndarray,
    chosen: np.ndarray,
    norm: Normalize,
) -> None:
    """Draw the scores among chosen neurites, those with similar partners side by side."""
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
    """Say what stands in rows and what in columns of a matrix."""
    axes.set_ylabel("presynaptic" if directed else "neurite")
    axes.set_xlabel("postsynaptic" if directed else "neurite")


def _draw_graph_keys(figure: Figure, norm: Normalize, directed: bool = True) -> None:
    """Explain shades, dots, and arrows or lines, under the matrix."""
    score = page.add_panel(figure, (123.0, 78.0, 52.0, 2.0))
    bar = figure.colorbar(ScalarMappable(norm, WEIGHT_COLOURS), cax=score, orientation="horizontal")
    bar.set_label("summed score of a connection")
    if isinstance(norm, LogNorm):
        # By default every digit has a tick, and their labels overlap.
        narrow = norm.vmax <= 100 * norm.vmin
        bar.ax.xaxis.set_major_locator(LogLocator(subs=(1, 3) if narrow else (1,)))
        bar.minorticks_off()
    bar.ax.xaxis.set_major_formatter("{x:g}")
    if directed:
        _draw_share_key(figure)
    else:
        dot = _add_key_row(figure, 97.0, DOT_LABEL)
        dot.plot(8.0, 2.0, "o", ms=6.0, color=page.MUTED)
    text = "pre- to postsynaptic (heuristic)" if directed else "connection, without direction"
    arrow = _add_key_row(figure, 104.0, text)
    ends, one = np.array([[[2.0, 2.0]], [[14.0, 2.0]]]), np.ones(1)
    shape = _arrow_polygons(*ends, one, one, 0.3 * one, directed)
    arrow.add_collection(PolyCollection(shape, facecolors=page.INK, edgecolors="none"))
    arrow.plot(*ends[:, 0].T, "o", ms=3.5, color=page.MUTED)


def _add_key_row(figure: Figure, top: float, text: str) -> Axes:
    """Add a line that explains a sign, to be drawn at its left, in mm."""
    line = page.add_panel(figure, (123.0, top, 52.0, 4.0))
    line.set(xlim=(0, 52), ylim=(4, 0))
    line.set_axis_off()
    line.text(17, 2, text, fontsize=page.SMALL_PT, va="center")
    return line


def _draw_share_key(figure: Figure) -> None:
    """Explain the colours of dots."""
    share = page.add_panel(figure, (131.0, 92.0, 36.0, 2.0))
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), "cividis"), cax=share, orientation="horizontal"
    )
    bar.set_ticks([0, 0.5, 1], labels=["receives only", "both", "sends only"])
    bar.set_label(DOT_LABEL)
