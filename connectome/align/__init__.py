"""Bring the sections of a stack into register."""

from connectome.align.estimate import (
    MIN_CORRELATION,
    Alignment,
    apply_transforms,
    estimate_alignment,
    simulate_shifts,
    transform_points,
)

__all__ = [
    "MIN_CORRELATION",
    "Alignment",
    "apply_transforms",
    "estimate_alignment",
    "simulate_shifts",
    "transform_points",
]
