"""Agglomerate supervoxels into neurites."""

from connectome.stitch.agglomeration import Agglomeration, agglomerate
from connectome.stitch.constraints import constrain_supervoxels, restore_proofread_ids

__all__ = ["Agglomeration", "agglomerate", "constrain_supervoxels", "restore_proofread_ids"]
