"""Detect synapse candidates and assign their partners; the presynaptic side is a heuristic."""

from connectome.core.synapse_table import ACCEPTED, REJECTED
from connectome.synapses.candidates import COLUMNS, detect_synapses
from connectome.synapses.scoring import (
    SynapseClassifier,
    cap_density,
    default_classifier,
    retrain_classifier,
)
from connectome.synapses.verdicts import apply_verdicts, relabel_partners

__all__ = [
    "ACCEPTED",
    "COLUMNS",
    "REJECTED",
    "SynapseClassifier",
    "apply_verdicts",
    "cap_density",
    "default_classifier",
    "detect_synapses",
    "relabel_partners",
    "retrain_classifier",
]
