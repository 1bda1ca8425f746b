"""Data of the interactive viewer: the stack, its neurites, synapse candidates and graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from connectome.core.synapse_table import decode_ids
from connectome.graph.colouring import colour_graph
from connectome.graph.node_layout import layout_graph
from connectome.io import paths
from connectome.io.run_folder import RunFolder
from connectome.report import encoding

MAX_NODES, MAX_EDGES = 1500, 4000  # that browsers move smoothly
UNIT_PX = 60  # between neighbouring neurites of the graph
N_COLOURS = 7


def collect_data(run: RunFolder) -> dict[str, Any]:
    """Return what ``assets/report.js`` reads, ready for JSON."""
    aligned = run.aligned
    step = encoding.choose_step(aligned.shape)
    ids, index = encoding.renumber_ids(run.graph_labels, step)
    return {
        "shape": list(index.shape),
        "voxel": list(aligned.voxel_size),
        "step": step,
        "sections": encoding.encode_sections(aligned.data, step),
        "labels": encoding.encode_index(index),
        "bytes": index.itemsize,
        "ids": ids.tolist(),
        "locations": encoding.locate_neurites(index, len(ids)).tolist(),
        "colours": _colour_neurites(run, ids).tolist(),
        "synapses": _list_synapses(run.synapses),
        "graph": _select_graph(run),
    }


def _colour_neurites(run: RunFolder, ids: np.ndarray) -> np.ndarray:
    """Return a colour index per neurite; neurites in contact differ where colours suffice."""
    pairs = np.empty((0, 2), int)
    if run.has(paths.CONTACTS):
        contacts = run.table(paths.CONTACTS, ("id_a", "id_b"))
        pairs = np.searchsorted(ids, contacts[["id_a", "id_b"]].to_numpy("int64"))
        pairs = pairs[(pairs < len(ids)).all(axis=1)]
    return colour_graph(ids, pairs, N_COLOURS)


def _list_synapses(table: pd.DataFrame) -> list[list[Any]]:
    """Return ``[z, y, x, pre, posts, score]`` of each candidate."""
    cells = table["post_ids"] if "post_ids" in table else table["post_id"]
    columns = (table[name].tolist() for name in ("z", "y", "x", "pre_id"))
    rows = zip(*columns, map(decode_ids, cells), table["score"].tolist(), strict=True)
    return [list(row) for row in rows]


def _select_graph(run: RunFolder) -> dict[str, Any]:
    """Return the strongest neurites, with their positions, and the strongest connections."""
    edges = run.edges.sort_values("weight", ascending=False, kind="stable")
    ends = pd.concat([edges["pre_id"], edges["post_id"]])
    strength = pd.concat([edges["weight"], edges["weight"]]).groupby(ends.to_numpy()).sum()
    shown = strength.sort_values(ascending=False, kind="stable")[:MAX_NODES].sort_index()
    nodes = shown.index.to_numpy("int64")
    edges = edges[edges["pre_id"].isin(nodes) & edges["post_id"].isin(nodes)][:MAX_EDGES]
    pre, post = (np.searchsorted(nodes, edges[end]) for end in ("pre_id", "post_id"))
    others = pre != post
    positions = np.empty((0, 2))
    if len(nodes):
        positions = UNIT_PX * layout_graph(pre[others], post[others], len(nodes))
    return {
        "nodes": [
            [int(i), round(float(x), 1), round(float(y), 1), round(float(s), 4)]
            for i, (x, y), s in zip(nodes, positions, shown, strict=True)
        ],
        "edges": edges[["pre_id", "post_id", "n_synapses", "weight"]].to_numpy(object).tolist(),
        "n_neurites": len(strength),
        "directed": run.directed,
    }
