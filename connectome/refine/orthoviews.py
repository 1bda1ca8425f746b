"""A stack seen as planes of one pixel size, across each axis along which it may be cut.

A network that learned at one pixel size can so look at any stack, and where sections are thin, at
its other two faces as well. Planes are resampled when they are looked at: a stack is never held
more than once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from connectome.core.volume import has_thin_sections

PIXEL_NM = 8.0
SIDE_MULTIPLE = 8  # sides of planes: a network that halves three times can take them

Window = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class View:
    """The planes across one axis.

    Parameters
    ----------
    axis : {0, 1, 2}
        Which axis of a stack counts planes.
    rows, columns : ndarray of float32, shapes (H, h) and (W, w)
        How much of each row and column of the stack goes into those of a plane.
    rows_back, columns_back : ndarray of float32, shapes (h, H) and (w, W)
        How much of each row and column of a plane goes into those of the stack.
    """

    axis: int
    rows: np.ndarray
    columns: np.ndarray
    rows_back: np.ndarray
    columns_back: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a plane, each a multiple of `SIDE_MULTIPLE`."""
        return len(self.rows), len(self.columns)

    def planes(self, stack: np.ndarray) -> np.ndarray:
        """Return the planes of a stack (Z, Y, X) as they are, (N, h, w); no copy."""
        return np.moveaxis(stack, self.axis, 0)

    def resample(self, plane: np.ndarray, window: Window) -> np.ndarray:
        """Resample a window of a plane.

        Parameters
        ----------
        plane : ndarray, shape (h, w)
            One of `planes`.
        window : tuple of slice
            Rows and columns of the resampled plane.

        Returns
        -------
        ndarray of float32
        """
        rows, seen_rows = _needed(self.rows[window[0]])
        columns, seen_columns = _needed(self.columns[window[1]])
        return rows @ plane[seen_rows, seen_columns].astype(np.float32) @ columns.T

    def resample_back(self, plane: np.ndarray) -> np.ndarray:
        """Resample a whole plane (H, W) to the stack's own pixels, (h, w)."""
        return self.rows_back @ plane @ self.columns_back.T


def orthogonal_views(
    shape: tuple[int, int, int], voxel_size: tuple[float, float, float]
) -> list[View]:
    """List the views of a stack: its sections, and the two other faces of thin ones.

    Parameters
    ----------
    shape : tuple of int
        (Z, Y, X).
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    list of View
        Sections first.
    """

    def view(axis):
        both_ways = [
            _both_ways(n, nm)
            for i, (n, nm) in enumerate(zip(shape, voxel_size, strict=True))
            if i != axis
        ]
        (rows, rows_back), (columns, columns_back) = both_ways
        return View(axis, rows, columns, rows_back, columns_back)

    return [view(axis) for axis in ((0, 1, 2) if has_thin_sections(voxel_size) else (0,))]


def _both_ways(n: int, nm: float) -> tuple[np.ndarray, np.ndarray]:
    """Weigh the pixels along an axis for those of a plane, and the other way round."""
    n_plane = max(1, round(n * nm / PIXEL_NM))
    padded = -(-n_plane // SIDE_MULTIPLE) * SIDE_MULTIPLE
    there, back = _resampling(n, n_plane), _resampling(n_plane, n)
    there = there[np.minimum(np.arange(padded), n_plane - 1)]  # the last pixel fills the rest
    return there, np.pad(back, ((0, 0), (0, padded - n_plane)))


def _resampling(n: int, n_new: int) -> np.ndarray:
    """Linear interpolation of n pixels to ``n_new``, averaging where these are coarser."""
    scale = n / n_new
    centre = (np.arange(n_new) + 0.5) * scale - 0.5
    # Between the outermost centres and the edge there is nothing to interpolate with.
    centre = np.clip(centre, 0, n - 1)
    distance = np.abs(np.arange(n) - centre[:, None]) / max(scale, 1)
    weights = np.maximum(1 - distance, 0).astype(np.float32)
    return weights / weights.sum(axis=1, keepdims=True)


def _needed(weights: np.ndarray) -> tuple[np.ndarray, slice]:
    """Cut weights to the pixels that count."""
    used = np.flatnonzero(weights.any(axis=0))
    seen = slice(int(used[0]), int(used[-1]) + 1)
    return weights[:, seen], seen
