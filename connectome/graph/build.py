"""Build the connectivity graph, and the graph of contacts between neurites.

In the connectivity graph neurites are nodes, and synapse candidates are summed into connections.
The contact graph holds every pair of neurites that touch: in *C. elegans* a neurite makes synapses
with only some of its neighbours (White et al. 1983; Moyle et al. 2021).

``python -m connectome.graph compare A B`` compares two graphs.
"""

from __future__ import annotations

from math import ceil

import networkx as nx
import numpy as np
import pandas as pd
from scipy import ndimage

from connectome.core.errors import DataError
from connectome.core.params import GraphParams
from connectome.core.region_adjacency import boundary_faces, pair_keys
from connectome.core.synapse_table import ID_SEPARATOR

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
# Sources times nodes and edges: about a second of shortest paths.
BETWEENNESS_WORK = 1_000_000
MIN_SOURCES = 10


def build_graph(
    synapses: pd.DataFrame,
    params: GraphParams | None = None,
    contacts: pd.DataFrame | None = None,
) -> nx.Graph:
    """Sum synapse candidates into connections, directed by default.

    Synapses of *C. elegans* are polyadic: one candidate connects its presynaptic neurite with each
    of its postsynaptic ones. The direction is that of the candidates, a heuristic. O(N log N) time
    in connections.

    Parameters
    ----------
    synapses : DataFrame
        Columns ``pre_id``, ``post_ids`` (joined by ``;``) and ``score``; without ``post_ids``
        the column ``post_id`` is used. Optionally ``z, y, x``.
    params : GraphParams, optional
        The least score that counts, and whether connections are directed.
    contacts : DataFrame, optional
        As `contact_table` returns.

    Returns
    -------
    networkx.DiGraph or networkx.Graph
        Edges from the presynaptic to the postsynaptic id, with those of `EDGE_COLUMNS` that have
        values as attributes. Nodes are the neurites with at least one connection. A Graph if
        connections are undirected; ``is_directed()`` tells the two apart.

    Raises
    ------
    DataError
        If a column is missing, or has gaps.
    """
    params = params or GraphParams()
    edges = edge_table(synapses, params, contacts)
    columns = edges.columns[edges.notna().any()]
    graph = nx.DiGraph() if params.directed else nx.Graph()
    for edge in edges[columns].to_dict("records"):
        pre, post = edge.pop("pre_id"), edge.pop("post_id")
        graph.add_edge(pre, post, **edge)
    return graph


