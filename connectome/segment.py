"""Pieces of neurites: a fine division of the tissue, before anything is joined."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, sparse

from connectome.contacts import both_sides, pair_keys
from connectome.params import SegmentParams
from connectome.volume import thin_sections


def segment_stack(
    probability: np.ndarray,
    tissue: np.ndarray,
    voxel_size: tuple[float, float, float],
    params: SegmentParams | None = None,
) -> np.ndarray:
    """Divide the tissue into pieces, finely enough that hardly any spans two neurites.

    The probability, smoothed a little and a lot, is a landscape whose hills are the insides of
    neurites. Every voxel goes uphill to its steepest neighbour, and all that end on one summit
    are a basin (watershed by steepest descent, Meyer 1994, all voxels at once). Basins whose
    summit stands out too little from the pass to a higher neighbour are noise and join it
    (persistence, Edelsbrunner et al. 2002). Thin sections are divided in 3D, others one by one;
    membranes are divided up, too, and pieces meet in mid-membrane. O(V + P log P) time for V
    voxels and P touching pairs of basins.

    Parameters
    ----------
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability in [0, 1].
    tissue : ndarray of bool, shape (Z, Y, X)
        What is to be divided up.
    voxel_size : tuple of float
        (z, y, x) in nm.
    params : SegmentParams, optional
        Widths in nm, and how far a summit must stand out.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Piece numbers from 1, each one connected piece; 0 outside the tissue.
    """
    params = params or SegmentParams()
    axes = (0, 1, 2) if thin_sections(voxel_size) else (1, 2)
    landscape = _landscape(probability, voxel_size, axes, params)
    landscape[~tissue] = -1  # nobody climbs out of the tissue
    basins = _basins(landscape, tissue, axes)
    return _without_noise(basins, landscape, axes, params.least_prominence)


def _landscape(probability, voxel_size, axes, params) -> np.ndarray:
    def smooth(width_nm):
        sigma = [width_nm / size if axis in axes else 0 for axis, size in enumerate(voxel_size)]
        return ndimage.gaussian_filter(probability, sigma, output=np.float32)

    return (smooth(params.fine_nm) + smooth(params.coarse_nm)) / 2


def _basins(landscape: np.ndarray, tissue: np.ndarray, axes) -> np.ndarray:
    """Give every voxel the number of the summit it ends on; on a plateau each is a summit."""
    here = np.arange(landscape.size, dtype=np.int32).reshape(landscape.shape)
    highest, uphill = landscape.copy(), here.copy()
    for axis in axes:
        for low, high in (both_sides(axis), both_sides(axis)[::-1]):
            climbs = landscape[high] > highest[low]
            highest[low] = np.where(climbs, landscape[high], highest[low])
            uphill[low] = np.where(climbs, here[high], uphill[low])
    uphill = uphill.ravel()
    # Everybody takes the step of whoever they would step to, until all stand on a summit.
    while not np.array_equal(further := uphill[uphill], uphill):
        uphill = further
    summits = np.flatnonzero((uphill == here.ravel()) & tissue.ravel())
    numbers = np.zeros(landscape.size, np.int32)
    numbers[summits] = np.arange(1, summits.size + 1)
    return np.where(tissue, numbers[uphill].reshape(landscape.shape), 0)


def _without_noise(basins, landscape, axes, least_prominence) -> np.ndarray:
    """Join basins over passes that lie hardly below the lower summit."""
    first, second, height = _passes(basins, landscape, axes)
    n = int(basins.max()) + 1
    summit = np.full(n, -np.inf, np.float32)
    np.maximum.at(summit, basins.ravel(), landscape.ravel())
    # Plateaus can have as many summits as voxels; these join all at once.
    level = height >= np.minimum(summit[first], summit[second])
    graph = sparse.coo_matrix((level[level], (first[level], second[level])), (n, n))
    _, group = sparse.csgraph.connected_components(graph, directed=False)
    top = np.full(group.max() + 1, -np.inf, np.float32)
    np.maximum.at(top, group, summit)
    order = np.argsort(-height, kind="stable")
    joined = _join_by_prominence(
        top.tolist(), group[first][order], group[second][order], height[order], least_prominence
    )
    # Basin 0, outside the tissue, touches none: it is the first group, and stays 0.
    _, numbers = np.unique(joined[group], return_inverse=True)
    return numbers.astype(np.int32)[basins]


def _passes(basins, landscape, axes):
    """Find the highest pass between every two basins that touch."""
    n = int(basins.max()) + 1
    keys, heights = [], []
    for axis in axes:
        a, b = both_sides(axis)
        border = (basins[a] != basins[b]) & (basins[a] > 0) & (basins[b] > 0)
        keys.append(pair_keys(basins[a][border], basins[b][border], n))
        heights.append(np.minimum(landscape[a], landscape[b])[border])
    keys, which = np.unique(np.concatenate(keys), return_inverse=True)
    height = np.full(keys.size, -np.inf, np.float32)
    np.maximum.at(height, which, np.concatenate(heights))
    return *np.divmod(keys, n), height


def _join_by_prominence(top, first, second, height, least_prominence) -> np.ndarray:
    """Flood from the highest pass down; return for every group the one it ends in."""
    parent = list(range(len(top)))

    def root(group):
        while parent[group] != group:
            parent[group] = group = parent[parent[group]]
        return group

    for a, b, level in zip(first.tolist(), second.tolist(), height.tolist(), strict=True):
        a, b = root(a), root(b)
        higher, lower = (a, b) if top[a] >= top[b] else (b, a)
        if a != b and top[lower] - level < least_prominence:
            parent[lower] = higher
    return np.array([root(group) for group in range(len(top))])
