"""Score results against ground truth: neurites, synapses and alignment."""

from connectome.evaluate.alignment import alignment_rms
from connectome.evaluate.segmentation import score_segmentation
from connectome.evaluate.synapses import score_synapses
from connectome.evaluate.text import format_scores

__all__ = ["alignment_rms", "format_scores", "score_segmentation", "score_synapses"]
