"""Find segments enclosed by another: organelles and invaginations rather than neurites."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from connectome.core.region_adjacency import neighbour_slices


def find_enclosed(
    first: np.ndarray,
    second: np.ndarray,
    *,
    area: np.ndarray,
    probability: np.ndarray,
    volume: np.ndarray,
    open_area: np.ndarray,
    ends: np.ndarray,
    min_enclosure_at_end: float,
    min_enclosure_inside: float,
) -> np.ndarray:
    """Find segments that one larger segment encloses for the most part.

    A mitochondrion or a vacuole has a membrane of its own, so its boundary looks like that between
    two neurites, but little else surrounds it. A segment counts as enclosed if the fraction of its
    surface shared with one larger segment, plus half the mean neurite probability there, reaches a
    threshold: the more the boundary looks like cytoplasm, the less of the surface must be shared.
    The threshold is lower for segments that reach no end of the stack, as neurites do not end
    within a few µm. Segments that reach two opposite ends are never enclosed; this protects axons
    that a neighbour wraps. Takes O(E log E) time for E contacts.

    Parameters
    ----------
    first, second : ndarray of int, shape (E,)
        Segments in contact. Pairs may repeat and are then added up.
    area : ndarray of float, shape (E,)
        Area of every contact.
    probability : ndarray of float, shape (E,)
        Mean neurite probability at every contact.
    volume : ndarray of float, shape (N,)
        Volume of every segment; 0 for unused numbers.
    open_area : ndarray of float, shape (N,)
        Surface that faces no other segment, as `measure_open_surface` returns.
    ends : ndarray of bool, shape (3, 2, N)
        Ends of the stack that each segment reaches, as `find_ends_reached` returns.
    min_enclosure_at_end, min_enclosure_inside : float
        The threshold for segments that reach an end of the stack, and for those that reach none.
        The open surface counts as surface that is not shared.

    Returns
    -------
    ndarray of int, shape (J, 2)
        Outer and inner segment of each pair, the smallest inner segment first. The outer one is
        that of the highest score.
    """
    n = volume.size
    inner, outer = np.concatenate([first, second]), np.concatenate([second, first])
    keys, pair = np.unique(inner.astype(np.int64) * n + outer, return_inverse=True)
    shared_area = np.bincount(pair, np.tile(area, 2), minlength=keys.size)
    weighted = np.bincount(pair, np.tile(area * probability, 2), minlength=keys.size)
    inner, outer = np.divmod(keys, n)
    surface = np.bincount(inner, shared_area, minlength=n) + open_area
    score = shared_area / surface[inner] + weighted / shared_area / 2
    reaches_end = ends.any(axis=(0, 1))
    threshold = np.where(reaches_end, min_enclosure_at_end, min_enclosure_inside)[inner]
    crosses_stack = np.logical_or.reduce(ends[:, 0] & ends[:, 1])[inner]
    enclosed = (score >= threshold) & (volume[inner] < volume[outer]) & ~crosses_stack
    inner, outer, score = inner[enclosed], outer[enclosed], score[enclosed]
    order = np.lexsort((-score, inner))
    best = order[np.diff(inner[order], prepend=-1) > 0]
    best = best[np.argsort(volume[inner[best]], kind="stable")]
    return np.column_stack([outer[best], inner[best]])


def measure_open_surface(labels: np.ndarray, face_areas: np.ndarray, n_segments: int) -> np.ndarray:
    """Measure the surface of segments towards the background and the ends of the stack.

    Takes O(V) time for V voxels.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Segment ids below ``n_segments``; 0 is background.
    face_areas : ndarray of float, shape (3,)
        Area of a voxel's face perpendicular to each axis (z, y, x).
    n_segments : int
        One more than the largest possible id.

    Returns
    -------
    ndarray of float, shape (n_segments,)
        In the unit of ``face_areas``.
    """
    surface = np.zeros(n_segments)
    for axis, face_area in enumerate(face_areas):
        for at_end, at_background in _open_faces(labels, axis):
            for ids in (at_end, at_background):
                surface += face_area * np.bincount(ids.ravel(), minlength=n_segments)
    surface[0] = 0
    return surface


def find_ends_reached(labels: np.ndarray, n_segments: int) -> np.ndarray:
    """Find which segments reach which ends of the stack.

    Within sections, the stack also ends at the border of what was imaged. Between sections it does
    not: that border moves from section to section with the alignment, and a segment cut off by it
    has not reached an end. Takes O(V) time for V voxels.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Segment ids below ``n_segments``; 0 is background.
    n_segments : int
        One more than the largest possible id.

    Returns
    -------
    ndarray of bool, shape (3, 2, n_segments)
        For each axis (z, y, x), the lower and the upper end.
    """
    reached = np.zeros((3, 2, n_segments), bool)
    for axis in range(3):
        for side, (at_end, at_background) in enumerate(_open_faces(labels, axis)):
            reached[axis, side, at_end.ravel()] = True
            if axis > 0:
                reached[axis, side, at_background] = True
    reached[..., 0] = False
    return reached


def _open_faces(labels: np.ndarray, axis: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the ids at the end of the stack and those next to background, lower side first."""
    low, high = neighbour_slices(axis)
    before = (slice(None),) * axis
    for end, here, beyond in ((slice(None, 1), high, low), (slice(-1, None), low, high)):
        yield labels[(*before, end)], labels[here][labels[beyond] == 0]
