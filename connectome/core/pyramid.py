"""Half the resolution and back, for what is too smooth to need all of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

MULTISCALE_MIN_SIGMA_PX = 4.0  # Gaussians from this width on are as good at half the resolution


def downsample(field: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Average every two neighbours; an odd last one stands for itself. O(V) for V voxels.

    Parameters
    ----------
    field : ndarray of float32
        Anything sampled on a grid.
    axes : sequence of int
        Along which to halve.

    Returns
    -------
    ndarray of float32
        Half as long along ``axes``, rounded up.
    """
    for axis in axes:
        along = np.moveaxis(field, axis, 0)
        half, other = along[::2].copy(), along[1::2]
        half[: len(other)] += other
        half[: len(other)] *= 0.5
        field = np.moveaxis(half, 0, axis)
    return field


def upsample(field: np.ndarray, axes: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Undo `downsample`, linearly between the places it averaged over. O(V) for V voxels.

    Parameters
    ----------
    field : ndarray of float32
        What `downsample` returned, or was made of it.
    axes : sequence of int
        Along which it was halved.
    shape : sequence of int
        What it was halved from.

    Returns
    -------
    ndarray of float32
        As long along ``axes`` as ``shape``.
    """
    for axis in reversed(axes):
        twice = np.repeat(field, 2, axis)
        # Three parts of the nearer place and one of the other.
        twice = ndimage.correlate1d(twice, [0.25, 0.5, 0.25], axis, mode="nearest")
        field = np.take(twice, range(shape[axis]), axis) if shape[axis] % 2 else twice
    return field


def downsampled_sigma(sigma: Sequence[float], axes: Sequence[int]) -> list[float]:
    """Return the sigma that, between `downsample` and `upsample`, smooths like ``sigma`` alone.

    Parameters
    ----------
    sigma : sequence of float
        Standard deviation along every axis, in voxels.
    axes : sequence of int
        Along which to halve; sigma must be 1 or more there.

    Returns
    -------
    list of float
        Standard deviation along every axis, in voxels of the halved grid.
    """
    # Averaging two and interpolating between four have a variance of 1/4 and 3/4 voxels.
    return [
        float(np.sqrt(width * width - 1) / 2 if axis in axes else width)
        for axis, width in enumerate(sigma)
    ]


def smooth_multiscale(field: np.ndarray, sigma: Sequence[float]) -> np.ndarray:
    """Smooth a section by a wide Gaussian, at no finer resolution than that needs.

    Parameters
    ----------
    field : ndarray of float32, shape (Y, X)
        Anything sampled on a grid.
    sigma : sequence of float
        Standard deviation along both axes, in pixels.

    Returns
    -------
    ndarray of float32, shape (Y, X)
        O(V) time for V pixels, however wide the Gaussian is.
    """
    if min(sigma) < MULTISCALE_MIN_SIGMA_PX or min(field.shape) < 2:
        return ndimage.gaussian_filter(field, sigma)
    half = smooth_multiscale(downsample(field, (0, 1)), downsampled_sigma(sigma, (0, 1)))
    return upsample(half, (0, 1), field.shape)
