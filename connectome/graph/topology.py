"""Measure the topology of a graph: density, degrees, reciprocity, clustering, rich club, motifs.

The measures are those of the literature on *C. elegans*, so that values can be compared with those
of Watts & Strogatz (1998), Milo et al. (2002), Reigl et al. (2004), Varshney et al. (2011),
Towlson et al. (2013) and Witvliet et al. (2021).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import networkx as nx
import numpy as np
import pandas as pd
from networkx.algorithms.triads import TRIAD_NAMES, TRICODE_TO_NAME

from connectome.core.progress import Progress, ignore_progress
from connectome.graph.null_models import rewire

TRIADS = tuple(TRIAD_NAMES)
CONNECTED_TRIADS = tuple(name for name in TRIADS if name not in ("003", "012", "102"))
MIN_CLUB_MEMBERS = 10  # in a smaller rich club a single connection decides
MIN_CLUB_SD = 2.0  # standard deviations of random graphs by which a rich club exceeds their mean
COLUMNS = ["group", "measure", "value", "random", "z"]
DIRECTED_GROUPS = ("reciprocity", "triads")  # undefined for undirected graphs


@dataclass(frozen=True, eq=False)
class Topology:
    """Measures of a graph and of random graphs with the same degrees.

    Parameters
    ----------
    table : DataFrame
        ``group``, ``measure``, ``value``; ``random``, the mean over random graphs; and ``z``, the
        z-score of the value against them. NaN where there is none.
    distributions : dict of str to ndarray
        ``in_degree`` and ``out_degree`` (numbers of partners), ``in_synapses`` and
        ``out_synapses`` of every neurite, and ``synapses_per_connection``.
    rich_club : DataFrame
        By ``degree`` k, for neurites with more than k partners: ``members``, ``coefficient``,
        ``random``, ``normalised`` (their ratio) and ``sd`` (its standard deviation over random
        graphs).
    rich_club_members : tuple of str
        Members of the rich club with the highest normalised coefficient; empty if it is not
        clearly above random graphs.
    directed : bool
        Whether connections are directed.
    """

    table: pd.DataFrame
    distributions: dict[str, np.ndarray]
    rich_club: pd.DataFrame
    rich_club_members: tuple[str, ...]
    directed: bool = True

    @property
    def comparable_rich_club(self) -> pd.DataFrame:
        """Rows of ``rich_club`` with at least `MIN_CLUB_MEMBERS` and a normalised coefficient."""
        return _select_comparable(self.rich_club)


@dataclass(frozen=True, eq=False)
class _Counts:
    """Quantities that are counted in the real graph and in every random one."""

    partners: np.ndarray  # of each node
    rich: np.ndarray  # connected pairs in which both have more than k partners, for k = 0, 1, …
    clustering: float
    transitivity: float
    triads: np.ndarray


def measure_topology(
    graph: nx.Graph, n_random: int = 100, seed: int = 0, progress: Progress = ignore_progress
) -> Topology:
    """Measure a graph and compare it with degree-preserving random graphs.

    Parameters
    ----------
    graph : networkx.DiGraph or networkx.Graph
        Edges have ``n_synapses``. Self-connections are counted and otherwise ignored.
    n_random : int
        Number of random graphs; 0 for none.
    seed : int
        Seed of the random graphs.
    progress : callable
        Called with 1 after each random graph.

    Returns
    -------
    Topology

    Notes
    -----
    Reciprocity is compared with random graphs that preserve in- and out-degrees; clustering, rich
    club and triads with random graphs that also preserve the number of reciprocal connections of
    every neurite. For W open triads, each seen from its least connected node, a random graph takes
    O(E log E + W) time.

    Every connection of an undirected graph is taken as a reciprocal pair, so that random graphs
    preserve the number of partners. Reciprocity, the strong component and triads are then NaN, and
    incoming and outgoing connections are the same.
    """
    names, directed = list(graph), graph.is_directed()
    n_nodes = len(names)
    pre, post, synapses = _list_connections(graph)

    real = _count(pre, post, n_nodes)
    random_reciprocity, random_counts = [], []
    rng = np.random.default_rng(seed)
    for _ in range(n_random):
        random_pre, random_post = rewire(pre, post, n_nodes, rng)
        random_reciprocity.append(_reciprocity(random_pre, random_post, n_nodes))
        random_pre, random_post = rewire(pre, post, n_nodes, rng, keep_reciprocal=True)
        random_counts.append(_count(random_pre, random_post, n_nodes))
        progress(1)
    distributions = {
        "in_degree": np.bincount(post, minlength=n_nodes),
        "out_degree": np.bincount(pre, minlength=n_nodes),
        "in_synapses": np.bincount(post, synapses, minlength=n_nodes),
        "out_synapses": np.bincount(pre, synapses, minlength=n_nodes),
        "synapses_per_connection": synapses if directed else synapses[pre < post],
    }
    rich_club = _measure_rich_club(real, random_counts)
    club_rows, members = _describe_best_club(rich_club, real.partners)
    reciprocity = _reciprocity(pre, post, n_nodes)
    rows = [
        *_size_rows(graph, distributions["synapses_per_connection"]),
        ("reciprocity", "share of connections", *_compare(reciprocity, random_reciprocity)),
        *_distribution_rows(distributions),
        *_clustering_rows(real, random_counts),
        *club_rows,
        *_triad_rows(real, random_counts),
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    if not directed:
        table.loc[table["group"].isin(DIRECTED_GROUPS), COLUMNS[2:]] = np.nan
    return Topology(
        table=table,
        distributions=distributions,
        rich_club=rich_club,
        rich_club_members=tuple(names[i] for i in members),
        directed=directed,
    )


# --- counting -----------------------------------------------------------------------------------


def _list_connections(graph: nx.Graph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the two ends (node numbers) and the number of synapses of every connection.

    Undirected connections are listed once in each direction; self-connections are left out.
    """
    number = {name: i for i, name in enumerate(graph)}
    directed = graph if graph.is_directed() else graph.to_directed(as_view=True)
    edges = [(number[a], number[b], n) for a, b, n in directed.edges(data="n_synapses") if a != b]
    pre, post, synapses = np.array(edges, float).reshape(-1, 3).T
    return pre.astype(int), post.astype(int), synapses


