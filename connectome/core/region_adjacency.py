"""Where numbered regions touch: the pairs, and what their contacts are like."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True, eq=False)
class Contacts:
    """One row for every two regions that touch.

    Parameters
    ----------
    first, second : ndarray of int, shape (E,)
        The two regions, the lower number first.
    size : ndarray of int, shape (E,)
        Pairs of voxels, one in each region, that touch.
    probability : ndarray of float, shape (E,)
        Mean neurite probability there, of the darker voxel of each pair.
    position : ndarray of float, shape (E, 3)
        Mean (z, y, x) of the contact in voxels.
    """

    first: np.ndarray
    second: np.ndarray
    size: np.ndarray
    probability: np.ndarray
    position: np.ndarray

    @classmethod
    def concatenate(cls, parts: list[Contacts]) -> Contacts:
        """Return the rows of several tables as one table."""
        columns = (field.name for field in fields(cls))
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


def neighbour_slices(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Index the lower and the upper voxel of every two neighbours along an axis of (Z, Y, X)."""
    before = (slice(None),) * axis
    return (*before, slice(None, -1)), (*before, slice(1, None))


def boundary_faces(labels: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the neighbours along an axis that belong to two regions.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Region numbers; 0 is no region.
    axis : int
        Axis along which they are neighbours.

    Returns
    -------
    lower, upper : ndarray of int, shape (B,)
        Places in ``labels.ravel()``.
    """
    low, high = neighbour_slices(axis)
    differ = np.zeros(labels.shape, bool)
    np.not_equal(labels[low], labels[high], out=differ[low])
    # Few voxels lie on a border: what comes after this costs little.
    lower = np.flatnonzero(differ)
    upper = lower + math.prod(labels.shape[axis + 1 :])
    flat = labels.ravel()
    regions = (flat[lower] > 0) & (flat[upper] > 0)
    return lower[regions], upper[regions]


def pair_keys(first: np.ndarray, second: np.ndarray, n_regions: int) -> np.ndarray:
    """Give every pair of regions one number, whichever comes first.

    ``divmod(key, n_regions)`` gives the pair back, the lower one first. Sorting numbers is sixty
    times faster than sorting rows.
    """
    lower, upper = np.minimum(first, second), np.maximum(first, second)
    return lower.astype(np.int64) * n_regions + upper


def face_contacts(
    labels: np.ndarray, probability: np.ndarray, axes: tuple[int, ...], n_regions: int
) -> Contacts:
    """Find where regions share faces of voxels.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Region numbers below ``n_regions``; 0 is no region.
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability.
    axes : tuple of int
        Axes across which faces count.
    n_regions : int
        One more than the highest number there may be.

    Returns
    -------
    Contacts
    """
    sides = [boundary_faces(labels, axis) for axis in axes]
    lower, upper = (np.concatenate(side) for side in zip(*sides, strict=True))
    return _summed(lower, upper, labels, probability, n_regions)


def section_overlaps(
    labels: np.ndarray, probability: np.ndarray, below: int, above: int, n_regions: int
) -> Contacts:
    """Find where regions of two sections lie on each other; a region on itself does not count.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Region numbers below ``n_regions``; 0 is no region.
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability.
    below, above : int
        The two sections; between them may be others that are damaged.
    n_regions : int
        One more than the highest number there may be.

    Returns
    -------
    Contacts
    """
    a, b = labels[below], labels[above]
    both = np.flatnonzero((a > 0) & (b > 0) & (a != b))
    return _summed(both + below * a.size, both + above * a.size, labels, probability, n_regions)


def _summed(lower, upper, labels, probability, n_regions) -> Contacts:
    """Sum up pairs of voxels, given by their places in ``labels.ravel()``."""
    keys = pair_keys(labels.ravel()[lower], labels.ravel()[upper], n_regions)
    start = _run_starts(keys, lower, upper, labels.shape[2])
    length = np.diff(start, append=keys.size)
    # The darker side counts: a membrane may lie on either side of the border.
    darker = np.minimum(probability.ravel()[lower], probability.ravel()[upper])
    darker = np.add.reduceat(darker, start, dtype=float)
    first = [np.unravel_index(side[start], labels.shape) for side in (lower, upper)]
    place = np.mean(first, axis=0)  # half-way between two voxels
    place[2] += (length - 1) / 2  # and in the middle of the run
    keys, which = np.unique(keys[start], return_inverse=True)

    def summed(values):
        return np.bincount(which, values, keys.size)

    size = summed(length)
    place = np.column_stack([summed(length * along) / size for along in place])
    return Contacts(*np.divmod(keys, n_regions), size.astype(int), summed(darker) / size, place)


def _run_starts(keys, lower, upper, row_length) -> np.ndarray:
    """Find where runs of pairs begin that go on along a row between the same two regions.

    Runs are a tenth as many as pairs, and whatever sorts takes longest.
    """
    goes_on = (keys[1:] == keys[:-1]) & (np.diff(lower) == 1) & (np.diff(upper) == 1)
    goes_on &= lower[1:] % row_length > 0
    return np.flatnonzero(~np.concatenate([np.zeros(min(keys.size, 1), bool), goes_on]))
