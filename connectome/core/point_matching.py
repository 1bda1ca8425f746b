"""Pairing places in the tissue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from connectome.core.volume import in_plane_px

SEARCH_RADIUS_NM = 150.0  # how far from a place a neurite is looked up


def match_positions(
    detected_nm: np.ndarray, true_nm: np.ndarray, max_distance_nm: float
) -> np.ndarray:
    """Pair found with true places one to one, no pair further apart than a limit.

    Parameters
    ----------
    found_nm, true_nm : ndarray of float, shape (N, 3) and (M, 3)
        Places in nm, (z, y, x).
    limit_nm : float
        Largest distance of a pair.

    Returns
    -------
    ndarray of int, shape (K, 2)
        Row numbers (found, true) of as many pairs as can be made, with the least total
        distance among those (Hungarian method).
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    if not len(detected_nm) or not len(true_nm):
        return np.empty((0, 2), dtype=int)
    distance = cdist(detected_nm, true_nm)
    # A pair too far apart costs more than any number of allowed ones could save.
    forbidden = max_distance_nm * (min(distance.shape) + 1)
    found, true = linear_sum_assignment(np.where(distance <= max_distance_nm, distance, forbidden))
    near = distance[found, true] <= max_distance_nm
    return np.column_stack([found[near], true[near]])


def find_corresponding_ids(
    neurites: Sequence[int],
    place: Sequence[float],
    labels: np.ndarray,
    others: np.ndarray,
    voxel_size: tuple[float, float, float],
) -> list[int]:
    """Name the neurites at a place as other labels do.

    Parameters
    ----------
    neurites : sequence of int
        Ids in ``labels``.
    place : sequence of float
        (z, y, x) in voxels.
    labels, others : ndarray of int, shape (Z, Y, X)
        The labels whose ids they are, and those whose ids are wanted.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    list of int
        For each the id in ``others`` that covers most of it within `SEARCH_RADIUS_NM`; 0 for none.
    """
    margin = np.concatenate([[1], np.ceil(in_plane_px(SEARCH_RADIUS_NM, voxel_size))]).astype(int)
    middle = np.rint(place).astype(int)
    box = tuple(slice(max(at - m, 0), at + m + 1) for at, m in zip(middle, margin, strict=True))
    here, there = labels[box], others[box]
    found = []
    for neurite in neurites:
        ids, count = np.unique(there[(here == neurite) & (there > 0)], return_counts=True)
        found.append(int(ids[count.argmax()]) if ids.size else 0)
    return found
