"""Regions that lie within another: organelles and invaginations, not neurites of their own."""

from __future__ import annotations

import numpy as np

from connectome.contacts import both_sides


def enclosed(
    volume: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    contact: np.ndarray,
    open_surface: np.ndarray,
    least_share: float,
) -> np.ndarray:
    """Find regions most of whose surface is contact with one larger region.

    A mitochondrion or a vacuole has membranes of its own, so no boundary speaks for joining it
    to its cell. But nothing else surrounds it. O(E log E) time for E contacts.

    Parameters
    ----------
    volume : ndarray, shape (N,)
        Volume of every region; 0 where there is none.
    first, second : ndarray of int, shape (E,)
        Regions in contact; pairs may repeat and then add up.
    contact : ndarray of float, shape (E,)
        Area of every contact.
    open_surface : ndarray of float, shape (N,)
        Area where a region ends at what was not imaged: what lies there is not known.
    least_share : float
        Share of the surface, the open one included, that one neighbour must have.

    Returns
    -------
    ndarray of int, shape (J, 2)
        The outer and the inner region of each join, the smallest inner region first.
    """
    n = volume.size
    inner, outer = np.concatenate([first, second]), np.concatenate([second, first])
    keys, which = np.unique(inner.astype(np.int64) * n + outer, return_inverse=True)
    area = np.bincount(which, np.tile(contact, 2), minlength=keys.size)
    inner, outer = np.divmod(keys, n)
    surface = np.bincount(inner, area, minlength=n) + open_surface
    within = (area >= least_share * surface[inner]) & (volume[inner] < volume[outer])
    order = np.argsort(volume[inner[within]], kind="stable")
    return np.column_stack([outer[within], inner[within]])[order]


def open_surfaces(labels: np.ndarray, face_areas: np.ndarray, n_regions: int) -> np.ndarray:
    """Sum up the surface of regions towards no region and towards the ends of the stack.

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
    total = np.zeros(n_regions)
    for axis, area in enumerate(face_areas):
        ends = [np.take(labels, end, axis).ravel() for end in (0, -1)]
        for a, b in (both_sides(axis), both_sides(axis)[::-1]):
            ends.append(labels[a][labels[b] == 0])
        total += area * sum(np.bincount(end, minlength=n_regions) for end in ends)
    total[0] = 0
    return total
