"""The wiring graph: neurites as nodes, candidate synapses summed into connections.

Beside it stands the graph of contacts: who touches whom. In worms that is half of the story, for
a neurite makes synapses with a part of its neighbours only (White et al. 1983; Moyle et al. 2021).

``python -m connectome.graph compare A B`` sets two graphs side by side.
"""

from __future__ import annotations

from math import ceil

import networkx as nx
import numpy as np
import pandas as pd
from scipy import ndimage

from connectome.core.errors import DataError
from connectome.core.params import GraphParams
from connectome.core.region_adjacency import neighbour_slices, pair_keys

NODE_COLUMNS = [
    *("node", "in_degree", "out_degree", "pagerank", "in_synapses", "out_synapses"),
    *("n_pre", "n_post", "betweenness", "component"),
    *("contact_area_um2", "volume_um3", "n_sections", "touches_border"),
]
POSITION_COLUMNS = ["z", "y", "x"]
END_COLUMNS = ["pre_id", "post_id"]
EDGE_COLUMNS = [*END_COLUMNS, "n_synapses", "weight", "mean_score", "contact_area_um2"]
EDGE_COLUMNS += POSITION_COLUMNS
CONTACT_COLUMNS = ["id_a", "id_b", "area_um2"]
NM2_PER_UM2 = 1e6
# Sources times what is walked from each, nodes and edges: about a second of shortest paths.
BETWEENNESS_WORK = 1_000_000
MIN_SOURCES = 10


def build_graph(
    synapses: pd.DataFrame,
    params: GraphParams | None = None,
    contacts: pd.DataFrame | None = None,
) -> nx.Graph:
    """Sum synapse candidates into connections, directed ones unless told otherwise.

    Worm synapses are polyadic: one candidate connects its presynaptic neurite with each of its
    postsynaptic ones. O(N log N) time in connections.

    Parameters
    ----------
    synapses : DataFrame
        Columns ``pre_id``, ``post_ids`` (joined by ``;``) and ``score``; without ``post_ids``
        the column ``post_id`` counts. ``z, y, x`` where they are known.
    params : GraphParams, optional
        The least score that counts, and whether direction does.
    contacts : DataFrame, optional
        As `contact_table` returns.

    Returns
    -------
    networkx.DiGraph or networkx.Graph
        Edges from the presynaptic to the postsynaptic id with all of `EDGE_COLUMNS` that is
        known. Nodes are the neurites with at least one connection. Without direction it is a
        Graph: whoever has to know asks it ``is_directed()``.

    Raises
    ------
    DataError
        If a column is missing, or has gaps.
    """
    params = params or GraphParams()
    edges = edge_table(synapses, params, contacts)
    known = edges.columns[edges.notna().any()]
    graph = nx.DiGraph() if params.directed else nx.Graph()
    for edge in edges[known].to_dict("records"):
        pre, post = edge.pop("pre_id"), edge.pop("post_id")
        graph.add_edge(pre, post, **edge)
    return graph


def edge_table(
    synapses: pd.DataFrame, params: GraphParams, contacts: pd.DataFrame | None = None
) -> pd.DataFrame:
    """List the connections, the strongest first.

    Parameters
    ----------
    synapses, params, contacts
        As `build_graph`.

    Returns
    -------
    DataFrame
        `EDGE_COLUMNS`: the two ids, without direction the lower first; ``n_synapses``;
        ``weight``, the summed score;
        ``mean_score``; ``contact_area_um2``, of all the contact between the two; ``z, y, x``, the
        mean place of the synapses in voxels. What is not known is NaN.

    Raises
    ------
    DataError
        If a column is missing, or has gaps.
    """
    each = _connections(synapses, params.min_score)
    if not params.directed:
        each[END_COLUMNS] = np.sort(each[END_COLUMNS], axis=1)
    summed = {axis: (axis, "mean") for axis in POSITION_COLUMNS if axis in each}
    edges = each.groupby(END_COLUMNS, as_index=False).agg(
        n_synapses=("score", "size"),
        weight=("score", "sum"),
        mean_score=("score", "mean"),
        **summed,
    )
    edges["contact_area_um2"] = np.nan if contacts is None else _areas(edges, contacts)
    edges = edges.sort_values(["weight", *END_COLUMNS], ascending=[False, True, True])
    decimals = {"weight": 4, "mean_score": 4} | dict.fromkeys(POSITION_COLUMNS, 1)
    return edges.reindex(columns=EDGE_COLUMNS).round(decimals).reset_index(drop=True)


