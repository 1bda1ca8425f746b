"""Agglomerate supervoxels into neurites."""

from connectome.stitch.agglomeration import Agglomeration, agglomerate

__all__ = ["Agglomeration", "agglomerate"]
