"""Where numbered regions touch: the pairs, and what their contacts are like."""

from __future__ import annotations

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
    place : ndarray of float, shape (E, 3)
        Mean (z, y, x) of the contact in voxels.
    """

    first: np.ndarray
    second: np.ndarray
    size: np.ndarray
    probability: np.ndarray
    place: np.ndarray

    @classmethod
    def joined(cls, parts: list[Contacts]) -> Contacts:
        """Return the rows of several tables as one table."""
        columns = (field.name for field in fields(cls))
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


def both_sides(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Index the lower and the upper voxel of every two neighbours along an axis of (Z, Y, X)."""
    before = (slice(None),) * axis
    return (*before, slice(None, -1)), (*before, slice(1, None))


def pair_keys(first: np.ndarray, second: np.ndarray, n_regions: int) -> np.ndarray:
    """Give every pair of regions one number, whichever comes first.

    ``divmod(key, n_regions)`` gives the pair back, the lower one first. Sorting numbers is sixty
    times faster than sorting rows.
    """
    lower, upper = np.minimum(first, second), np.maximum(first, second)
    return lower.astype(np.int64) * n_regions + upper


def touching(
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
    keys, darker, places = [], [], []
    for axis in axes:
        a, b = both_sides(axis)
        border = (labels[a] != labels[b]) & (labels[a] > 0) & (labels[b] > 0)
        keys.append(pair_keys(labels[a][border], labels[b][border], n_regions))
        # The darker side counts: a membrane may lie on either side of the border.
        darker.append(np.minimum(probability[a][border], probability[b][border]))
        half = 0.5 * (np.arange(3) == axis)
        places.append(np.argwhere(border) + half)
    return _summed(np.concatenate(keys), np.concatenate(darker), np.concatenate(places), n_regions)


def overlapping(
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
    both = (a > 0) & (b > 0) & (a != b)
    darker = np.minimum(probability[below][both], probability[above][both])
    at = np.argwhere(both)
    places = np.column_stack([np.full(len(at), (below + above) / 2), at])
    return _summed(pair_keys(a[both], b[both], n_regions), darker, places, n_regions)


def _summed(keys, darker, places, n_regions) -> Contacts:
    keys, which, size = np.unique(keys, return_inverse=True, return_counts=True)

    def mean(values):
        return np.bincount(which, values, minlength=keys.size) / size

    place = np.column_stack([mean(axis) for axis in places.T])
    return Contacts(*np.divmod(keys, n_regions), size, mean(darker), place)
