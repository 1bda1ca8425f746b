"""Divide the tissue into supervoxels."""

from connectome.segment.supervoxels import segment_stack

__all__ = ["segment_stack"]
