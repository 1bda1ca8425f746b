"""Planes of a stack across each usable axis, resampled to one pixel size.

A network trained at one pixel size can thus be applied to any stack, and to thin sections across
all three axes. Planes are resampled when they are used, so that no resampled stack is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from connectome.core.volume import has_thin_sections

PIXEL_NM = 8.0
SIDE_MULTIPLE = 8  # sides of planes are multiples, for a network that downsamples three times

Window = tuple[slice, slice]
"""Rows and columns of a plane."""


@dataclass(frozen=True, eq=False)
class View:
    """The planes across one axis, and how to resample them.

    Planes of the stack have (h, w) pixels, resampled planes (H, W).

    Parameters
    ----------
    axis : {0, 1, 2}
        Axis of the stack that the planes are perpendicular to.
    row_weights, column_weights : ndarray of float32, shapes (H, h) and (W, w)
        Weights of the rows and columns of a plane in those of the resampled plane.
    inverse_row_weights, inverse_column_weights : ndarray of float32, shapes (h, H) and (w, W)
        Weights of the rows and columns of a resampled plane in those of the plane.
    """

    axis: int
    row_weights: np.ndarray
    column_weights: np.ndarray
    inverse_row_weights: np.ndarray
    inverse_column_weights: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a resampled plane, each a multiple of `SIDE_MULTIPLE`."""
        return len(self.row_weights), len(self.column_weights)

    def planes(self, stack: np.ndarray) -> np.ndarray:
        """Return the planes (N, h, w) of a stack (Z, Y, X), without copying or resampling."""
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
            Of the size of the window.
        """
        rows, used_rows = _crop_weights(self.row_weights[window[0]])
        columns, used_columns = _crop_weights(self.column_weights[window[1]])
        return rows @ plane[used_rows, used_columns].astype(np.float32) @ columns.T

    def resample_back(self, plane: np.ndarray) -> np.ndarray:
        """Resample a whole plane (H, W) to the pixels of the stack, (h, w)."""
        return self.inverse_row_weights @ plane @ self.inverse_column_weights.T


def orthogonal_views(shape: tuple[int, ...], voxel_size: tuple[float, float, float]) -> list[View]:
    """List the views of a stack: its sections, and the other two if sections are thin.

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

    def view(axis: int) -> View:
        row_axis, column_axis = (other for other in range(3) if other != axis)
        rows, inverse_rows = _resampling_weights(shape[row_axis], voxel_size[row_axis])
        columns, inverse_columns = _resampling_weights(shape[column_axis], voxel_size[column_axis])
        return View(axis, rows, columns, inverse_rows, inverse_columns)

    return [view(axis) for axis in ((0, 1, 2) if has_thin_sections(voxel_size) else (0,))]


def _resampling_weights(n: int, pixel_nm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights that resample an axis to `PIXEL_NM`, padded, and those that undo it."""
    n_plane = max(1, round(n * pixel_nm / PIXEL_NM))
    padded = -(-n_plane // SIDE_MULTIPLE) * SIDE_MULTIPLE
    weights, inverse = _interpolation_weights(n, n_plane), _interpolation_weights(n_plane, n)
    weights = weights[np.minimum(np.arange(padded), n_plane - 1)]  # the last pixel is repeated
    return weights, np.pad(inverse, ((0, 0), (0, padded - n_plane)))


def _interpolation_weights(n: int, n_new: int) -> np.ndarray:
    """Return weights (n_new, n) of linear interpolation, or of averaging to coarser pixels."""
    scale = n / n_new
    centre = (np.arange(n_new) + 0.5) * scale - 0.5
    # Beyond the outermost pixel centres there is nothing to interpolate with.
    centre = np.clip(centre, 0, n - 1)
    distance = np.abs(np.arange(n) - centre[:, None]) / max(scale, 1)
    weights = np.maximum(1 - distance, 0).astype(np.float32)
    return weights / weights.sum(axis=1, keepdims=True)


def _crop_weights(weights: np.ndarray) -> tuple[np.ndarray, slice]:
    """Crop weights to the columns that are not zero; return also where these are."""
    nonzero = np.flatnonzero(weights.any(axis=0))
    used = slice(int(nonzero[0]), int(nonzero[-1]) + 1)
    return weights[:, used], used
