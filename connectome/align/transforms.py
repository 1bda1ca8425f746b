"""Apply transforms to sections and points, and simulate misalignment.

A shift (dy, dx) is the one to *apply*: ``scipy.ndimage.shift(section, shift)`` is the aligned
section. Where a section also has a matrix, the matrix is applied first, about the centre of the
section, and then the shift.

Within this package a transform of one section is a 3 × 3 matrix on (y, x, 1), in pixels from the
centre of the section. It maps a position in the moving section to its position in the fixed one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from connectome.core.progress import Progress, ignore_progress, map_stacks
from connectome.core.volume import Transforms


def apply_transforms(
    sections: np.ndarray,
    transforms: Transforms,
    *,
    order: int = 3,
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> np.ndarray:
    """Transform every section of a stack.

    Parameters
    ----------
    sections : ndarray, shape (Z, Y, X)
        Images (``order`` 3) or labels (``order`` 0, nearest neighbour).
    transforms : Transforms
        Shift, and optionally matrix, of every section.
    order : int
        Spline order of `scipy.ndimage.shift`.
    threads : int
        Sections processed in parallel.
    progress : callable
        Called with the number of sections just finished.

    Returns
    -------
    ndarray, shape (Z, Y, X)
        Same type as ``sections``; 0 where nothing was imaged. Images are clipped to their
        original range, because splines overshoot at sharp edges.
    """
    low, high = sections.min(), sections.max()

    def transform(
        section: np.ndarray, shift: np.ndarray, matrix: np.ndarray | None = None
    ) -> np.ndarray:
        if matrix is not None:
            result = warp_section(section, compose_transform(matrix, shift), order=order, cval=0.0)
        elif np.any(shift):
            result = ndimage.shift(section, shift, order=order)
        else:
            return section
        return result if order == 0 else np.clip(result, min(low, 0), high)

    per_section = [np.asarray(transforms.shifts, float)]
    if transforms.matrices is not None:
        per_section.append(np.asarray(transforms.matrices))
    return map_stacks(transform, sections, *per_section, threads=threads, progress=progress)


def transform_points(
    points: np.ndarray, transforms: Transforms, section_shape: tuple[int, int] | None = None
) -> np.ndarray:
    """Transform points of the cutout as imaged to the aligned stack.

    Parameters
    ----------
    points : ndarray of float, shape (N, 3)
        (z, y, x) in voxels. At a fractional z, the transforms of the two sections around it are
        interpolated.
    transforms : Transforms
        Shift, and optionally matrix, of every section.
    section_shape : tuple of int, optional
        (Y, X) of a section, about whose centre matrices act; required where there are any.

    Returns
    -------
    ndarray of float, shape (N, 3)
        (z, y, x) in voxels of the aligned stack.
    """
    sections = np.arange(len(transforms.shifts))
    result = np.array(points, float)

    def interpolate(values: np.ndarray) -> np.ndarray:
        return np.interp(result[:, 0], sections, values)

    if transforms.matrices is not None:
        centre = (np.array(section_shape) - 1) / 2
        matrices = [
            [interpolate(element) for element in row]
            for row in np.moveaxis(transforms.matrices, 0, 2)
        ]
        result[:, 1:] = np.einsum("ijn,nj->ni", matrices, result[:, 1:] - centre) + centre
    for axis in (0, 1):
        result[:, axis + 1] += interpolate(transforms.shifts[:, axis])
    return result


def simulate_shifts(n_sections: int, sigma_px: float, seed: int) -> np.ndarray:
    """Draw a random shift for every section.

    Parameters
    ----------
    n_sections : int
        Number of sections, Z.
    sigma_px : float
        Standard deviation along each axis in pixels.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    ndarray of float, shape (Z, 2)
        (dy, dx) in pixels, normally distributed.
    """
    return np.random.default_rng(seed).normal(0.0, sigma_px, (n_sections, 2))


# --- transforms of one section ------------------------------------------------------------------


def compose_transform(matrix: np.ndarray, shift: ArrayLike) -> np.ndarray:
    """Return the 3 × 3 transform that applies a matrix (2, 2), then a shift (dy, dx)."""
    result = np.eye(3)
    result[:2, :2], result[:2, 2] = matrix, shift
    return result


def rotation_matrix(angle: float) -> np.ndarray:
    """Return the matrix (2, 2) that rotates by an angle in radians, from y towards x."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def map_points(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Apply a 3 × 3 transform to points (N, 2) in pixels from the centre."""
    return points @ transform[:2, :2].T + transform[:2, 2]


def warp_section(
    section: np.ndarray, transform: np.ndarray, *, order: int, cval: float
) -> np.ndarray:
    """Resample a section (Y, X) through a 3 × 3 transform; ``cval`` where nothing was imaged."""
    inverse = np.linalg.inv(transform)
    centre = (np.asarray(section.shape) - 1) / 2
    offset = centre + inverse[:2, 2] - inverse[:2, :2] @ centre
    return ndimage.affine_transform(section, inverse[:2, :2], offset, order=order, cval=cval)
