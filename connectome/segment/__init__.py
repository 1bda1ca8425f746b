"""Divide the tissue into supervoxels."""

from connectome.segment.supervoxels import segment_supervoxels

__all__ = ["segment_supervoxels"]
