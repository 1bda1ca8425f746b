"""Detect synapse candidates and name their partners."""

from connectome.synapses.candidates import (
    COLUMNS,
    Surroundings,
    described,
    find_synapses,
    neighbours,
)

__all__ = ["COLUMNS", "Surroundings", "described", "find_synapses", "neighbours"]
