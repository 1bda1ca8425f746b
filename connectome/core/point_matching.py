"""Match positions and neurite ids between two annotations of the same tissue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.core.volume import in_plane_px

SEARCH_RADIUS_NM = 150.0  # in which corresponding neurites are looked up around a position


def match_positions(
    detected_nm: NDArray[np.floating[Any]],
    true_nm: NDArray[np.floating[Any]],
    max_distance_nm: float,
) -> NDArray[np.intp]:
    """Match detected to true positions one-to-one within a distance (Hungarian algorithm).

    Parameters
    ----------
    detected_nm, true_nm : ndarray of float, shape (N, 3) and (M, 3)
        Positions (z, y, x) in nm.
    max_distance_nm : float
        Largest distance of a match.

    Returns
    -------
    ndarray of int, shape (K, 2)
        Row numbers (detected, true) of the largest possible number of matches, with the smallest
        total distance among those.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    if not len(detected_nm) or not len(true_nm):
        return np.empty((0, 2), dtype=np.intp)
    distance = cdist(detected_nm, true_nm)
    # One pair beyond the limit costs more than any set of allowed pairs could save.
    forbidden = max_distance_nm * (min(distance.shape) + 1)
    costs = np.where(distance <= max_distance_nm, distance, forbidden)
    detected, true = linear_sum_assignment(costs)
    allowed = distance[detected, true] <= max_distance_nm
    return np.column_stack([detected[allowed], true[allowed]])


def find_corresponding_ids(
    neurites: Sequence[int],
    position: Sequence[float],
    labels: NDArray[np.integer[Any]],
    other_labels: NDArray[np.integer[Any]],
    voxel_size: tuple[float, float, float],
) -> list[int]:
    """Find the ids that neurites near a position have in other labels.

    Parameters
    ----------
    neurites : sequence of int
        Ids in ``labels``.
    position : sequence of float
        (z, y, x) in voxels.
    labels, other_labels : ndarray of int, shape (Z, Y, X)
        Labels with the given ids, and labels whose ids are wanted.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    list of int
        For each neurite, the id in ``other_labels`` that covers most of it within
        `SEARCH_RADIUS_NM` in plane and one section above and below; 0 if there is none.
    """
    margin = np.concatenate([[1], np.ceil(in_plane_px(SEARCH_RADIUS_NM, voxel_size))]).astype(int)
    centre = np.rint(position).astype(int)
    box = tuple(slice(max(c - m, 0), c + m + 1) for c, m in zip(centre, margin, strict=True))
    labels, other_labels = labels[box], other_labels[box]
    corresponding = []
    for neurite in neurites:
        overlapping = other_labels[(labels == neurite) & (other_labels > 0)]
        ids, counts = np.unique(overlapping, return_counts=True)
        corresponding.append(int(ids[counts.argmax()]) if ids.size else 0)
    return corresponding
