"""A stack of EM sections with its place in the world: voxel size, origin and source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from connectome.core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

THIN_SECTION_NM = 20.0  # about a membrane with its cleft


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D array and what its axes mean.

    Parameters
    ----------
    data : ndarray, shape (Z, Y, X)
        Image or labels; Z counts sections.
    voxel_size : tuple of float
        Size of a voxel in nm, in (z, y, x) order. Never assumed: a source that carries
        none must be told.
    origin : tuple of int
        Corner of ``data`` in voxels of the source, in (z, y, x) order.
    source : str
        URI or path the data came from.

    Raises
    ------
    DataError
        If ``data`` is not 3D, is empty, or a voxel size is not positive and finite.
    """

    data: np.ndarray
    voxel_size: tuple[float, float, float]
    origin: tuple[int, int, int] = (0, 0, 0)
    source: str = ""

    def __post_init__(self):
        if self.data.ndim != 3 or 0 in self.data.shape:
            raise DataError(
                f"expected a 3D stack (Z, Y, X) but got an array of shape {self.data.shape}",
                "sections, rows and columns cannot be told apart",
            )
        size = np.asarray(self.voxel_size, dtype=float)
        if size.shape != (3,) or not np.all(np.isfinite(size) & (size > 0)):
            raise DataError(
                f"voxel size {self.voxel_size!r} is not three positive lengths in nm (z, y, x)",
                "no distance or area could be trusted",
                "--voxel_size Z Y X, for example --voxel_size 30 8 8",
            )
        # Plain Python numbers: they go into JSON and SQLite as they are.
        object.__setattr__(self, "voxel_size", tuple(float(v) for v in size))
        object.__setattr__(self, "origin", tuple(int(v) for v in self.origin))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sections, rows and columns: (Z, Y, X)."""
        return self.data.shape

    @property
    def field_of_view_um(self) -> tuple[float, float, float]:
        """Extent in µm, in (z, y, x) order."""
        return tuple(n * v / 1000 for n, v in zip(self.shape, self.voxel_size, strict=True))

    def with_data(self, data: np.ndarray) -> Volume:
        """Return the same place in the world with other contents of the same shape."""
        if data.shape != self.shape:
            raise DataError(f"an array of shape {data.shape} cannot replace one of {self.shape}")
        return replace(self, data=data)


def in_plane_px(length_nm: float, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """Convert an in-plane length to pixels along y and x.

    Parameters
    ----------
    length_nm : float
        Length in nm.
    voxel_size : tuple of float
        Voxel size in nm, (z, y, x).

    Returns
    -------
    ndarray, shape (2,)
        The length in pixels along (y, x).
    """
    return length_nm / np.asarray(voxel_size[1:], dtype=float)


def has_thin_sections(voxel_size: tuple[float, float, float]) -> bool:
    """Tell whether a stack is to be looked at in 3D rather than section by section.

    Parameters
    ----------
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    bool
        True where sections are no thicker than `THIN_SECTION_NM`, so that a membrane spans several,
        and no thicker than two pixels are wide.
    """
    section, *pixel = voxel_size
    return bool(section <= min(THIN_SECTION_NM, 2 * min(pixel)))


def nearest_sound_sections(section: int, sound: Sequence[int]) -> tuple[int, int]:
    """Find the sound sections nearest to a damaged one, before and after it.

    Parameters
    ----------
    section : int
        The damaged section.
    sound : sequence of int
        Sections to choose from, at least one.

    Returns
    -------
    before, after : int
        Beyond an end of the stack, the only one there is, twice.
    """
    before = max((z for z in sound if z < section), default=None)
    after = min((z for z in sound if z > section), default=before)
    return (after if before is None else before), after


@dataclass(frozen=True, eq=False)
class Transforms:
    """How each section is moved from the cutout as imaged into the aligned stack.

    A point ``p`` = (y, x) of section ``z``, as imaged, lies at
    ``matrices[z] @ (p - centre) + centre + shifts[z]`` in the aligned section, where ``centre`` is
    ``((height - 1) / 2, (width - 1) / 2)``. A positive shift moves tissue towards larger y and x,
    as in `scipy.ndimage.shift`. All coordinates are in pixels and in (y, x) order.

    Parameters
    ----------
    shifts : ndarray of float, shape (Z, 2)
        Shift (dy, dx) of every section in pixels.
    matrices : ndarray of float, shape (Z, 2, 2), optional
        Linear part of the transform of every section; None where sections are only shifted.
    """

    shifts: NDArray[np.float64]
    matrices: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Ground truth of a cutout, drawn on the cutout as imaged (before alignment).

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X), optional
        Neurite ids; 0 is not scored.
    synapses : DataFrame, optional
        One row per synapse: ``z, y, x`` (voxels of the cutout as imaged), ``pre_id`` and
        ``post_ids`` (ids joined by ``;``).
    shifts : ndarray of float, shape (Z, 2), optional
        Shift (dy, dx) in pixels of every section such that
        ``scipy.ndimage.shift(section, shift)`` is where the tissue truly lay.
    """

    labels: np.ndarray | None = None
    synapses: pd.DataFrame | None = None
    shifts: np.ndarray | None = None
