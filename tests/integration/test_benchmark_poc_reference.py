"""The reference does what the proof of concept is described to do, its mistakes included."""

import json
import subprocess
import sys

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from helpers.locations import ROOT
from scipy import ndimage as ndi

sys.path.insert(0, str(ROOT / "benchmarks"))

import poc_reference


def tissue(sections: int = 3) -> np.ndarray:
    """Return bright cells between dark walls, the same in every section, with some noise."""
    rng = np.random.default_rng(0)
    seeds = np.zeros((96, 96), bool)
    seeds[tuple(rng.integers(0, 96, (2, 12)))] = True
    nearest = ndi.distance_transform_edt(~seeds, return_distances=False, return_indices=True)
    cells = nearest[0] * 96 + nearest[1]
    walls = ndi.maximum_filter(cells, 3) != ndi.minimum_filter(cells, 3)
    section = ndi.gaussian_filter(np.where(walls, 40.0, 200.0), 1)
    noisy = section + rng.normal(0, 4, (sections, *section.shape))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def test_the_command_leaves_arrays_tables_figures_and_seconds(tmp_path):
    stack = tissue()
    np.save(tmp_path / "source.npy", stack)
    command = [sys.executable, str(ROOT / "benchmarks/poc_reference.py")]
    command += [str(tmp_path / "source.npy"), str(tmp_path / "out"), "--no-sim-misalignment"]
    subprocess.run(command, check=True)
    out = tmp_path / "out"
    labels = np.load(out / "data/neurite_labels_i32_zyx.npy")
    assert (labels.shape, labels.dtype) == (stack.shape, np.int32)
    synapses = pd.read_csv(out / "tables/synapse_candidates.csv")
    assert list(synapses) == ["z", "y", "x", "pre_id", "post_id", "score"]
    nodes = pd.read_csv(out / "tables/graph_node_stats.csv")
    assert list(nodes) == ["node", "in_degree", "out_degree", "pagerank"]
    assert nodes["pagerank"].sum() == pytest.approx(1)
    shifts = json.loads((out / "tables/alignment_shifts.json").read_text())
    assert np.shape(shifts["shifts"]) == (3, 2)
    assert not np.any(shifts["simulated"])
    assert len(list((out / "figures").glob("Figure*.p*"))) == 8
    seconds = json.loads((out / "seconds.json").read_text())
    assert list(seconds) == [
        *("preprocess", "align", "segment", "stitch", "synapses", "graph", "figures", "save")
    ]


def test_alignment_goes_the_wrong_way():
    rng = np.random.default_rng(1)
    section = ndi.gaussian_filter(rng.random((64, 64)), 2)
    moved = ndi.shift(section, (2, -3), mode="wrap")
    _, shifts = poc_reference.align(np.stack([section, moved]).astype(np.float32))
    np.testing.assert_allclose(shifts[1], (2, -3), atol=0.2)


def test_profiles_are_stitched_from_200_px_of_overlap():
    labels = np.zeros((2, 30, 60), np.int32)
    labels[0, :10, :20] = 1
    labels[1, :10, :20] = 3
    labels[0, 15:25, :20] = 2
    labels[1, 15:25, 1:21] = 4
    stitched = poc_reference.stitch(labels)
    assert stitched[0, 0, 0] == stitched[1, 0, 0] > 0
    assert stitched[0, 15, 5] != stitched[1, 15, 5]
    assert set(np.unique(stitched)) == {0, 1, 2, 3}


def test_the_darker_side_of_a_blob_is_presynaptic():
    labels = np.ones((1, 40, 40), np.int32)
    labels[:, :, 20:] = 2
    blob = np.zeros((40, 40))
    blob[20, 18] = 1
    section = 0.9 - 0.8 * ndi.gaussian_filter(blob, 2) / ndi.gaussian_filter(blob, 2).max()
    (row,) = poc_reference.find_synapses(section[None], labels).itertuples()
    assert (row.z, row.pre_id, row.post_id) == (0, 1, 2)
    assert abs(row.y - 20) <= 1
    assert 17 <= row.x <= 19


def test_edges_count_candidates_with_score_enough():
    synapses = pd.DataFrame(
        [(0, 1, 1, 1, 2, 0.5), (1, 1, 1, 1, 2, 0.1), (0, 9, 9, 2, 3, 0.09)],
        columns=["z", "y", "x", "pre_id", "post_id", "score"],
    )
    graph, nodes = poc_reference.build_graph(synapses)
    assert nx.to_dict_of_dicts(graph) == {1: {2: {"weight": 2}}, 2: {}}
    assert nodes.set_index("node").loc[2, "in_degree"] == 2
