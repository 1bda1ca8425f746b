"""Estimate the uncertainty of a segmentation and rank what to proofread."""

from connectome.triage.focused_proofreading import (
    Location,
    choose_training_sections,
    current_ids,
    name_synapse,
    rank_locations,
    uncertainty_map,
)
from connectome.triage.measurements import measure_segments
from connectome.triage.queue import ProofreadingQueue, build_queue
from connectome.triage.uncertainty import merge_log, segment_table

__all__ = [
    "Location",
    "ProofreadingQueue",
    "build_queue",
    "choose_training_sections",
    "current_ids",
    "measure_segments",
    "merge_log",
    "name_synapse",
    "rank_locations",
    "segment_table",
    "uncertainty_map",
]
