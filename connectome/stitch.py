"""Neurites: profiles of neighbouring sections joined into 3D ids."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage

from connectome.params import StitchParams


def stitch_sections(
    profiles: np.ndarray, damaged: Sequence[int] = (), params: StitchParams | None = None
) -> np.ndarray:
    """Give profiles that continue each other from section to section one id.

    Two profiles are joined when their overlap is a large enough share of the smaller and not too
    small a share of the larger, or when each is the other's best partner. Shares, unlike the
    200 pixels of the published pipeline, mean the same at every pixel size and calibre. Damaged
    sections are skipped and filled from their neighbours afterwards. O(V + P log P) time for V
    voxels and P overlapping pairs.

    Parameters
    ----------
    profiles : ndarray of int32, shape (Z, Y, X)
        Profile numbers per section, as `connectome.segment.segment_sections` returns.
    damaged : sequence of int
        Sections whose profiles mean nothing.
    params : StitchParams, optional
        Shares of overlap.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Neurite ids from 1, numbered without gaps in order of appearance; 0 outside the tissue.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    params = params or StitchParams()
    usable = [z for z in range(len(profiles)) if z not in set(damaged)]
    if not usable:
        return np.zeros_like(profiles)
    unique = _numbered_through(profiles, usable)
    area = np.bincount(unique.ravel())
    joins = [_joins(unique[a], unique[b], area, params) for a, b in pairwise(usable)]
    first, second = np.concatenate([np.empty((2, 0), int), *joins], axis=1)
    graph = coo_array((np.ones(first.size, bool), (first, second)), shape=(area.size,) * 2)
    ids = connected_components(graph, directed=False)[1].astype(np.int32)
    # Background 0 joins nothing, so it is a component of its own, and the first one.
    return bridge_sections(ids[unique], damaged)


def bridge_sections(labels: np.ndarray, damaged: Sequence[int]) -> np.ndarray:
    """Fill damaged sections from the nearest sound ones.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids.
    damaged : sequence of int
        Sections to fill; at the ends of the stack they take their one neighbour's ids.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Ids that the sections before and after agree upon stay in place; the rest goes to the
        nearest of them.
    """
    filled = labels.copy()
    sound = [z for z in range(len(labels)) if z not in set(damaged)]
    for z in damaged if sound else ():
        before = labels[max((s for s in sound if s < z), default=sound[0])]
        after = labels[min((s for s in sound if s > z), default=sound[-1])]
        agreed = (before == after) & (before > 0)
        if agreed.any():
            nearest = ndimage.distance_transform_edt(
                ~agreed, return_distances=False, return_indices=True
            )
            filled[z] = np.where((before > 0) | (after > 0), before[tuple(nearest)], 0)
        else:
            filled[z] = before
    return filled


def _numbered_through(profiles: np.ndarray, usable: Sequence[int]) -> np.ndarray:
    """Make profile numbers unique over the whole stack; sections not usable become 0."""
    unique = np.zeros_like(profiles)
    last = 0
    for z in usable:
        unique[z] = np.where(profiles[z] > 0, profiles[z] + last, 0)
        last += int(profiles[z].max())
    return unique


def _joins(below, above, area, params) -> np.ndarray:
    """Pairs of profiles (2, N) of two sections that are the same neurite."""
    both = (below > 0) & (above > 0)
    # One flat key per pair: sorting pairs as rows is sixty times slower.
    keys, overlap = np.unique(
        below[both].astype(np.int64) * area.size + above[both], return_counts=True
    )
    first, second = np.divmod(keys, area.size)
    small = np.minimum(area[first], area[second])
    large = np.maximum(area[first], area[second])
    nested = (overlap >= params.least_of_smaller * small) & (
        overlap >= params.least_of_larger * large
    )
    mutual = _is_best(first, overlap) & _is_best(second, overlap)
    mutual &= overlap >= params.least_mutual * small
    return np.stack([first, second])[:, nested | mutual]


def _is_best(owner: np.ndarray, overlap: np.ndarray) -> np.ndarray:
    """Mark, for each owner, the pair with its largest overlap (the first of equals)."""
    order = np.lexsort((-overlap, owner))
    leads = np.ones(owner.size, bool)
    leads[1:] = owner[order][1:] != owner[order][:-1]
    best = np.zeros(owner.size, bool)
    best[order[leads]] = True
    return best
