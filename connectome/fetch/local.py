"""Cutouts of local files."""

from __future__ import annotations

from connectome.core.params import Source
from connectome.core.progress import Progress
from connectome.fetch.plan import (
    Contents,
    CutoutPlan,
    Shape,
    format_xyz,
    locate_cutout,
    make_plan,
    note_ignored_flags,
    requested_shape,
)
from connectome.fetch.retry import RetryPolicies
from connectome.io import stacks


def plan_local(source: Source, _retries: RetryPolicies) -> CutoutPlan:
    """Plan a cutout of a local file: by default the whole file, at most the whole file.

    Parameters
    ----------
    source : Source
        The request; its URI is a path.
    """
    stack = stacks.open_stack(source.uri)
    depth, height, width = stack.shape
    source_shape = depth, height, width
    notes = note_ignored_flags("a local file", resolution=source.resolution)
    if source.cutout_xyz is None:
        wanted = _shape_beyond(source_shape, source.origin_xyz)
    else:
        wanted = requested_shape(source)
    z, y, x = (min(pair) for pair in zip(wanted, source_shape, strict=True))
    shape = z, y, x
    if shape != wanted:
        notes += (
            "the stack is smaller than the requested cutout, which was reduced to "
            f"{format_xyz(shape)} (X Y Z)",
        )
    origin = locate_cutout(source, source_shape, shape)

    def read(progress: Progress) -> Contents:
        return stack.read(origin, shape, progress), None

    return make_plan(
        source,
        uri=stack.uri,
        voxel_size=stack.voxel_size,
        source_shape=source_shape,
        origin=origin,
        shape=shape,
        rescale=True,
        read=read,
        notes=notes,
    )


def _shape_beyond(source_shape: Shape, origin_xyz: Shape | None) -> Shape:
    """Return the shape from an origin to the end of a source; the whole if it lies outside."""
    corner = (origin_xyz or (0, 0, 0))[::-1]
    z, y, x = (
        n - start if 0 <= start < n else n for n, start in zip(source_shape, corner, strict=True)
    )
    return z, y, x