def _count(pre: np.ndarray, post: np.ndarray, n_nodes: int) -> _Counts:
    low, high, direction = list_dyads(pre, post, n_nodes)
    partners = np.bincount(np.concatenate([low, high]), minlength=n_nodes)
    # Numbered by rising degree, every node has few neighbours with a higher number, even in a
    # graph with large hubs: this bounds the number of triads to check.
    order = np.lexsort((np.arange(n_nodes), partners))
    rank = np.empty(n_nodes, int)
    rank[order] = np.arange(n_nodes)
    low, high, direction = list_dyads(rank[pre], rank[post], n_nodes)
    corners, sides = _find_triangles(low, high, direction, n_nodes)
    n_triangles = np.bincount(corners.ravel(), minlength=n_nodes)
    degree = partners[order]
    pairs = degree * (degree - 1) / 2
    local = np.divide(n_triangles, pairs, out=np.zeros(n_nodes), where=pairs > 0)
    lower_degree = np.minimum(degree[low], degree[high])
    n_dyads = np.bincount(lower_degree, minlength=degree.max(initial=0) + 1)
    return _Counts(
        partners=partners,
        rich=n_dyads.sum() - np.cumsum(n_dyads),
        clustering=float(local.mean()) if n_nodes else 0.0,
        transitivity=float(n_triangles.sum() / max(pairs.sum(), 1)),
        triads=_count_triads(low, high, direction, sides, n_nodes),
    )


