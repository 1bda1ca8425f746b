"""Regions that lie within another: organelles and invaginations, not neurites of their own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from connectome.core.region_adjacency import neighbour_slices


def find_enclosed(
    volume: np.ndarray,
    pairs: np.ndarray,
    contact: np.ndarray,
    probability: np.ndarray,
    open_area: np.ndarray,
    ends: np.ndarray,
    least: tuple[float, float],
) -> np.ndarray:
    """Find regions that one larger region surrounds for the most part.

    A mitochondrion or a vacuole has membranes of its own, so its boundary hardly speaks for joining
    it to its cell. But little else surrounds it. The more the boundary looks like cytoplasm, the
    less need be surrounded: what counts is the share of the surface plus half the probability. An
    axon that its neighbour wraps is surrounded, too; it is told apart by going on beyond the stack
    at both ends. What reaches no end at all need be surrounded least: neurites do not end within so
    few µm. O(E log E) time for E contacts.

    Parameters
    ----------
    volume : ndarray, shape (N,)
        Volume of every region; 0 where there is none.
    pairs : ndarray of int, shape (2, E)
        Regions in contact; pairs may repeat and then add up.
    contact, probability : ndarray of float, shape (E,)
        Area of every contact, and mean neurite probability there.
    open_area : ndarray of float, shape (N,)
        Area towards what was not imaged, as `measure_open_surface` returns.
    ends : ndarray of bool, shape (3, 2, N)
        Ends of the stack that regions reach, as `find_ends_reached` returns.
    least : tuple of float
        What share (of the surface, the open one included) and half the probability must add up to:
        for what reaches an end of the stack, and for what reaches none.

    Returns
    -------
    ndarray of int, shape (J, 2)
        The outer and the inner region of each join, the smallest inner region first.
    """
    n = volume.size
    inner, outer = np.concatenate([pairs, pairs[::-1]], axis=1)
    keys, which = np.unique(inner.astype(np.int64) * n + outer, return_inverse=True)
    area = np.bincount(which, np.tile(contact, 2), minlength=keys.size)
    bright = np.bincount(which, np.tile(contact * probability, 2), minlength=keys.size)
    inner, outer = np.divmod(keys, n)
    surface = np.bincount(inner, area, minlength=n) + open_area
    speaks = area / surface[inner] + bright / area / 2
    through = ends.all(axis=1).any(axis=0)
    needed = np.where(ends.any(axis=(0, 1)), *least)[inner]
    within = (speaks >= needed) & (volume[inner] < volume[outer]) & ~through[inner]
    inner, outer, speaks = inner[within], outer[within], speaks[within]
    best = np.lexsort((-speaks, inner))
    best = best[np.diff(inner[best], prepend=-1) > 0]
    best = best[np.argsort(volume[inner[best]], kind="stable")]
    return np.column_stack([outer[best], inner[best]])


def measure_open_surface(labels: np.ndarray, face_areas: np.ndarray, n_regions: int) -> np.ndarray:
    """Sum up the surface of regions towards no region and the ends of the stack. O(V) time.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Region numbers below ``n_regions``; 0 is no region.
    face_areas : ndarray of float, shape (3,)
        Area of a voxel's face across each axis.
    n_regions : int
        One more than the highest number there may be.

    Returns
    -------
    ndarray of float, shape (n_regions,)
    """
    surface = np.zeros(n_regions)
    for axis, face in enumerate(face_areas):
        for at_end, towards_none in _open_faces(labels, axis):
            for found in (at_end, towards_none):
                surface += face * np.bincount(found.ravel(), minlength=n_regions)
    surface[0] = 0
    return surface


def find_ends_reached(labels: np.ndarray, n_regions: int) -> np.ndarray:
    """Tell which regions reach which ends of the stack. O(V) time.

    Within sections a stack ends where nothing was imaged any more. That border moves with the
    alignment from section to section; what it cuts short between two of them reaches no end.

    Parameters
    ----------
    labels, n_regions
        As `measure_open_surface` takes them.

    Returns
    -------
    ndarray of bool, shape (3, 2, n_regions)
        Along each axis, the lower and the upper end.
    """
    reached = np.zeros((3, 2, n_regions), bool)
    for axis in range(3):
        for side, (at_end, towards_none) in enumerate(_open_faces(labels, axis)):
            reached[axis, side, at_end.ravel()] = True
            if axis > 0:
                reached[axis, side, towards_none] = True
    reached[..., 0] = False
    return reached


def _open_faces(labels: np.ndarray, axis: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, below and above, regions of the voxels at the end and of those beside none."""
    low, high = neighbour_slices(axis)
    before = (slice(None),) * axis
    for end, here, beyond in ((slice(None, 1), high, low), (slice(-1, None), low, high)):
        yield labels[(*before, end)], labels[here][labels[beyond] == 0]
