"""Bring the sections of a stack into register."""

from connectome.align.estimate import (
    LEAST_FIT,
    Alignment,
    apply_shifts,
    carry_points,
    estimate_alignment,
    simulated_shifts,
)

__all__ = [
    "LEAST_FIT",
    "Alignment",
    "apply_shifts",
    "carry_points",
    "estimate_alignment",
    "simulated_shifts",
]
