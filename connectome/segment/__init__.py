"""Segment the tissue into supervoxels, or into profiles by the published baseline."""

from connectome.segment.baseline import link_profiles, segment_profiles
from connectome.segment.supervoxels import segment_supervoxels

__all__ = ["link_profiles", "segment_profiles", "segment_supervoxels"]
