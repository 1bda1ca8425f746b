"""One door for data: a cutout from BossDB, from a local file, or of the phantom.

`plan_cutout` decides which voxels are meant, from metadata alone; `fetch_cutout` brings them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from connectome.core.errors import DataError, UsageError
from connectome.core.params import DEFAULT_CUTOUT, Source
from connectome.core.progress import Progress, ignore_progress
from connectome.core.volume import GroundTruth, Volume
from connectome.fetch.bossdb.channel import Archive, Channel
from connectome.fetch.bossdb.retry import DEFAULT_RETRIES, RetryPolicies
from connectome.fetch.bossdb.uri import URI_FORM, parse_uri
from connectome.io import stacks
from connectome.io.intensity import IntensityStatistics

MIN_FIELD_UM = 1.5
VOXEL_SIZE_RANGE_NM = (0.5, 1000.0)  # what volume EM is imaged at, with room to spare
JITTER_FRACTION = 0.05  # of the source's size, to either side of its centre

Triple = tuple[int, int, int]
Contents = tuple[np.ndarray, GroundTruth | None]


@dataclass(frozen=True, eq=False)
class CutoutPlan:
    """Which voxels will be fetched, and what is known of them beforehand.

    Parameters
    ----------
    uri : str
        Full identity of the source: with the mip for BossDB, with the array inside a file.
    voxel_size : tuple of float
        (z, y, x) in nm.
    source_shape : tuple of int
        (Z, Y, X) of the whole source, at this mip.
    origin : tuple of int
        Corner of the cutout in the source, (z, y, x).
    shape : tuple of int
        (Z, Y, X) of the cutout.
    resolution : int or None
        Mip; None where there are none.
    notes : tuple of str
        What the user should know.
    rescale : bool
        Whether the voxels will be mapped to 8 bits by percentiles.
    """

    uri: str
    voxel_size: tuple[float, float, float]
    source_shape: Triple
    origin: Triple
    shape: Triple
    resolution: int | None
    notes: tuple[str, ...]
    rescale: bool
    _read: Callable[[Progress], Contents] = field(repr=False)

    @property
    def steps(self) -> int:
        """What `fetch_cutout` will report to its progress callback in all: sections."""
        return self.shape[0]

    @property
    def field_of_view_um(self) -> tuple[float, float, float]:
        """Extent in µm, in (z, y, x) order."""
        return tuple(n * v / 1000 for n, v in zip(self.shape, self.voxel_size, strict=True))


@dataclass(frozen=True, eq=False)
class FetchedCutout:
    """A cutout, what is known to be true about it, and what the user should know.

    Parameters
    ----------
    volume : Volume of uint8, shape (Z, Y, X)
        0 is black padding wherever the voxels were rescaled.
    truth : Truth or None
        Complete for the phantom, None for anything else.
    notes : tuple of str
        The plan's, and what the voxels themselves gave rise to.
    """

    volume: Volume
    ground_truth: GroundTruth | None
    notes: tuple[str, ...]


def plan_cutout(source: Source, retries: RetryPolicies = DEFAULT_RETRIES) -> CutoutPlan:
    """Decide which voxels a request means, from metadata alone.

    Parameters
    ----------
    source : Source
        The request.
    waits : Waits
        How long to wait for a remote source.

    Returns
    -------
    CutoutPlan

    Raises
    ------
    UsageError
        If the request is malformed, lies outside the source, or leaves the voxel size unknown.
    SourceUnreachable
        If a remote source gives no usable answer within seconds.
    DataError
        If the source is not EM, or damaged.
    """
    scheme, separator, _ = source.uri.partition("://")
    if scheme == "bossdb" and separator:
        return _plan_bossdb(source, retries)
    if scheme == "phantom" and separator:
        return _plan_phantom(source)
    if separator:
        raise UsageError(
            f"{scheme}:// is not a scheme this program knows",
            "nothing was fetched",
            f"{URI_FORM}, phantom://neuropil, or a path ({stacks.SUPPORTED_FORMATS})",
        )
    return _plan_file(source)


def fetch_cutout(plan: CutoutPlan, progress: Progress = ignore_progress) -> FetchedCutout:
    """Bring the voxels of a plan, as 8-bit EM.

    Parameters
    ----------
    plan : CutoutPlan
        From `plan_cutout`.
    progress : callable
        Told of finished sections, ``plan.steps`` in all.

    Returns
    -------
    Fetched

    Raises
    ------
    SourceUnreachable
        If the line fails for too long; the slabs that have arrived are kept.
    DataError
        If the voxels are damaged.
    """
    data, truth = plan._read(progress)
    tones = IntensityStatistics.measure(data)
    notes = (*plan.notes, *tones.warnings())
    if plan.rescale:
        data = tones.to_uint8(data)
        notes += (tones.mapping(),)
    return FetchedCutout(Volume(data, plan.voxel_size, plan.origin, plan.uri), truth, notes)


def check_ground_truth(path: str, plan: CutoutPlan) -> None:
    """Refuse labels that do not fit a plan, before anything is fetched for them.

    Raises
    ------
    DataError, UsageError
        As `read_ground_truth`, as far as can be told without reading voxels.
    """
    _truth_stack(path, plan)


def read_ground_truth(path: str, plan: CutoutPlan) -> np.ndarray:
    """Read labels drawn on the source, or on the cutout.

    Parameters
    ----------
    path : str
        As for a local source; of several arrays in an ``.npz`` the one named ``labels``.
    plan : CutoutPlan
        The cutout they belong to.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Labels of the cutout; ids too large for the type are numbered anew, 0 stays 0.

    Raises
    ------
    DataError
        If they are not 3D integer labels of the source's or the cutout's shape, or label nothing.
    """
    stack, origin = _truth_stack(path, plan)
    labels = stack.read(origin, plan.shape)
    if labels.min() < 0:
        raise DataError(f"{stack.uri} has negative ids", "which of them are neurites is unknown")
    if not labels.any():
        raise DataError(f"{stack.uri} is 0 all over this cutout", "there is nothing to score")
    if labels.max() > np.iinfo(np.int32).max:
        ids, labels = np.unique(labels, return_inverse=True)
        labels += ids[0] > 0
    return labels.astype(np.int32)


def _truth_stack(path: str, plan: CutoutPlan) -> tuple[stacks.Stack, Triple]:
    """Open labels; tell where in them the cutout begins."""
    stack = stacks.open_stack(path, stacks.LABELS)
    if stack.shape == plan.shape:
        return stack, (0, 0, 0)
    if stack.shape == plan.source_shape:
        return stack, plan.origin
    raise DataError(
        f"{stack.uri} has shape {stack.shape}, but the source has {plan.source_shape} "
        f"and the cutout {plan.shape} (Z, Y, X)",
        "labels cannot be laid over the image",
        "labels of the whole source, or of exactly this cutout",
    )


# --- sources ------------------------------------------------------------------------------------


def _plan_bossdb(source: Source, waits: RetryPolicies) -> CutoutPlan:
    address = parse_uri(source.uri, source.resolution)
    archive = Archive(source.boss_host, source.boss_token, source.cache_dir, waits)
    shape = _zyx(source.cutout_xyz or DEFAULT_CUTOUT)

    def place(channel: Channel) -> CutoutPlan:
        origin = _corner(source, channel.shape, shape)
        return _plan(
            source,
            uri=str(channel.address),
            voxel_size=channel.voxel_size,
            source_shape=channel.shape,
            origin=origin,
            shape=shape,
            resolution=channel.address.mip,
            notes=channel.notes,
            rescale=channel.info.datatype != "uint8",
            _read=lambda progress: (channel.read(origin, shape, progress), None),
        )

    # Bounds kept from earlier may be out of date: only the server's word refuses a request.
    with suppress(UsageError):
        remembered = archive.cached_channel(address)
        if remembered:
            plan = place(remembered)
            if remembered.is_cached(plan.origin, plan.shape):
                return plan
    return place(archive.fetch_channel(address))


def _plan_file(source: Source) -> CutoutPlan:
    stack = stacks.open_stack(source.uri)
    notes = _not_for_this(source, "a local file", resolution=source.resolution)
    if source.cutout_xyz is None:
        wanted = _to_the_end(stack.shape, source.origin_xyz)
    else:
        wanted = _zyx(source.cutout_xyz)
    shape = tuple(min(pair) for pair in zip(wanted, stack.shape, strict=True))
    if shape != wanted:
        notes += (f"the stack is smaller than the cutout, which became {_xyz(shape)} (X Y Z)",)
    origin = _corner(source, stack.shape, shape)
    return _plan(
        source,
        uri=stack.uri,
        voxel_size=stack.voxel_size,
        source_shape=stack.shape,
        origin=origin,
        shape=shape,
        resolution=None,
        notes=notes,
        rescale=True,
        _read=lambda progress: (stack.read(origin, shape, progress), None),
    )


def _plan_phantom(source: Source) -> CutoutPlan:
    from connectome.phantom import (
        check_phantom,
        make_phantom,
        parse_phantom_uri,
        phantom_uri,
    )

    seed, voxel_size = parse_phantom_uri(source.uri, source.seed)
    voxel_size = source.voxel_size or voxel_size
    shape = _zyx(source.cutout_xyz or DEFAULT_CUTOUT)
    check_phantom(shape, voxel_size)

    def read(progress: Progress) -> Contents:
        phantom = make_phantom(shape, seed, voxel_size)
        progress(shape[0])
        return phantom.volume.data, phantom.ground_truth

    return _plan(
        source,
        uri=phantom_uri(seed, voxel_size),
        voxel_size=voxel_size,
        source_shape=shape,
        origin=(0, 0, 0),
        shape=shape,
        resolution=None,
        notes=_not_for_this(
            source, "the phantom", resolution=source.resolution, origin=source.origin_xyz
        ),
        rescale=False,
        _read=read,
    )


def _plan(source: Source, *, voxel_size, notes, **rest) -> CutoutPlan:
    """Complete a plan with what holds for every source."""
    size = source.voxel_size or voxel_size
    if size is None:
        raise UsageError(
            f"{source.uri} does not say how large its voxels are",
            "guessing would falsify every length, so nothing was read",
            "--voxel_size Z Y X in nm, for example --voxel_size 30 8 8",
        )
    if voxel_size is not None and not np.allclose(size, voxel_size):
        notes += (f"voxel size {_nm(size)} as asked; the source says {_nm(voxel_size)}",)
    low, high = VOXEL_SIZE_RANGE_NM
    if not all(low <= length <= high for length in size):
        raise UsageError(
            f"voxels of {_nm(size)} are not those of electron microscopy",
            "every length would be wrong, so nothing was read",
            "--voxel_size Z Y X in nm (not in µm), for example --voxel_size 30 8 8",
        )
    plan = CutoutPlan(voxel_size=size, notes=notes, **rest)
    _, height, width = plan.field_of_view_um
    if min(height, width) < MIN_FIELD_UM:
        small = f"the field of view is only {width:.2f} by {height:.2f} µm: few neurites fit in"
        plan = replace(plan, notes=(*notes, small))
    return plan


def _not_for_this(source: Source, what: str, **flags) -> tuple[str, ...]:
    """Return a note for each flag that was given but means nothing to a source."""
    given = [name for name, value in flags.items() if value is not None]
    return tuple(f"--{name} means nothing to {what} and was ignored" for name in given)


# --- which voxels -------------------------------------------------------------------------------


def _zyx(xyz: Triple) -> Triple:
    if min(xyz) < 1:
        raise UsageError(
            f"a cutout of {xyz} voxels is empty", "nothing to fetch", "--cutout 256 256 64"
        )
    return tuple(xyz[::-1])


def _xyz(zyx) -> str:
    return " ".join(str(n) for n in reversed(zyx))


def _nm(size) -> str:
    return " ".join(f"{length:g}" for length in size) + " nm (Z Y X)"


def _to_the_end(source_shape: Triple, origin_xyz: Triple | None) -> Triple:
    """Return the size of what lies beyond an origin; all when it lies outside."""
    z, y, x = (origin_xyz or (0, 0, 0))[::-1]
    return tuple(
        n - at if 0 <= at < n else n for n, at in zip(source_shape, (z, y, x), strict=True)
    )


def _corner(source: Source, source_shape: Triple, shape: Triple) -> Triple:
    """Return the corner asked for, or the seeded one; the cutout lies within the source."""
    if source.origin_xyz is None:
        origin = seeded_corner(source_shape, shape, source.seed)
    else:
        origin = tuple(source.origin_xyz[::-1])
    inside = (
        0 <= at <= whole - n for at, n, whole in zip(origin, shape, source_shape, strict=True)
    )
    if not all(inside):
        raise UsageError(
            f"a cutout of {_xyz(shape)} at {_xyz(origin)} (X Y Z) reaches outside {source.uri}",
            f"which is {_xyz(source_shape)} voxels there, counted from 0",
            "a smaller --cutout, or another --origin",
        )
    return origin


def seeded_corner(source_shape: Triple, shape: Triple, seed: int) -> Triple:
    """Return the corner of the published proof of concept: the centre, jittered by a seed.

    Parameters
    ----------
    source_shape, shape : tuple of int
        Size of the source and of the cutout, (Z, Y, X).
    seed : int
        The same seed gives the same corner.

    Returns
    -------
    tuple of int
        Corner, (z, y, x).
    """
    rng = np.random.default_rng(seed)
    corner = []
    # x first: the order of the draws is part of what the seed means.
    for whole, size in zip(source_shape[::-1], shape[::-1], strict=True):
        # Sources too thin to jitter have no range to draw from.
        jitter = (
            int(rng.integers(-whole * JITTER_FRACTION, whole * JITTER_FRACTION))
            if whole * JITTER_FRACTION >= 1
            else 0
        )
        corner.append(max(0, min(whole - size, whole // 2 - size // 2 + jitter)))
    return tuple(corner[::-1])
