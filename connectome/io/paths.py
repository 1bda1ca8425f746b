"""Names of the files in an output folder, relative to it."""

from __future__ import annotations

from pathlib import Path

CUTOUT = "data/em_cutout_u8_zyx.npy"
PREPROCESSED = "data/em_preprocessed_f32_zyx.npy"
ALIGNED = {
    "float16": "data/em_aligned_float16_zyx.npy",
    "float32": "data/em_aligned_float32_zyx.npy",
}
PROBABILITY = "data/neurite_prob_f16_zyx.npy"
LABELS = "data/neurite_labels_i32_zyx.npy"
TRUE_LABELS = "data/true_labels_i32_zyx.npy"
SEGMENTS = "tables/segments.csv"
MERGE_LOG = "tables/merge_log.csv"
SYNAPSES = "tables/synapse_candidates.csv"
NODES = "tables/graph_node_stats.csv"
EDGES = "tables/graph_edges.csv"
CONTACTS = "tables/contact_graph.csv"
MATRIX = "tables/connectivity_matrix.csv"
GRAPHML = "tables/graph.graphml"
GEXF = "tables/graph.gexf"
GRAPH_JSON = "tables/graph.json"
TRUE_SYNAPSES = "tables/true_synapses.csv"
ALIGNMENT = "tables/alignment_shifts.json"
EVALUATION = "tables/evaluation.json"
REBUILD_CHANGES = "tables/rebuild_changes.csv"
GRAPH_LABELS = "tables/graph_labels.json"
REPORT = "report.html"
RUN_LOG = "runs/pipeline_runs.sqlite"
MODELS = "runs/models"

# Written by proofreading.
CORRECTED_LABELS = "data/neurite_labels_corrected_i32_zyx.npy"
PROOFREAD_SECTIONS = "tables/proofread_slices.json"
REVIEWED_SYNAPSES = "tables/synapses_reviewed.csv"

# Written by the refiners: "rf", the random forest, and "unet".
REFINED_PROBABILITY = {kind: f"data/neurite_prob_{kind}_f16_zyx.npy" for kind in ("rf", "unet")}
REFINED_LABELS = {kind: f"data/neurite_labels_{kind}_i32_zyx.npy" for kind in ("rf", "unet")}
REFINED_METRICS = {kind: f"tables/{kind}_metrics.json" for kind in ("rf", "unet")}


def sidecar_path(path: Path) -> Path:
    """Return the JSON file with the voxel size, origin and source of an array."""
    return path.with_suffix(".json")


# Labels by the names that --labels takes.
LABELS_BY_NAME = {"corrected": CORRECTED_LABELS, **REFINED_LABELS, "baseline": LABELS}

# Files of the main job. Those that a run does not write are removed when it is published, because a
# file of an earlier run would describe other tissue. Corrections and refined labels are kept.
_ARRAYS = (CUTOUT, PREPROCESSED, *ALIGNED.values(), PROBABILITY, LABELS, TRUE_LABELS)
MAIN_JOB_FILES = (
    *_ARRAYS,
    *(str(sidecar_path(Path(name))) for name in _ARRAYS),
    *(SEGMENTS, MERGE_LOG, SYNAPSES, NODES, EDGES, TRUE_SYNAPSES, ALIGNMENT, EVALUATION),
    *(CONTACTS, MATRIX, GRAPHML, GEXF, GRAPH_JSON),
    *(REBUILD_CHANGES, GRAPH_LABELS, REPORT),
)
