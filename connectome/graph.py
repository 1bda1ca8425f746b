"""The wiring graph: neurites as nodes, candidate synapses summed into directed connections."""

from __future__ import annotations

import networkx as nx
import pandas as pd

from connectome.params import GraphParams

NODE_COLUMNS = ["node", "in_degree", "out_degree", "pagerank", "in_synapses", "out_synapses"]
EDGE_COLUMNS = ["pre_id", "post_id", "n_synapses", "weight", "mean_score"]


def build_graph(synapses: pd.DataFrame, params: GraphParams | None = None) -> nx.DiGraph:
    """Sum synapse candidates into directed connections.

    Worm synapses are polyadic: one candidate connects its presynaptic neurite with each of its
    postsynaptic ones. O(N log N) time in connections.

    Parameters
    ----------
    synapses : DataFrame
        Columns ``pre_id``, ``post_ids`` (joined by ``;``) and ``score``; without ``post_ids``
        the column ``post_id`` counts.
    params : GraphParams, optional
        The least score that counts.

    Returns
    -------
    networkx.DiGraph
        Edges from the presynaptic to the postsynaptic id with ``n_synapses``, ``weight`` (summed
        score) and ``mean_score``. Nodes are the neurites with at least one connection.
    """
    edges = edge_table(synapses, params or GraphParams())
    graph = nx.DiGraph()
    for edge in edges.itertuples(index=False):
        graph.add_edge(
            edge.pre_id,
            edge.post_id,
            n_synapses=edge.n_synapses,
            weight=edge.weight,
            mean_score=edge.mean_score,
        )
    return graph


def edge_table(synapses: pd.DataFrame, params: GraphParams) -> pd.DataFrame:
    """List the connections, the strongest first.

    Parameters
    ----------
    synapses : DataFrame
        As `build_graph`.
    params : GraphParams
        The least score that counts.

    Returns
    -------
    DataFrame
        Columns ``pre_id, post_id, n_synapses, weight, mean_score``.
    """
    counted = synapses[synapses["score"] >= params.min_score]
    partners = counted["post_ids" if "post_ids" in counted else "post_id"].astype(str)
    each = counted[["pre_id", "score"]].assign(post_id=partners.str.split(";")).explode("post_id")
    each = each.astype({"pre_id": "int64", "post_id": "int64", "score": float})
    edges = each.groupby(["pre_id", "post_id"], as_index=False).agg(
        n_synapses=("score", "size"), weight=("score", "sum"), mean_score=("score", "mean")
    )
    edges = edges.sort_values(["weight", "pre_id", "post_id"], ascending=[False, True, True])
    return edges.round({"weight": 4, "mean_score": 4})[EDGE_COLUMNS].reset_index(drop=True)


def node_table(graph: nx.DiGraph) -> pd.DataFrame:
    """Describe every neurite of the graph, the most central first.

    Parameters
    ----------
    graph : networkx.DiGraph
        As `build_graph` returns.

    Returns
    -------
    DataFrame
        ``node``; ``in_degree`` and ``out_degree``, weighted by score as published; ``pagerank``
        (Page et al. 1999, weighted); ``in_synapses`` and ``out_synapses``, their plain counts.
    """
    rank = nx.pagerank(graph, weight="weight") if graph else {}
    rows = [
        (
            node,
            round(graph.in_degree(node, weight="weight"), 4),
            round(graph.out_degree(node, weight="weight"), 4),
            round(rank[node], 6),
            graph.in_degree(node, weight="n_synapses"),
            graph.out_degree(node, weight="n_synapses"),
        )
        for node in graph
    ]
    table = pd.DataFrame(rows, columns=NODE_COLUMNS)
    return table.sort_values(["pagerank", "node"], ascending=[False, True]).reset_index(drop=True)