def _connections(synapses: pd.DataFrame, least: float) -> pd.DataFrame:
    """List every pair of partners of every synapse that counts."""
    partners = "post_ids" if "post_ids" in synapses else "post_id"
    for name in ("pre_id", partners, "score"):
        if name not in synapses:
            raise DataError(f"the synapses have no column {name}", "there would be no graph")
        if synapses[name].isna().any():
            row = int(np.argmax(synapses[name].isna()))
            raise DataError(
                f"the synapse in row {row} has no {name}", "it cannot become a connection"
            )
    counted = synapses[synapses["score"] >= least]
    places = [axis for axis in POSITION_COLUMNS if axis in synapses]
    each = counted[["pre_id", "score", *places]]
    each = each.assign(post_id=counted[partners].astype(str).str.split(";")).explode("post_id")
    try:
        return each.astype({"pre_id": "int64", "post_id": "int64", "score": float})
    except ValueError as error:
        raise DataError(f"a synapse names what is no neurite id: {error}") from error


def _areas(edges: pd.DataFrame, contacts: pd.DataFrame) -> np.ndarray:
    """Look up the contact area of every connection; 0 where the two never touch."""
    area = contacts.set_index(["id_a", "id_b"])["area_um2"]
    ends = np.sort(edges[END_COLUMNS].to_numpy("int64"), axis=1)
    return area.reindex(pd.MultiIndex.from_arrays(ends.T), fill_value=0.0).to_numpy()


def close_gaps(
    labels: np.ndarray,
    tissue: np.ndarray,
    voxel_size: tuple[float, float, float],
    params: GraphParams | None = None,
) -> np.ndarray:
    """Give membranes that bear no label to the nearest neurite of their section.

    Many a program and many a person leaves membranes at 0; neurites touch all the same.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 is none.
    tissue : ndarray of bool, shape (Z, Y, X)
        Where there is tissue: gaps outside stay open.
    voxel_size : tuple of float
        (z, y, x) in nm.
    params : GraphParams, optional
        How wide a gap may be.

    Returns
    -------
    ndarray of int, shape (Z, Y, X)
        The very labels, where they have no gap. O(V) time.
    """
    reach = (params or GraphParams()).max_gap_nm / 2
    gaps = (labels == 0) & tissue
    if not gaps.any():
        return labels
    closed = labels.copy()
    for section, gap, target in zip(labels, gaps, closed, strict=True):
        if gap.any() and section.any():
            distance, (y, x) = ndimage.distance_transform_edt(
                section == 0, sampling=voxel_size[1:], return_indices=True
            )
            near = gap & (distance <= reach)
            target[near] = section[y[near], x[near]]
    return closed


def contact_table(labels: np.ndarray, voxel_size: tuple[float, float, float]) -> pd.DataFrame:
    """List who touches whom, and how much.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids up to 2147483647; 0 is none, and across it nothing touches.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    DataFrame
        ``id_a < id_b`` and ``area_um2``, by rising ids. The area is that of the faces voxels
        share, each of its true size. As every area from voxels it is exact for surfaces along
        the axes, and up to 1.7 times too large for oblique ones.

    Notes
    -----
    O(V) time for V voxels, and sorting those at boundaries.
    """
    n = int(labels.max(initial=0)) + 1
    keys, areas = [], []
    for axis in range(labels.ndim):
        a, b = neighbour_slices(axis)
        border = (labels[a] != labels[b]) & (labels[a] > 0) & (labels[b] > 0)
        met, faces = np.unique(
            pair_keys(labels[a][border], labels[b][border], n), return_counts=True
        )
        keys.append(met)
        areas.append(faces * (np.prod(voxel_size) / voxel_size[axis] / NM2_PER_UM2))
    keys, which = np.unique(np.concatenate(keys), return_inverse=True)
    area = np.bincount(which, np.concatenate(areas), minlength=len(keys))
    first, second = np.divmod(keys, n)
    return pd.DataFrame({"id_a": first, "id_b": second, "area_um2": area.round(6)})


