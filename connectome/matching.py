"""Pairing places in the tissue."""

from __future__ import annotations

import numpy as np


def match_points(found_nm: np.ndarray, true_nm: np.ndarray, limit_nm: float) -> np.ndarray:
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

    if not len(found_nm) or not len(true_nm):
        return np.empty((0, 2), dtype=int)
    distance = cdist(found_nm, true_nm)
    # A pair too far apart costs more than any number of allowed ones could save.
    forbidden = limit_nm * (min(distance.shape) + 1)
    found, true = linear_sum_assignment(np.where(distance <= limit_nm, distance, forbidden))
    near = distance[found, true] <= limit_nm
    return np.column_stack([found[near], true[near]])
