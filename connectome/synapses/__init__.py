"""Detect synapse candidates and name their partners."""

from connectome.synapses.candidates import (
    COLUMNS,
    Neighbourhood,
    adjacent_neurites,
    describe_candidate,
    detect_synapses,
)

__all__ = ["COLUMNS", "Neighbourhood", "adjacent_neurites", "describe_candidate", "detect_synapses"]
