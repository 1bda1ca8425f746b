"""Regions that lie within another: organelles and invaginations, not neurites of their own."""

from __future__ import annotations

import numpy as np

from connectome.contacts import both_sides


def enclosed(
    volume: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    contact: np.ndarray,
    open_area: np.ndarray,
    least_share: float,
) -> np.ndarray:
    """Find regions most of whose surface is contact with one larger region.

    A mitochondrion or a vacuole has membranes of its own, so no boundary speaks for joining it
    to its cell. But nothing else surrounds it. An axon that its neighbour wraps is surrounded,
    too; it is told apart by going on beyond the stack at both ends. O(E log E) time for E
    contacts.

    Parameters
    ----------
    volume : ndarray, shape (N,)
        Volume of every region; 0 where there is none.
    first, second : ndarray of int, shape (E,)
        Regions in contact; pairs may repeat and then add up.
    contact : ndarray of float, shape (E,)
        Area of every contact.
    open_area : ndarray of float, shape (3, 2, N)
        Area towards what was not imaged, below and above along each axis.
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
    surface = np.bincount(inner, area, minlength=n) + open_area.sum(axis=(0, 1))
    passes_through = (open_area > 0).all(axis=1).any(axis=0)
    within = (area >= least_share * surface[inner]) & (volume[inner] < volume[outer])
    within &= ~passes_through[inner]
    order = np.argsort(volume[inner[within]], kind="stable")
    return np.column_stack([outer[within], inner[within]])[order]


def open_faces(labels: np.ndarray, face_areas: np.ndarray, n_regions: int) -> np.ndarray:
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
    ndarray of float, shape (3, 2, n_regions)
        Below and above along each axis.
    """
    faces = np.zeros((3, 2, n_regions))
    for axis in range(3):
        low, high = both_sides(axis)
        before = (slice(None),) * axis
        sides = [(slice(None, 1), high, low), (slice(-1, None), low, high)]
        for side, (end, here, beyond) in enumerate(sides):
            open_here = labels[here][labels[beyond] == 0]
            for found in (labels[(*before, end)].ravel(), open_here):
                faces[axis, side] += np.bincount(found, minlength=n_regions)
    faces[..., 0] = 0
    return faces * np.asarray(face_areas)[:, None, None]
