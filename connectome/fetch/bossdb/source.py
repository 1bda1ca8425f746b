"""Cutouts of channels in BossDB."""

from __future__ import annotations

from contextlib import suppress

from connectome.core.errors import UsageError
from connectome.core.params import Source
from connectome.core.progress import Progress
from connectome.fetch.bossdb.channel import Archive, Channel
from connectome.fetch.bossdb.uri import URI_FORM, parse_uri
from connectome.fetch.plan import (
    Contents,
    CutoutPlan,
    locate_cutout,
    make_plan,
    requested_shape,
)
from connectome.fetch.retry import RetryPolicies

__all__ = ["URI_FORM", "plan_bossdb"]


def plan_bossdb(source: Source, retries: RetryPolicies) -> CutoutPlan:
    """Plan a cutout of a channel, from cached metadata if all its voxels are cached, too.

    Parameters
    ----------
    source : Source
        The request.
    retries : RetryPolicies
        Timeouts and retries of requests.
    """
    address = parse_uri(source.uri, source.resolution)
    archive = Archive(source.boss_host, source.boss_token, source.cache_dir, retries)
    # Cached bounds may be out of date, so only the server's metadata may reject a request.
    with suppress(UsageError):
        channel = archive.cached_channel(address)
        if channel:
            plan = _plan_in_channel(source, channel)
            if channel.is_cached(plan.origin, plan.shape):
                return plan
    return _plan_in_channel(source, archive.fetch_channel(address))


def _plan_in_channel(source: Source, channel: Channel) -> CutoutPlan:
    """Plan a cutout of a channel from its metadata."""
    shape = requested_shape(source)
    origin = locate_cutout(source, channel.shape, shape)

    def read(progress: Progress) -> Contents:
        return channel.read(origin, shape, progress), None

    return make_plan(
        source,
        uri=str(channel.address),
        voxel_size=channel.voxel_size,
        source_shape=channel.shape,
        origin=origin,
        shape=shape,
        rescale=channel.info.datatype != "uint8",
        read=read,
        resolution=channel.address.mip,
        notes=channel.notes,
    )
