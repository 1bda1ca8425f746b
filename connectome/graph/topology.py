"""How a wiring diagram is built: density, reciprocity, hubs, clusters, rich club and motifs.

Each measure is that of the literature on the worm, so that numbers can be set beside those of
Watts & Strogatz (1998), Milo et al. (2002), Reigl et al. (2004), Varshney et al. (2011), Towlson
et al. (2013) and Witvliet et al. (2021).
"""

from __future__ import annotations

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
MIN_CLUB_MEMBERS = (
    10  # neurons a rich club has at least: in smaller ones a single connection decides
)
MIN_CLUB_SD = 2.0  # by how many it stands out of random graphs
COLUMNS = ["group", "measure", "value", "random", "z"]
DIRECTED_GROUPS = ("reciprocity", "triads")  # say nothing of what has no direction


@dataclass(frozen=True, eq=False)
class Topology:
    """What there is to say of a graph, beside random ones of the same degrees.

    Parameters
    ----------
    table : DataFrame
        ``group``, ``measure``, ``value``; ``random``, the mean over random graphs, and ``z``, how
        many of their standard deviations the value is off it; NaN where there is none.
    distributions : dict of str to ndarray
        ``in_degree`` and ``out_degree`` (partners), ``in_synapses`` and ``out_synapses`` of every
        neurite, and ``synapses_per_connection``.
    rich_club : DataFrame
        By ``degree``, the partners members have more than: ``members``, ``coefficient``,
        ``random``, ``normalised`` and ``sd`` (of the normalised one over random graphs).
    club : tuple of str
        Members of the rich club where it is most so; none where that may be chance.
    directed : bool
        Whether connections have a direction.
    """

    table: pd.DataFrame
    distributions: dict[str, np.ndarray]
    rich_club: pd.DataFrame
    rich_club_members: tuple[str, ...]
    directed: bool = True

    @property
    def comparable_rich_club(self) -> pd.DataFrame:
        """The rows of ``rich_club`` that are worth a look: enough members, and random graphs."""
        return _large(self.rich_club)


def measure_topology(
    graph: nx.Graph, n_random: int = 100, seed: int = 0, progress: Progress = ignore_progress
) -> Topology:
    """Measure a graph.

    Parameters
    ----------
    graph : networkx.DiGraph or networkx.Graph
        Edges have ``n_synapses``. Connections of a neurite with itself are counted and then left
        aside.
    n_random : int
        Random graphs to compare with; 0 for none.
    seed : int
        Of their choice.
    progress : callable
        Told of each random graph.

    Returns
    -------
    Topology

    Notes
    -----
    Reciprocity is compared with graphs in which every neurite has as many connections in and out;
    clustering, rich club and triads with graphs in which, besides, as many are reciprocal. For W
    open triads seen from their least connected node, a random graph takes O(E log E + W) time.

    Where connections have no direction each is taken as a reciprocal pair: random graphs then keep
    the number of partners. What asks for directions is NaN: reciprocity, the strong component and
    triads. What comes in and what goes out are both all there is.
    """
    names, directed = list(graph), graph.is_directed()
    count = len(names)
    pre, post, synapses = _connections(graph)

    real = _counted(pre, post, count)
    kept, mixed = [], []
    rng = np.random.default_rng(seed)
    for _ in range(n_random):
        mixed.append(_reciprocity(*rewire(pre, post, count, rng), count))
        kept.append(_counted(*rewire(pre, post, count, rng, keep_reciprocal=True), count))
        progress(1)
    distributions = _distributions(pre, post, synapses, count)
    each = distributions["synapses_per_connection"] = synapses if directed else synapses[pre < post]
    club = _rich_club(real, kept)
    rows = [
        *_sizes(graph, each, count),
        ("reciprocity", "share of connections", *_beside(_reciprocity(pre, post, count), mixed)),
        *_described(distributions),
        ("clustering", "mean local", *_beside(real.clustering, [r.clustering for r in kept])),
        ("clustering", "transitivity", *_beside(real.transitivity, [r.transitivity for r in kept])),
    ]
    best, members = _best(club, real.partners)
    rows += [("rich_club", *described) for described in best]
    for i, name in enumerate(TRIADS):
        rows.append(("triads", name, *_beside(real.triads[i], [r.triads[i] for r in kept])))
    table = pd.DataFrame(rows, columns=COLUMNS)
    if not directed:
        table.loc[table["group"].isin(DIRECTED_GROUPS), COLUMNS[2:]] = np.nan
    return Topology(table, distributions, club, tuple(names[i] for i in members), directed)