def edge_table(
    synapses: pd.DataFrame,
    params: GraphParams | None = None,
    contacts: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """List the connections, strongest first.

    Parameters
    ----------
    synapses, params, contacts
        As in `build_graph`.

    Returns
    -------
    DataFrame
        `EDGE_COLUMNS`: the two ids (the lower first if undirected); ``n_synapses``; ``weight``,
        the summed score; ``mean_score``; ``contact_area_um2``, the total contact area of the two
        neurites; ``z, y, x``, the mean position of the synapses in voxels. Unknown values are NaN.

    Raises
    ------
    DataError
        If a column is missing, or has gaps.
    """
    params = params or GraphParams()
    pairs = _list_partner_pairs(synapses, params.min_score)
    if not params.directed:
        pairs[END_COLUMNS] = np.sort(pairs[END_COLUMNS], axis=1)
    mean_position = {axis: (axis, "mean") for axis in POSITION_COLUMNS if axis in pairs}
    edges = pairs.groupby(END_COLUMNS, as_index=False).agg(
        n_synapses=("score", "size"),
        weight=("score", "sum"),
        mean_score=("score", "mean"),
        **mean_position,
    )
    edges["contact_area_um2"] = np.nan if contacts is None else _look_up_areas(edges, contacts)
    edges = edges.sort_values(["weight", *END_COLUMNS], ascending=[False, True, True])
    decimals = {"weight": 4, "mean_score": 4} | dict.fromkeys(POSITION_COLUMNS, 1)
    return edges.reindex(columns=EDGE_COLUMNS).round(decimals).reset_index(drop=True)


def _list_partner_pairs(synapses: pd.DataFrame, min_score: float) -> pd.DataFrame:
    """List the pre- and postsynaptic pairs of all synapses with at least this score."""
    partners = "post_ids" if "post_ids" in synapses else "post_id"
    for name in ("pre_id", partners, "score"):
        if name not in synapses:
            raise DataError(f"the synapses have no column {name}", "there would be no graph")
        if synapses[name].isna().any():
            row = int(np.argmax(synapses[name].isna()))
            raise DataError(
                f"the synapse in row {row} has no {name}", "it cannot be added to the graph"
            )
    counted = synapses[synapses["score"] >= min_score]
    position = [axis for axis in POSITION_COLUMNS if axis in synapses]
    pairs = counted[["pre_id", "score", *position]]
    pairs = pairs.assign(post_id=counted[partners].astype(str).str.split(ID_SEPARATOR)).explode(
        "post_id"
    )
    try:
        return pairs.astype({"pre_id": "int64", "post_id": "int64", "score": float})
    except ValueError as error:
        raise DataError(f"the partner of a synapse is not a neurite id: {error}") from error


def _look_up_areas(edges: pd.DataFrame, contacts: pd.DataFrame) -> np.ndarray:
    """Look up the contact area of every connection; 0 where the two neurites never touch."""
    area = contacts.set_index(["id_a", "id_b"])["area_um2"]
    ends = np.sort(edges[END_COLUMNS].to_numpy("int64"), axis=1)
    return area.reindex(pd.MultiIndex.from_arrays(ends.T), fill_value=0.0).to_numpy()


def close_gaps(
    labels: np.ndarray,
    mask: np.ndarray,
    voxel_size: tuple[float, float, float],
    params: GraphParams | None = None,
) -> np.ndarray:
    """Assign unlabelled membrane to the nearest neurite in the same section.

    Many segmentations leave membranes at 0, although the neurites beside them touch.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 is background.
    mask : ndarray of bool, shape (Z, Y, X)
        Tissue; gaps outside it stay open.
    voxel_size : tuple of float
        (z, y, x) in nm.
    params : GraphParams, optional
        Largest width of a gap.

    Returns
    -------
    ndarray of int, shape (Z, Y, X)
        A copy, or ``labels`` itself where there are no gaps. O(V) time.
    """
    max_distance_nm = (params or GraphParams()).max_gap_nm / 2
    gaps = (labels == 0) & mask
    if not gaps.any():
        return labels
    closed = labels.copy()
    for section, gap, target in zip(labels, gaps, closed, strict=True):
        if gap.any() and section.any():
            distance, (y, x) = ndimage.distance_transform_edt(
                section == 0, sampling=voxel_size[1:], return_indices=True
            )
            near = gap & (distance <= max_distance_nm)
            target[near] = section[y[near], x[near]]
    return closed


def contact_table(labels: np.ndarray, voxel_size: tuple[float, float, float]) -> pd.DataFrame:
    """List the pairs of neurites that touch, and their contact areas.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids up to 2147483647; 0 is background, across which nothing touches.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    DataFrame
        ``id_a < id_b`` and ``area_um2``, by rising ids. The area is the sum of the shared voxel
        faces, so it is exact for surfaces along the axes and up to 1.7 times too large for
        oblique ones.

    Notes
    -----
    O(V) time for V voxels, and sorting those at boundaries.
    """
    n = int(labels.max(initial=0)) + 1
    flat = labels.ravel()
    keys, areas = [], []
    for axis in range(labels.ndim):
        lower, upper = boundary_faces(labels, axis)
        touching, n_faces = np.unique(pair_keys(flat[lower], flat[upper], n), return_counts=True)
        keys.append(touching)
        areas.append(n_faces * (np.prod(voxel_size) / voxel_size[axis] / NM2_PER_UM2))
    pairs, index = np.unique(np.concatenate(keys), return_inverse=True)
    area = np.bincount(index, np.concatenate(areas), minlength=len(pairs))
    first, second = np.divmod(pairs, n)
    return pd.DataFrame({"id_a": first, "id_b": second, "area_um2": area.round(6)})


def node_table(
    graph: nx.Graph,
    segments: pd.DataFrame | None = None,
    contacts: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Describe every neurite of the graph, highest PageRank first.

    Parameters
    ----------
    graph : networkx.Graph
        As `build_graph` returns.
    segments : DataFrame, optional
        Measurements of all neurites, as `connectome.triage.segment_table` or
        `connectome.triage.measure_segments` returns: ``id``, ``volume_um3``, ``n_sections`` and
        ``touches_border``.
    contacts : DataFrame, optional
        As `contact_table` returns.

    Returns
    -------
    DataFrame
        `NODE_COLUMNS`, as DATASHEET.md describes them. ``in_degree`` and ``out_degree`` are
        weighted, as published: sums of the scores of incoming and outgoing synapses, not numbers
        of partners (those are ``n_pre`` and ``n_post``). ``pagerank`` is weighted (Page et al.
        1999). ``betweenness`` counts hops along the direction of synapses (Brandes 2001), from a
        seeded sample of sources beyond about 700 neurites, where all would take long.
        ``component`` numbers the strongly connected components, the largest is 1. Unknown values
        are empty. In an undirected graph every connection counts in both directions.
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
    table["betweenness"] = node.map(_estimate_betweenness(graph))
    table["component"] = node.map(_number_components(graph))
    table["contact_area_um2"] = (
        np.nan if contacts is None else node.map(_sum_contact_areas(contacts))
    )
    if segments is not None:
        table = table.join(segments.set_index("id")[NODE_COLUMNS[-3:]], on="node")
    table = table.reindex(columns=NODE_COLUMNS)
    integers = ["in_synapses", "out_synapses", "n_pre", "n_post", "component", "n_sections"]
    table = table.astype(dict.fromkeys(integers, "Int64") | {"touches_border": "boolean"})
    decimals = {"in_degree": 4, "out_degree": 4, "pagerank": 6, "betweenness": 6}
    table = table.round({**decimals, "contact_area_um2": 6})
    return table.sort_values(["pagerank", "node"], ascending=[False, True]).reset_index(drop=True)


def _estimate_betweenness(graph: nx.DiGraph) -> dict[int, float]:
    """Return the fraction of shortest paths through each node, from all sources or a sample."""
    size = graph.number_of_nodes() + graph.number_of_edges()
    sources = max(MIN_SOURCES, ceil(BETWEENNESS_WORK / max(size, 1)))
    sampled = sources if sources < len(graph) else None
    return nx.betweenness_centrality(graph, k=sampled, seed=0)


def _number_components(graph: nx.DiGraph) -> dict[int, int]:
    """Return the number of the strongly connected component of every node; 1 is the largest."""
    parts = sorted(
        nx.strongly_connected_components(graph), key=lambda part: (-len(part), min(part))
    )
    return {node: number for number, part in enumerate(parts, start=1) for node in part}


def _sum_contact_areas(contacts: pd.DataFrame) -> pd.Series:
    """Return the total contact area of every neurite."""
    sides = [contacts.set_index(side)["area_um2"] for side in ("id_a", "id_b")]
    return pd.concat(sides).groupby(level=0).sum()


def annotate_graph(graph: nx.Graph, nodes: pd.DataFrame) -> nx.Graph:
    """Return a copy of the graph with the columns of the node table as attributes, for export.

    Parameters
    ----------
    graph : networkx.Graph
        As `build_graph` returns.
    nodes : DataFrame
        As `node_table` returns.

    Returns
    -------
    networkx.Graph
        Attributes are plain Python numbers. Missing values are left out, because programs
        disagree on how NaN is written.
    """
    annotated = graph.copy()
    for row in nodes.astype(object).to_dict("records"):
        attributes = {name: value for name, value in row.items() if not pd.isna(value)}
        annotated.nodes[attributes.pop("node")].update(attributes)
    return annotated
