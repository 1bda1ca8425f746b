"""Fetch a cutout of volume EM from any source.

`plan_cutout` determines which voxels to fetch, from metadata alone; `fetch_cutout` fetches them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from connectome.core.errors import UsageError
from connectome.core.params import Source
from connectome.core.progress import Progress, ignore_progress
from connectome.core.volume import GroundTruth, Volume
from connectome.fetch import local, phantom
from connectome.fetch.bossdb import source as bossdb
from connectome.fetch.plan import CutoutPlan
from connectome.fetch.retry import DEFAULT_RETRIES, RetryPolicies
from connectome.io.intensity import IntensityStatistics
from connectome.io.stacks import SUPPORTED_FORMATS


@dataclass(frozen=True)
class SourceType:
    """A type of source.

    Parameters
    ----------
    uri_form : str
        Form of its URIs, for messages.
    plan : callable
        Plans a cutout, given the request and the retry policies of remote sources.
    """

    uri_form: str
    plan: Callable[[Source, RetryPolicies], CutoutPlan]


# By URI scheme; anything without a scheme is a local path.
SOURCES = {
    "bossdb": SourceType(bossdb.URI_FORM, bossdb.plan_bossdb),
    "phantom": SourceType(phantom.URI_FORM, phantom.plan_phantom),
}
LOCAL = SourceType(f"a path ({SUPPORTED_FORMATS})", local.plan_local)


@dataclass(frozen=True, eq=False)
class FetchedCutout:
    """A cutout, its ground truth, and notes for the user.

    Parameters
    ----------
    volume : Volume of uint8, shape (Z, Y, X)
        EM; where voxels were rescaled, 0 is black padding.
    ground_truth : GroundTruth or None
        Complete for the phantom, None for other sources.
    notes : tuple of str
        Notes of the plan, and on the voxels.
    """

    volume: Volume
    ground_truth: GroundTruth | None
    notes: tuple[str, ...]


def plan_cutout(source: Source, retries: RetryPolicies = DEFAULT_RETRIES) -> CutoutPlan:
    """Determine the voxels of a request, from metadata alone.

    Parameters
    ----------
    source : Source
        The request.
    retries : RetryPolicies
        Timeouts and retries of remote sources.

    Returns
    -------
    CutoutPlan

    Raises
    ------
    UsageError
        If the request is malformed or outside the source, or the voxel size is unknown.
    SourceUnreachable
        If a remote source gives no usable answer within seconds.
    DataError
        If the source is damaged or not EM.
    """
    scheme, separator, _ = source.uri.partition("://")
    if not separator:
        return LOCAL.plan(source, retries)
    if scheme not in SOURCES:
        forms = ", ".join(source_type.uri_form for source_type in SOURCES.values())
        raise UsageError(
            f"{scheme}:// is not a supported type of source",
            "nothing was fetched",
            f"{forms}, or {LOCAL.uri_form}",
        )
    return SOURCES[scheme].plan(source, retries)


def fetch_cutout(plan: CutoutPlan, progress: Progress = ignore_progress) -> FetchedCutout:
    """Fetch the voxels of a plan as 8-bit EM.

    Parameters
    ----------
    plan : CutoutPlan
        From `plan_cutout`.
    progress : callable
        Called with the number of sections just finished, ``plan.steps`` in all.

    Returns
    -------
    FetchedCutout

    Raises
    ------
    SourceUnreachable
        If the connection fails for too long; the slabs received so far are kept.
    DataError
        If the voxels are damaged.
    """
    data, ground_truth = plan.read(progress)
    statistics = IntensityStatistics.measure(data)
    notes = (*plan.notes, *statistics.describe_problems())
    if plan.rescale:
        data = statistics.to_uint8(data)
        notes += (statistics.describe_mapping(),)
    volume = Volume(data, plan.voxel_size, plan.origin, plan.uri)
    return FetchedCutout(volume, ground_truth, notes)