def list_dyads(
    pre: np.ndarray, post: np.ndarray, n_nodes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List every pair of connected nodes once.

    Returns
    -------
    low, high : ndarray of int, shape (D,)
        The two nodes, in rising order.
    direction : ndarray of int, shape (D,)
        1 for low to high, 2 for high to low, 3 for both.
    """
    keys, index = np.unique(
        np.minimum(pre, post) * n_nodes + np.maximum(pre, post), return_inverse=True
    )
    direction = np.bincount(index, np.where(pre < post, 1, 2), minlength=len(keys)).astype(int)
    return *np.divmod(keys, n_nodes), direction


def _find_triangles(
    low: np.ndarray, high: np.ndarray, direction: np.ndarray, n_nodes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return corners (T, 3) and directions of sides (T, 3) of all closed triads.

    Corners are in rising order. The sides are those from the first to the second corner, from the
    first to the third, and from the second to the third. Dyads must be sorted.
    """
    keys = low * n_nodes + high
    n_later = np.searchsorted(low, low, side="right") - np.arange(len(low)) - 1
    one = np.repeat(np.arange(len(low)), n_later)
    step = np.arange(len(one)) - np.repeat(np.cumsum(n_later) - n_later, n_later) + 1
    other = one + step
    third_side = high[one] * n_nodes + high[other]
    found = np.searchsorted(keys, third_side)
    closed = np.append(keys, -1)[found] == third_side
    one, other, third = one[closed], other[closed], found[closed]
    corners = np.stack([low[one], high[one], high[other]], axis=1)
    return corners, np.stack([direction[one], direction[other], direction[third]], axis=1)


def _count_triads(
    low: np.ndarray, high: np.ndarray, direction: np.ndarray, sides: np.ndarray, n_nodes: int
) -> np.ndarray:
    """Count the triads of each type, in the order of `TRIADS` (Holland & Leinhardt 1970).

    Closed triads are counted one by one. Open ones are the pairs of dyads at each node, less those
    in closed triads; triads with a single dyad, and those with none, are the remainder.
    """
    closed = np.bincount(sides @ (16, 4, 1), minlength=64)
    n = dict.fromkeys(TRIADS, 0)
    for code, name in _closed_triad_names().items():
        n[name] += int(closed[code])
    one_way, mutual = direction != 3, direction == 3
    start = np.where(direction == 1, low, high)[one_way]
    end = np.where(direction == 1, high, low)[one_way]
    n_out = np.bincount(start, minlength=n_nodes)
    n_in = np.bincount(end, minlength=n_nodes)
    n_mutual = np.bincount(np.concatenate([low[mutual], high[mutual]]), minlength=n_nodes)
    n["021D"] = int((n_out * (n_out - 1) // 2).sum()) - n["030T"] - n["120D"]
    n["021U"] = int((n_in * (n_in - 1) // 2).sum()) - n["030T"] - n["120U"]
    n["021C"] = int((n_out * n_in).sum()) - n["030T"] - 3 * n["030C"] - n["120C"]
    n["111D"] = int((n_in * n_mutual).sum()) - 2 * n["120D"] - n["120C"] - n["210"]
    n["111U"] = int((n_out * n_mutual).sum()) - 2 * n["120U"] - n["120C"] - n["210"]
    n["201"] = int((n_mutual * (n_mutual - 1) // 2).sum()) - n["210"] - 3 * n["300"]
    # The first digit of a name is the number of mutual dyads, the second that of one-way dyads.
    for name, n_dyads, digit in (("012", len(start), 1), ("102", int(mutual.sum()), 0)):
        n[name] = n_dyads * (n_nodes - 2) - sum(
            int(other[digit]) * n[other] for other in CONNECTED_TRIADS
        )
    n["003"] = n_nodes * (n_nodes - 1) * (n_nodes - 2) // 6 - sum(n.values())
    return np.array([n[name] for name in TRIADS])


@cache
def _closed_triad_names() -> dict[int, str]:
    """Return the type of triad by the directions of its sides: 16 first + 4 second + third."""
    directions = range(1, 4)
    return {
        16 * a + 4 * b + c: TRICODE_TO_NAME[a + 4 * b + 16 * c]
        for a in directions
        for b in directions
        for c in directions
    }


def _reciprocity(pre: np.ndarray, post: np.ndarray, n_nodes: int) -> float:
    """Return the reciprocity: the fraction of connections that are reciprocated."""
    if not len(pre):
        return 0.0
    return float(np.isin(pre * n_nodes + post, post * n_nodes + pre).mean())


# --- rows of the table --------------------------------------------------------------------------


def _compare(value: float, random: list[float]) -> tuple[float, float, float]:
    """Return a value, its mean over random graphs, and its z-score."""
    if not random:
        return value, np.nan, np.nan
    mean, sd = np.mean(random), np.std(random)
    return value, float(mean), float((value - mean) / sd) if sd > 0 else np.nan


def _size_rows(graph: nx.Graph, synapses: np.ndarray) -> Iterator[tuple]:
    n_nodes = len(graph)
    n_pairs = n_nodes * (n_nodes - 1) / 2
    if graph.is_directed():
        components, possible = nx.weakly_connected_components(graph), 2 * n_pairs
        strong: float = max(map(len, nx.strongly_connected_components(graph)), default=0)
    else:
        components, possible = nx.connected_components(graph), n_pairs
        strong = float("nan")
    sizes = {
        "neurites": n_nodes,
        "connections": len(synapses),
        "synapses": synapses.sum(),
        "connections with itself": nx.number_of_selfloops(graph),
        "density": len(synapses) / max(possible, 1),
        "largest component, weak": max(map(len, components), default=0),
        "largest component, strong": strong,
    }
    for measure, value in sizes.items():
        yield ("size", measure, value, np.nan, np.nan)


def _distribution_rows(distributions: dict[str, np.ndarray]) -> Iterator[tuple]:
    percentiles = {"lower quartile": 25, "median": 50, "upper quartile": 75, "maximum": 100}
    for group, values in distributions.items():
        values = values if len(values) else np.array([np.nan])
        yield (group, "mean", values.mean(), np.nan, np.nan)
        for measure, percentile in percentiles.items():
            yield (group, measure, np.percentile(values, percentile), np.nan, np.nan)


def _clustering_rows(real: _Counts, random: list[_Counts]) -> Iterator[tuple]:
    local = _compare(real.clustering, [counts.clustering for counts in random])
    transitivity = _compare(real.transitivity, [counts.transitivity for counts in random])
    yield ("clustering", "mean local", *local)
    yield ("clustering", "transitivity", *transitivity)


def _triad_rows(real: _Counts, random: list[_Counts]) -> Iterator[tuple]:
    for i, name in enumerate(TRIADS):
        yield ("triads", name, *_compare(real.triads[i], [counts.triads[i] for counts in random]))


# --- rich club ----------------------------------------------------------------------------------


def _measure_rich_club(real: _Counts, random: list[_Counts]) -> pd.DataFrame:
    """Return rich-club coefficients by degree (Colizza et al. 2006).

    Directions are ignored, as in Towlson et al. (2013).
    """
    degree = np.arange(len(real.rich))
    members = len(real.partners) - np.cumsum(np.bincount(real.partners, minlength=1))
    possible = members * (members - 1) / 2
    club = members > 1
    n_random = np.array([counts.rich for counts in random]).reshape(len(random), len(degree))
    n_random = n_random[:, club]
    table = pd.DataFrame({"degree": degree, "members": members})[club]
    table["coefficient"] = real.rich[club] / possible[club]
    if not random:
        return table.assign(random=np.nan, normalised=np.nan, sd=np.nan).reset_index(drop=True)
    mean = np.where(n_random.mean(axis=0) > 0, n_random.mean(axis=0), np.nan)
    table["random"] = mean / possible[club]
    table["normalised"] = real.rich[club] / mean
    table["sd"] = n_random.std(axis=0) / mean
    return table.reset_index(drop=True)


def _select_comparable(club: pd.DataFrame) -> pd.DataFrame:
    return club[(club["members"] >= MIN_CLUB_MEMBERS) & club["normalised"].notna()]


def _describe_best_club(
    rich_club: pd.DataFrame, partners: np.ndarray
) -> tuple[list[tuple], np.ndarray]:
    """Return rows that describe the rich club most above random graphs, and its members.

    If no club is clearly above random graphs, the best one is described, but without members.
    """
    measures = ("normalised coefficient", "partners more than", "members")
    comparable = _select_comparable(rich_club)
    if comparable.empty:
        rows = [("rich_club", measure, np.nan, np.nan, np.nan) for measure in measures]
        return rows, np.empty(0, int)
    clear = comparable[comparable["normalised"] > 1 + MIN_CLUB_SD * comparable["sd"]]
    candidates = comparable if clear.empty else clear
    best = candidates.loc[candidates["normalised"].idxmax()]
    z = (best["normalised"] - 1) / best["sd"] if best["sd"] > 0 else np.nan
    rows = [
        ("rich_club", measures[0], best["normalised"], 1.0, z),
        ("rich_club", measures[1], best["degree"], np.nan, np.nan),
        ("rich_club", measures[2], best["members"], np.nan, np.nan),
    ]
    n_members = 0 if clear.empty else int(best["members"])
    return rows, np.argsort(-partners, kind="stable")[:n_members]
