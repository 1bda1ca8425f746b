"""Filter smooth fields at half the resolution, which is faster and as accurate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Gaussians of at least this width are computed at half the resolution.
MULTISCALE_MIN_SIGMA_PX = 4.0


def downsample(field: NDArray[np.float32], axes: Sequence[int]) -> NDArray[np.float32]:
    """Average pairs of neighbours along some axes. O(V) for V voxels.

    Parameters
    ----------
    field : ndarray of float32
        Values on a grid.
    axes : sequence of int
        Axes to downsample.

    Returns
    -------
    ndarray of float32
        Half as long along ``axes``, rounded up; an odd last value is kept as it is.
    """
    for axis in axes:
        along = np.moveaxis(field, axis, 0)
        half, other = along[::2].copy(), along[1::2]
        half[: len(other)] += other
        half[: len(other)] *= 0.5
        field = np.moveaxis(half, 0, axis)
    return field


def upsample(
    field: NDArray[np.float32], axes: Sequence[int], shape: Sequence[int]
) -> NDArray[np.float32]:
    """Interpolate a downsampled field linearly to its former resolution. O(V) for V voxels.

    Parameters
    ----------
    field : ndarray of float32
        Field at the resolution of `downsample`.
    axes : sequence of int
        Axes that were downsampled.
    shape : sequence of int
        Shape before downsampling.

    Returns
    -------
    ndarray of float32
        As long along ``axes`` as ``shape``.
    """
    for axis in reversed(axes):
        repeated = np.repeat(field, 2, axis)
        # Weights of 3/4 for the nearer sample and 1/4 for the other one.
        repeated = ndimage.correlate1d(repeated, [0.25, 0.5, 0.25], axis, mode="nearest")
        field = np.take(repeated, range(shape[axis]), axis) if shape[axis] % 2 else repeated
    return field


def downsampled_sigma(
    sigma: Sequence[float] | NDArray[np.float64], axes: Sequence[int]
) -> list[float]:
    """Return the sigma that, between `downsample` and `upsample`, smooths like ``sigma`` alone.

    Parameters
    ----------
    sigma : sequence of float
        Standard deviation along every axis, in voxels.
    axes : sequence of int
        Axes to downsample; ``sigma`` must be at least 1 there.

    Returns
    -------
    list of float
        Standard deviation along every axis, in voxels of the downsampled grid.
    """
    # Averaging two voxels and interpolating have variances of 1/4 and 3/4 voxels².
    return [
        float(np.sqrt(width * width - 1) / 2 if axis in axes else width)
        for axis, width in enumerate(sigma)
    ]


def smooth_multiscale(
    field: NDArray[np.float32], sigma: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float32]:
    """Smooth a section with a Gaussian, at the coarsest resolution that suffices.

    Parameters
    ----------
    field : ndarray of float32, shape (Y, X)
        Values on a grid.
    sigma : sequence of float
        Standard deviation along both axes, in pixels.

    Returns
    -------
    ndarray of float32, shape (Y, X)
        O(V) time for V pixels, independent of ``sigma``.
    """
    if min(sigma) < MULTISCALE_MIN_SIGMA_PX or min(field.shape) < 2:
        smoothed: NDArray[np.float32] = ndimage.gaussian_filter(field, sigma)
        return smoothed
    half = smooth_multiscale(downsample(field, (0, 1)), downsampled_sigma(sigma, (0, 1)))
    return upsample(half, (0, 1), field.shape)
