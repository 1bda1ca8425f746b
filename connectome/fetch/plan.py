"""Plans of cutouts, and the checks that apply to every source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from connectome.core.errors import UsageError
from connectome.core.params import DEFAULT_CUTOUT, Source
from connectome.core.progress import Progress
from connectome.core.volume import GroundTruth

MIN_FIELD_UM = 1.5
VOXEL_SIZE_RANGE_NM = (0.5, 1000.0)  # a generous range of voxel sizes in volume EM
JITTER_FRACTION = 0.05  # of the size of the source, to either side of its centre

Shape = tuple[int, int, int]
VoxelSize = tuple[float, float, float]
Contents = tuple[np.ndarray, GroundTruth | None]


@dataclass(frozen=True, eq=False)
class CutoutPlan:
    """The voxels to fetch, and what is known about them beforehand.

    Parameters
    ----------
    uri : str
        Complete URI of the source: with the mip for BossDB, with the array inside a file.
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
        Notes for the user.
    rescale : bool
        Whether the voxels will be mapped to 8 bits by percentiles.
    read : callable
        Reads the voxels and their ground truth, if any; takes a progress callback.
    """

    uri: str
    voxel_size: VoxelSize
    source_shape: Shape
    origin: Shape
    shape: Shape
    resolution: int | None
    notes: tuple[str, ...]
    rescale: bool
    read: Callable[[Progress], Contents] = field(repr=False)

    @property
    def steps(self) -> int:
        """Number of sections that `fetch_cutout` reports to its progress callback."""
        return self.shape[0]

    @property
    def field_of_view_um(self) -> VoxelSize:
        """Extent in µm, (z, y, x)."""
        z, y, x = (n * v / 1000 for n, v in zip(self.shape, self.voxel_size, strict=True))
        return z, y, x


def make_plan(
    source: Source,
    *,
    uri: str,
    voxel_size: VoxelSize | None,
    source_shape: Shape,
    origin: Shape,
    shape: Shape,
    rescale: bool,
    read: Callable[[Progress], Contents],
    resolution: int | None = None,
    notes: tuple[str, ...] = (),
) -> CutoutPlan:
    """Make a plan, checking the voxel size and the field of view.

    Parameters
    ----------
    source : Source
        The request, whose voxel size takes precedence.
    voxel_size : tuple of float or None
        (z, y, x) in nm as the source gives it; None where it gives none.
    uri, source_shape, origin, shape, rescale, read, resolution, notes
        As in `CutoutPlan`.

    Raises
    ------
    UsageError
        If the voxel size is unknown or out of range.
    """
    size = source.voxel_size or voxel_size
    if size is None:
        raise UsageError(
            f"{source.uri} does not contain a voxel size",
            "every length depends on it, so nothing was read",
            "--voxel_size Z Y X in nm, for example --voxel_size 30 8 8",
        )
    if voxel_size is not None and not np.allclose(size, voxel_size):
        given, own = format_nm(size), format_nm(voxel_size)
        notes += (f"using the requested voxel size, {given}; the source gives {own}",)
    low, high = VOXEL_SIZE_RANGE_NM
    if not all(low <= length <= high for length in size):
        raise UsageError(
            f"voxels of {format_nm(size)} are not those of electron microscopy",
            "every length would be wrong, so nothing was read",
            "--voxel_size Z Y X in nm (not in µm), for example --voxel_size 30 8 8",
        )
    plan = CutoutPlan(
        uri=uri,
        voxel_size=size,
        source_shape=source_shape,
        origin=origin,
        shape=shape,
        resolution=resolution,
        notes=notes,
        rescale=rescale,
        read=read,
    )
    _, height, width = plan.field_of_view_um
    if min(height, width) < MIN_FIELD_UM:
        small = f"the field of view is only {width:.2f} by {height:.2f} µm and shows few neurites"
        plan = replace(plan, notes=(*notes, small))
    return plan


def note_ignored_flags(target: str, **flags: object) -> tuple[str, ...]:
    """Return a note for each given flag (``name=value``), because it does not apply to a source."""
    given = [name for name, value in flags.items() if value is not None]
    return tuple(f"--{name} does not apply to {target} and is ignored" for name in given)


# --- position of the cutout ---------------------------------------------------------------------


def requested_shape(source: Source) -> Shape:
    """Return the requested shape (Z, Y, X), by default the published one.

    Raises
    ------
    UsageError
        If it is empty.
    """
    x, y, z = source.cutout_xyz or DEFAULT_CUTOUT
    if min(x, y, z) < 1:
        raise UsageError(
            f"a cutout of {x} x {y} x {z} voxels is empty",
            "there is nothing to fetch",
            "--cutout 256 256 64",
        )
    return z, y, x


def locate_cutout(source: Source, source_shape: Shape, shape: Shape) -> Shape:
    """Return the requested corner (z, y, x) of a cutout, or else the seeded one.

    Parameters
    ----------
    source : Source
        The request.
    source_shape, shape : tuple of int
        Shape of the source and of the cutout, (Z, Y, X).

    Raises
    ------
    UsageError
        If the cutout reaches outside the source.
    """
    if source.origin_xyz is None:
        origin = seeded_corner(source_shape, shape, source.seed)
    else:
        x, y, z = source.origin_xyz
        origin = z, y, x
    inside = (
        0 <= start <= whole - n for start, n, whole in zip(origin, shape, source_shape, strict=True)
    )
    if not all(inside):
        raise UsageError(
            f"a cutout of {format_xyz(shape)} at {format_xyz(origin)} (X Y Z) reaches outside "
            f"{source.uri}",
            f"which is {format_xyz(source_shape)} voxels, counted from 0",
            "a smaller --cutout, or another --origin",
        )
    return origin


def seeded_corner(source_shape: Shape, shape: Shape, seed: int) -> Shape:
    """Return the corner of the published proof of concept: the centre, jittered by a seed.

    Parameters
    ----------
    source_shape, shape : tuple of int
        Shape of the source and of the cutout, (Z, Y, X).
    seed : int
        Seed of the jitter.

    Returns
    -------
    tuple of int
        Corner, (z, y, x).
    """
    rng = np.random.default_rng(seed)
    corner = []
    # x first: the order of the draws determines which corner belongs to a seed.
    for whole, size in zip(source_shape[::-1], shape[::-1], strict=True):
        # Sources too thin to jitter have no range to draw from.
        jitter = 0
        if whole * JITTER_FRACTION >= 1:
            limit = whole * JITTER_FRACTION
            # Limits are floats in the proof of concept.
            jitter = int(rng.integers(-limit, limit))  # type: ignore[call-overload]
        corner.append(max(0, min(whole - size, whole // 2 - size // 2 + jitter)))
    x, y, z = corner
    return z, y, x


def format_xyz(zyx: Shape) -> str:
    """Format a (z, y, x) triple in the order of the flags."""
    return " ".join(str(n) for n in reversed(zyx))


def format_nm(voxel_size: VoxelSize) -> str:
    """Format a voxel size (z, y, x) in nm."""
    return " ".join(f"{length:g}" for length in voxel_size) + " nm (Z Y X)"
