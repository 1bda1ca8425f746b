"""Align the sections of a stack."""

from connectome.align.chain import MIN_CORRELATION
from connectome.align.estimate import Alignment, estimate_alignment
from connectome.align.transforms import apply_transforms, simulate_shifts, transform_points

__all__ = [
    "MIN_CORRELATION",
    "Alignment",
    "apply_transforms",
    "estimate_alignment",
    "simulate_shifts",
    "transform_points",
]