def _connections(graph: nx.Graph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ends, as places in the list of nodes, and the synapses of every connection.

    Those without direction come twice, once each way; those of a neurite with itself are left out.
    """
    number = {name: i for i, name in enumerate(graph)}
    ways = graph if graph.is_directed() else graph.to_directed(as_view=True)
    edges = [(number[a], number[b], n) for a, b, n in ways.edges(data="n_synapses") if a != b]
    pre, post, synapses = np.array(edges, float).reshape(-1, 3).T
    return pre.astype(int), post.astype(int), synapses


@dataclass(frozen=True, eq=False)
class _Counts:
    """What is counted in the real graph and in every random one."""

    partners: np.ndarray  # of each node
    rich: np.ndarray  # pairs connected, both of more than k partners, for k = 0, 1, …
    clustering: float
    transitivity: float
    triads: np.ndarray


def _counted(pre: np.ndarray, post: np.ndarray, count: int) -> _Counts:
    low, high, way = list_dyads(pre, post, count)
    partners = np.bincount(np.concatenate([low, high]), minlength=count)
    # From low to high degree every node looks at few others, even in a graph with huge hubs.
    order = np.lexsort((np.arange(count), partners))
    rank = np.empty(count, int)
    rank[order] = np.arange(count)
    low, high, way = list_dyads(rank[pre], rank[post], count)
    corners, ways = _triangles(low, high, way, count)
    around = np.bincount(corners.ravel(), minlength=count)
    degree = partners[order]
    pairs = degree * (degree - 1) / 2
    local = np.divide(around, pairs, out=np.zeros(count), where=pairs > 0)
    least = np.minimum(degree[low], degree[high])
    reached = np.bincount(least, minlength=degree.max(initial=0) + 1)
    return _Counts(
        partners=partners,
        rich=reached.sum() - np.cumsum(reached),
        clustering=float(local.mean()) if count else 0.0,
        transitivity=float(around.sum() / max(pairs.sum(), 1)),
        triads=_census(low, high, way, ways, count),
    )


def list_dyads(
    pre: np.ndarray, post: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List every pair of connected nodes once.

    Returns
    -------
    low, high : ndarray of int, shape (D,)
        The two nodes, in rising order.
    way : ndarray of int, shape (D,)
        1 for low to high, 2 for high to low, 3 for both.
    """
    keys, which = np.unique(
        np.minimum(pre, post) * count + np.maximum(pre, post), return_inverse=True
    )
    way = np.bincount(which, np.where(pre < post, 1, 2), minlength=len(keys)).astype(int)
    return *np.divmod(keys, count), way


def _triangles(low, high, way, count) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners (T, 3) of all closed triads, rising, and the ways (T, 3) of their sides.

    The sides are those from the first to the second corner, to the third, and from the second to
    the third. Dyads must be sorted.
    """
    keys = low * count + high
    later = np.searchsorted(low, low, side="right") - np.arange(len(low)) - 1
    one = np.repeat(np.arange(len(low)), later)
    step = np.arange(len(one)) - np.repeat(np.cumsum(later) - later, later) + 1
    other = one + step
    wanted = high[one] * count + high[other]
    found = np.searchsorted(keys, wanted)
    closed = np.append(keys, -1)[found] == wanted
    one, other, across = one[closed], other[closed], found[closed]
    corners = np.stack([low[one], high[one], high[other]], axis=1)
    return corners, np.stack([way[one], way[other], way[across]], axis=1)


def _census(low, high, way, ways, count) -> np.ndarray:
    """Count the triads of each kind, in the order of `TRIADS` (Holland & Leinhardt 1970).

    Closed ones are looked at one by one. Open ones are the couples of dyads at each node, less
    those that closed ones have; what is connected by one dyad only is what is left of all.
    """
    closed = np.bincount(ways @ (16, 4, 1), minlength=64)
    n = dict.fromkeys(TRIADS, 0)
    for code, name in _closed_names().items():
        n[name] += int(closed[code])
    one_way, mutual = way != 3, way == 3
    start, end = np.where(way == 1, low, high)[one_way], np.where(way == 1, high, low)[one_way]
    out, into = np.bincount(start, minlength=count), np.bincount(end, minlength=count)
    both = np.bincount(np.concatenate([low[mutual], high[mutual]]), minlength=count)
    n["021D"] = int((out * (out - 1) // 2).sum()) - n["030T"] - n["120D"]
    n["021U"] = int((into * (into - 1) // 2).sum()) - n["030T"] - n["120U"]
    n["021C"] = int((out * into).sum()) - n["030T"] - 3 * n["030C"] - n["120C"]
    n["111D"] = int((into * both).sum()) - 2 * n["120D"] - n["120C"] - n["210"]
    n["111U"] = int((out * both).sum()) - 2 * n["120U"] - n["120C"] - n["210"]
    n["201"] = int((both * (both - 1) // 2).sum()) - n["210"] - 3 * n["300"]
    # Names begin with how many dyads are mutual and how many are one-way.
    for name, pairs, digit in (("012", len(start), 1), ("102", int(mutual.sum()), 0)):
        n[name] = pairs * (count - 2) - sum(
            int(other[digit]) * n[other] for other in CONNECTED_TRIADS
        )
    n["003"] = count * (count - 1) * (count - 2) // 6 - sum(n.values())
    return np.array([n[name] for name in TRIADS])


@cache
def _closed_names() -> dict[int, str]:
    """Name the kind of triad by the ways of its sides: 16 first, 4 second, 1 third."""
    ways = range(1, 4)
    return {
        16 * a + 4 * b + c: TRICODE_TO_NAME[a + 4 * b + 16 * c]
        for a in ways
        for b in ways
        for c in ways
    }


def _reciprocity(pre: np.ndarray, post: np.ndarray, count: int) -> float:
    """Return the share of connections that are answered."""
    return float(np.isin(pre * count + post, post * count + pre).mean()) if len(pre) else 0.0


def _distributions(pre, post, synapses, count) -> dict[str, np.ndarray]:
    return {
        "in_degree": np.bincount(post, minlength=count),
        "out_degree": np.bincount(pre, minlength=count),
        "in_synapses": np.bincount(post, synapses, minlength=count),
        "out_synapses": np.bincount(pre, synapses, minlength=count),
    }


def _described(distributions: dict[str, np.ndarray]):
    for group, values in distributions.items():
        values = values if len(values) else np.array([np.nan])
        yield (group, "mean", values.mean(), np.nan, np.nan)
        parts = {"lower quartile": 25, "median": 50, "upper quartile": 75, "maximum": 100}
        for measure, part in parts.items():
            yield (group, measure, np.percentile(values, part), np.nan, np.nan)


def _sizes(graph: nx.Graph, synapses: np.ndarray, count: int):
    if graph.is_directed():
        parts, possible = nx.weakly_connected_components(graph), count * (count - 1)
        strong = max(map(len, nx.strongly_connected_components(graph)), default=0)
    else:
        parts, possible, strong = nx.connected_components(graph), count * (count - 1) / 2, np.nan
    sizes = {
        "neurites": count,
        "connections": len(synapses),
        "synapses": synapses.sum(),
        "connections with itself": nx.number_of_selfloops(graph),
        "density": len(synapses) / max(possible, 1),
        "largest component, weak": max(map(len, parts), default=0),
        "largest component, strong": strong,
    }
    return (("size", measure, value, np.nan, np.nan) for measure, value in sizes.items())


def _beside(value: float, random: list[float]) -> tuple[float, float, float]:
    """Return a value, its mean over random graphs, and its z-score."""
    if not random:
        return value, np.nan, np.nan
    mean, sd = np.mean(random), np.std(random)
    return value, float(mean), float((value - mean) / sd) if sd > 0 else np.nan


def _rich_club(real: _Counts, kept: list[_Counts]) -> pd.DataFrame:
    """Return how well the well connected are connected (Colizza et al. 2006), by degree.

    Directions are left aside, as Towlson et al. (2013) do.
    """
    degree = np.arange(len(real.rich))
    members = len(real.partners) - np.cumsum(np.bincount(real.partners, minlength=1))
    possible = members * (members - 1) / 2
    club = members > 1
    random = np.array([r.rich for r in kept]).reshape(len(kept), len(degree))[:, club]
    table = pd.DataFrame({"degree": degree, "members": members})[club]
    table["coefficient"] = real.rich[club] / possible[club]
    if not kept:
        return table.assign(random=np.nan, normalised=np.nan, sd=np.nan).reset_index(drop=True)
    mean = np.where(random.mean(axis=0) > 0, random.mean(axis=0), np.nan)
    table["random"] = mean / possible[club]
    table["normalised"] = real.rich[club] / mean
    table["sd"] = random.std(axis=0) / mean
    return table.reset_index(drop=True)


def _large(club: pd.DataFrame) -> pd.DataFrame:
    return club[(club["members"] >= MIN_CLUB_MEMBERS) & club["normalised"].notna()]


def _best(club: pd.DataFrame, partners: np.ndarray) -> tuple[list[tuple], np.ndarray]:
    """Describe the club most above chance, and return its members.

    Where no club is clearly above, the best is described, but has no members.
    """
    names = ("normalised coefficient", "partners more than", "members")
    large = _large(club)
    if large.empty:
        return [(name, np.nan, np.nan, np.nan) for name in names], np.empty(0, int)
    clear = large[large["normalised"] > 1 + MIN_CLUB_SD * large["sd"]]
    shown = large if clear.empty else clear
    best = shown.loc[shown["normalised"].idxmax()]
    z = (best["normalised"] - 1) / best["sd"] if best["sd"] > 0 else np.nan
    beside = ((1.0, z), (np.nan, np.nan), (np.nan, np.nan))
    values = (best["normalised"], best["degree"], best["members"])
    rows = [(name, value, *more) for name, value, more in zip(names, values, beside, strict=True)]
    return rows, np.argsort(-partners, kind="stable")[: 0 if clear.empty else int(best["members"])]
