"""Pieces of neurites: a fine division of the tissue, before anything is joined."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage, sparse

from connectome.core.params import SegmentParams
from connectome.core.pyramid import downsample, downsampled_sigma, upsample
from connectome.core.region_adjacency import boundary_faces, neighbour_slices, pair_keys
from connectome.core.volume import has_thin_sections

LEAST_HALVED = 2.0  # width in voxels from which half the resolution will do
HEIGHTS = 2**27  # steps of height that are told apart, from 0 to 1


def segment_supervoxels(
    probability: np.ndarray,
    mask: np.ndarray,
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
    axes = (0, 1, 2) if has_thin_sections(voxel_size) else (1, 2)
    landscape = _landscape(probability, voxel_size, axes, params)
    landscape[~mask] = -1  # nobody climbs out of the tissue
    basins = _basins(landscape, mask, axes)
    return _without_noise(basins, landscape, axes, params.min_prominence)


def _landscape(probability, voxel_size, axes, params) -> np.ndarray:
    fine, coarse = (
        [width_nm / size * (axis in axes) for axis, size in enumerate(voxel_size)]
        for width_nm in (params.fine_nm, params.coarse_nm)
    )
    landscape = ndimage.gaussian_filter(probability, fine, output=np.float32)
    halves = [axis for axis in axes if coarse[axis] >= LEAST_HALVED]
    half = downsample(probability.astype(np.float32, copy=False), halves)
    half = ndimage.gaussian_filter(half, downsampled_sigma(coarse, halves))
    landscape += upsample(half, halves, probability.shape)
    return landscape / 2


def _basins(landscape: np.ndarray, tissue: np.ndarray, axes) -> np.ndarray:
    """Give every voxel the number of the summit it ends on; on a plateau each is a summit."""
    uphill = _uphill(landscape, axes)
    # Everybody takes the step of whoever they would step to, until all stand on a summit.
    while not np.array_equal(further := np.take(uphill, uphill), uphill):
        uphill = further
    summits = np.flatnonzero((uphill == np.arange(uphill.size)) & tissue.ravel())
    numbers = np.zeros(landscape.size, np.int32)
    numbers[summits] = np.arange(1, summits.size + 1)
    return np.where(tissue, np.take(numbers, uphill).reshape(landscape.shape), 0)


def _uphill(landscape: np.ndarray, axes) -> np.ndarray:
    """Tell every voxel the place of its highest neighbour, or its own on a summit."""
    # Height and direction are one number, so that one maximum finds both. Standing still is the
    # highest of directions: nobody steps to a neighbour of the same height.
    height = (landscape * np.float32(HEIGHTS)).astype(np.int32) << 3
    step = np.zeros(8, np.intp)
    direction = 7
    best = height | direction
    for axis in axes:
        stride = math.prod(landscape.shape[axis + 1 :])
        low, high = neighbour_slices(axis)
        for here, there, step_there in ((low, high, stride), (high, low, -stride)):
            direction -= 1
            step[direction] = step_there
            np.maximum(best[here], height[there] | direction, out=best[here])
    return step[best.ravel() & 7] + np.arange(landscape.size)


def _without_noise(basins, landscape, axes, least_prominence) -> np.ndarray:
    """Join basins over passes that lie hardly below the lower summit."""
    n = int(basins.max()) + 1
    summit = np.full(n, -np.inf, np.float32)
    np.maximum.at(summit, basins.ravel(), landscape.ravel())
    first, second, height = _passes(basins, landscape, axes, summit - least_prominence)
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


def _passes(basins, landscape, axes, least_height):
    """Find the highest pass between every two basins that touch, if it is high enough for one."""
    n = int(basins.max()) + 1
    keys, heights = [], []
    for axis in axes:
        a, b = boundary_faces(basins, axis)
        height = np.minimum(landscape.ravel()[a], landscape.ravel()[b])
        a, b = basins.ravel()[a], basins.ravel()[b]
        # Summits only rise when basins join, so that too deep a pass stays too deep.
        high = height >= np.minimum(least_height[a], least_height[b])
        keys.append(pair_keys(a[high], b[high], n))
        heights.append(height[high])
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
