"""Cutouts of the phantom, which come with ground truth."""

from __future__ import annotations

from connectome.core.params import Source
from connectome.core.progress import Progress
from connectome.fetch.plan import (
    Contents,
    CutoutPlan,
    make_plan,
    note_ignored_flags,
    requested_shape,
)
from connectome.fetch.retry import RetryPolicies
from connectome.phantom import check_phantom, make_phantom, parse_phantom_uri, phantom_uri

URI_FORM = "phantom://neuropil"


def plan_phantom(source: Source, _retries: RetryPolicies) -> CutoutPlan:
    """Plan a phantom of the requested shape.

    Parameters
    ----------
    source : Source
        The request; its URI may contain a seed and a voxel size.
    """
    seed, voxel_size = parse_phantom_uri(source.uri, source.seed)
    voxel_size = source.voxel_size or voxel_size
    shape = requested_shape(source)
    check_phantom(shape, voxel_size)

    def read(progress: Progress) -> Contents:
        phantom = make_phantom(shape, seed, voxel_size)
        progress(shape[0])
        return phantom.volume.data, phantom.ground_truth

    return make_plan(
        source,
        uri=phantom_uri(seed, voxel_size),
        voxel_size=voxel_size,
        source_shape=shape,
        origin=(0, 0, 0),
        shape=shape,
        rescale=False,
        read=read,
        notes=note_ignored_flags(
            "the phantom", resolution=source.resolution, origin=source.origin_xyz
        ),
    )