def node_table(
    graph: nx.Graph,
    segments: pd.DataFrame | None = None,
    contacts: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Describe every neurite of the graph, the most central first.

    Parameters
    ----------
    graph : networkx.Graph
        As `build_graph` returns.
    neurites : DataFrame, optional
        ``id``, ``volume_um3``, ``n_sections`` and ``touches_border`` of the neurites.
    contacts : DataFrame, optional
        As `contact_table` returns.

    Returns
    -------
    DataFrame
        `NODE_COLUMNS`, as DATASHEET.md describes them: ``in_degree`` and ``out_degree`` are
        weighted by score, as published; ``pagerank`` is that of Page et al. (1999), weighted;
        ``betweenness`` that of Brandes (2001), in hops along the direction of synapses, from a
        sample of sources (seeded) where all would take long: about beyond 700 neurites.
        ``component`` numbers the strongly connected components, the largest is 1. What is not
        known is empty. Without direction every connection leads both ways: what comes in is what
        goes out.
    """
    if not graph.is_directed():
        graph = graph.to_directed(as_view=True)
    table = pd.DataFrame({"node": pd.array(list(graph), "int64")})
    node = table["node"]
    for name, weight in (("degree", "weight"), ("synapses", "n_synapses")):
        table[f"in_{name}"] = node.map(dict(graph.in_degree(weight=weight)))
        table[f"out_{name}"] = node.map(dict(graph.out_degree(weight=weight)))
    table["n_pre"] = node.map(dict(graph.in_degree()))
    table["n_post"] = node.map(dict(graph.out_degree()))
    table["pagerank"] = node.map(nx.pagerank(graph, weight="weight") if graph else {})
    table["betweenness"] = node.map(_betweenness(graph))
    table["component"] = node.map(_components(graph))
    table["contact_area_um2"] = np.nan if contacts is None else node.map(_touched(contacts))
    if segments is not None:
        table = table.join(segments.set_index("id")[NODE_COLUMNS[-3:]], on="node")
    table = table.reindex(columns=NODE_COLUMNS)
    whole = ["in_synapses", "out_synapses", "n_pre", "n_post", "component", "n_sections"]
    table = table.astype(dict.fromkeys(whole, "Int64") | {"touches_border": "boolean"})
    decimals = {"in_degree": 4, "out_degree": 4, "pagerank": 6, "betweenness": 6}
    table = table.round({**decimals, "contact_area_um2": 6})
    return table.sort_values(["pagerank", "node"], ascending=[False, True]).reset_index(drop=True)


def _betweenness(graph: nx.DiGraph) -> dict:
    """Return the share of shortest paths through each node, from all sources or a sample."""
    size = graph.number_of_nodes() + graph.number_of_edges()
    sources = max(MIN_SOURCES, ceil(BETWEENNESS_WORK / max(size, 1)))
    sampled = sources if sources < len(graph) else None
    return nx.betweenness_centrality(graph, k=sampled, seed=0)


def _components(graph: nx.DiGraph) -> dict:
    """Give every node the number of its strongly connected component; 1 is the largest."""
    parts = nx.strongly_connected_components(graph)
    parts = sorted(parts, key=lambda part: (-len(part), min(part)))
    return {node: number for number, part in enumerate(parts, start=1) for node in part}


def _touched(contacts: pd.DataFrame) -> pd.Series:
    """Sum up the contact area of every neurite with all others."""
    sides = [contacts.set_index(side)["area_um2"] for side in ("id_a", "id_b")]
    return pd.concat(sides).groupby(level=0).sum()


def annotate_graph(graph: nx.Graph, nodes: pd.DataFrame) -> nx.Graph:
    """Return the graph with everything the node table knows, for other programs to read.

    Parameters
    ----------
    graph : networkx.Graph
        As `build_graph` returns.
    nodes : DataFrame
        As `node_table` returns.

    Returns
    -------
    networkx.Graph
        A copy whose attributes are plain Python numbers; what is not known is left out, since
        no two programs spell NaN alike.
    """
    described = graph.copy()
    for row in nodes.astype(object).to_dict("records"):
        known = {name: value for name, value in row.items() if not pd.isna(value)}
        described.nodes[known.pop("node")].update(known)
    return described
