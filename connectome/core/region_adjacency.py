"""Region adjacency: pairs of touching or overlapping regions, and measures of their contacts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]
Indices = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Contacts:
    """A table of contacts, one row per pair of regions.

    Parameters
    ----------
    first, second : ndarray of int, shape (E,)
        The two regions, the lower number first.
    size : ndarray of int, shape (E,)
        Number of pairs of touching voxels, one in each region.
    probability : ndarray of float, shape (E,)
        Mean neurite probability at the contact, taking the lower one of each pair of voxels.
    position : ndarray of float, shape (E, 3)
        Mean (z, y, x) of the contact in voxels.
    """

    first: NDArray[np.integer[Any]]
    second: NDArray[np.integer[Any]]
    size: NDArray[np.integer[Any]]
    probability: NDArray[np.floating[Any]]
    position: NDArray[np.floating[Any]]

    @classmethod
    def concatenate(cls, tables: Sequence[Contacts]) -> Contacts:
        """Return the rows of several tables as one table."""
        columns = (field.name for field in fields(cls))
        return cls(
            *(np.concatenate([getattr(table, name) for table in tables]) for name in columns)
        )


def neighbour_slices(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return slices of the lower and the upper voxels of all neighbours along an axis."""
    before = (slice(None),) * axis
    return (*before, slice(None, -1)), (*before, slice(1, None))


def boundary_faces(labels: Labels, axis: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find neighbours along an axis that belong to different regions.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Region numbers; 0 is background.
    axis : int
        Axis along which voxels are neighbours.

    Returns
    -------
    lower, upper : ndarray of int, shape (B,)
        Indices into ``labels.ravel()``.
    """
    low, high = neighbour_slices(axis)
    differ = np.zeros(labels.shape, bool)
    np.not_equal(labels[low], labels[high], out=differ[low])
    # Few voxels lie on a boundary, so the following steps are cheap.
    lower = np.flatnonzero(differ)
    upper = lower + math.prod(labels.shape[axis + 1 :])
    flat = labels.ravel()
    regions = (flat[lower] > 0) & (flat[upper] > 0)
    return lower[regions], upper[regions]


def pair_keys(first: Indices, second: Indices, n_regions: int) -> NDArray[np.int64]:
    """Return one number per unordered pair of regions.

    ``divmod(key, n_regions)`` returns the pair, the lower number first. Sorting these keys is 60
    times faster than sorting rows.
    """
    lower, upper = np.minimum(first, second), np.maximum(first, second)
    return lower.astype(np.int64) * n_regions + upper


def face_contacts(
    labels: Labels, probability: NDArray[np.floating[Any]], axes: Sequence[int], n_regions: int
) -> Contacts:
    """Measure the contacts of regions that share faces of voxels.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Region numbers below ``n_regions``; 0 is background.
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability.
    axes : sequence of int
        Axes perpendicular to the faces that count.
    n_regions : int
        One more than the highest region number.

    Returns
    -------
    Contacts
    """
    faces = [boundary_faces(labels, axis) for axis in axes]
    lower, upper = (np.concatenate(side) for side in zip(*faces, strict=True))
    return _sum_pairs(lower, upper, labels, probability, n_regions)


def section_overlaps(
    labels: Labels,
    probability: NDArray[np.floating[Any]],
    below: int,
    above: int,
    n_regions: int,
) -> Contacts:
    """Measure the overlaps of regions between two sections, except of a region with itself.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Region numbers below ``n_regions``; 0 is background.
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability.
    below, above : int
        The two sections; damaged sections may lie between them.
    n_regions : int
        One more than the highest region number.

    Returns
    -------
    Contacts
    """
    a, b = labels[below], labels[above]
    both = np.flatnonzero((a > 0) & (b > 0) & (a != b))
    return _sum_pairs(both + below * a.size, both + above * a.size, labels, probability, n_regions)


def _sum_pairs(
    lower: NDArray[np.intp],
    upper: NDArray[np.intp],
    labels: Labels,
    probability: NDArray[np.floating[Any]],
    n_regions: int,
) -> Contacts:
    """Sum over pairs of voxels, given by their indices into ``labels.ravel()``."""
    keys = pair_keys(labels.ravel()[lower], labels.ravel()[upper], n_regions)
    start = _run_starts(keys, lower, upper, labels.shape[2])
    length = np.diff(start, append=keys.size)
    # The lower probability counts, because a membrane may lie on either side of the boundary.
    lowest = np.minimum(probability.ravel()[lower], probability.ravel()[upper])
    lowest = np.add.reduceat(lowest, start, dtype=float)
    first_voxels = [np.unravel_index(side[start], labels.shape) for side in (lower, upper)]
    position = np.mean(first_voxels, axis=0)  # half-way between the two voxels of a pair
    position[2] += (length - 1) / 2  # and in the middle of the run
    keys, run_key = np.unique(keys[start], return_inverse=True)

    def total(values: NDArray[Any]) -> NDArray[Any]:
        return np.bincount(run_key, values, keys.size)

    size = total(length)
    position = np.column_stack([total(length * along) / size for along in position])
    first, second = np.divmod(keys, n_regions)
    return Contacts(first, second, size.astype(int), total(lowest) / size, position)


def _run_starts(
    keys: NDArray[np.int64], lower: NDArray[np.intp], upper: NDArray[np.intp], row_length: int
) -> NDArray[np.intp]:
    """Find the first pair of each run of pairs along a row between the same two regions.

    There are ten times fewer runs than pairs, and sorting takes most of the time.
    """
    continues = (keys[1:] == keys[:-1]) & (np.diff(lower) == 1) & (np.diff(upper) == 1)
    continues &= lower[1:] % row_length > 0
    return np.flatnonzero(~np.concatenate([np.zeros(min(keys.size, 1), bool), continues]))
