"""Volumes with their voxel size, origin and source; transforms and ground truth of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from connectome.core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

THIN_SECTION_NM = 20.0  # about the width of two membranes and the cleft between them


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D array with its voxel size and its position in the source.

    Parameters
    ----------
    data : ndarray, shape (Z, Y, X)
        Image or labels; Z counts sections.
    voxel_size : tuple of float
        (z, y, x) in nm. It has no default: where a source does not give it, the user must.
    origin : tuple of int
        Corner of ``data`` in voxels of the source, (z, y, x).
    source : str
        URI or path the data came from.

    Raises
    ------
    DataError
        If ``data`` is not 3D or is empty, or a voxel size is not positive and finite.
    """

    data: NDArray[Any]
    voxel_size: tuple[float, float, float]
    origin: tuple[int, int, int] = (0, 0, 0)
    source: str = ""

    def __post_init__(self) -> None:
        if self.data.ndim != 3 or 0 in self.data.shape:
            raise DataError(
                f"expected a 3D stack (Z, Y, X) but got an array of shape {self.data.shape}",
                "sections, rows and columns cannot be told apart",
            )
        size = np.asarray(self.voxel_size, dtype=float)
        if size.shape != (3,) or not np.all(np.isfinite(size) & (size > 0)):
            raise DataError(
                f"voxel size {self.voxel_size!r} is not three positive lengths in nm (z, y, x)",
                "all distances and areas would be wrong",
                "--voxel_size Z Y X, for example --voxel_size 30 8 8",
            )
        # Plain Python numbers can be written to JSON and SQLite.
        object.__setattr__(self, "voxel_size", tuple(float(v) for v in size))
        object.__setattr__(self, "origin", tuple(int(v) for v in self.origin))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sections, rows and columns: (Z, Y, X)."""
        n_sections, height, width = self.data.shape
        return n_sections, height, width

    @property
    def field_of_view_um(self) -> tuple[float, float, float]:
        """Extent in µm, (z, y, x)."""
        z, y, x = (n * v / 1000 for n, v in zip(self.shape, self.voxel_size, strict=True))
        return z, y, x

    def with_data(self, data: NDArray[Any]) -> Volume:
        """Return a volume with other data of the same shape, voxel size, origin and source."""
        if data.shape != self.shape:
            raise DataError(f"an array of shape {data.shape} cannot replace one of {self.shape}")
        return replace(self, data=data)


def in_plane_px(length_nm: float, voxel_size: tuple[float, float, float]) -> NDArray[np.float64]:
    """Convert a length in the plane of the sections to pixels along y and x.

    Parameters
    ----------
    length_nm : float
        Length in nm.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    ndarray, shape (2,)
        The length in pixels along (y, x).
    """
    return length_nm / np.asarray(voxel_size[1:], dtype=float)


def has_thin_sections(voxel_size: tuple[float, float, float]) -> bool:
    """Return whether a stack is to be processed in 3D rather than section by section.

    Parameters
    ----------
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    bool
        True if sections are at most `THIN_SECTION_NM` thick, so that a membrane spans several of
        them, and at most as thick as two pixels are wide.
    """
    section, *pixel = voxel_size
    return bool(section <= min(THIN_SECTION_NM, 2 * min(pixel)))


def nearest_sound_sections(section: int, sound: Sequence[int]) -> tuple[int, int]:
    """Return the sound sections nearest to a damaged one, before and after it.

    Parameters
    ----------
    section : int
        The damaged section.
    sound : sequence of int
        Sections to choose from; at least one, and not the damaged one.

    Returns
    -------
    before, after : int
        At an end of the stack, where there is only one, it is returned twice.
    """
    lower = [z for z in sound if z < section]
    upper = [z for z in sound if z > section]
    return max(lower) if lower else min(upper), min(upper) if upper else max(lower)


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
    """Ground truth of a stack; fields are None where none is available.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X), optional
        Neurite ids; voxels of id 0 are not evaluated.
    synapses : DataFrame, optional
        One row per synapse: ``z, y, x`` (voxels), ``pre_id`` and ``post_ids`` (see
        `connectome.core.synapse_table`).
    shifts : ndarray of float, shape (Z, 2), optional
        Shift (dy, dx) in pixels of every section that undoes its misalignment, as in `Transforms`.
    """

    labels: NDArray[np.int32] | None = None
    synapses: pd.DataFrame | None = None
    shifts: NDArray[np.float64] | None = None
