"""Agglomerate supervoxels into neurites."""

from connectome.stitch.agglomerate import Stitched, stitch_pieces

__all__ = ["Stitched", "stitch_pieces"]
