"""Supervoxels: an oversegmentation by watershed from persistent maxima."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage, sparse

from connectome.core.params import SegmentParams
from connectome.core.pyramid import downsample, downsampled_sigma, upsample
from connectome.core.region_adjacency import boundary_faces, neighbour_slices, pair_keys
from connectome.core.volume import has_thin_sections

MIN_DOWNSAMPLED_PX = 2.0  # Gaussians from this width on are computed at half the resolution
N_LEVELS = 2**27  # height levels between 0 and 1; with 3 bits of direction they fit into int32


def segment_supervoxels(
    probability: np.ndarray,
    mask: np.ndarray,
    voxel_size: tuple[float, float, float],
    params: SegmentParams | None = None,
) -> np.ndarray:
    """Segment the tissue so finely that hardly any supervoxel spans two neurites.

    Watershed by flooding from persistent maxima. The neurite probability is smoothed by a fine and
    a coarse Gaussian, and the mean of the two is taken as height. Each voxel is assigned to a local
    maximum by steepest ascent (Meyer 1994). Maxima with a prominence below ``min_prominence`` are
    merged with the higher maximum across the highest pass (persistence; Edelsbrunner et al. 2002).
    Thin sections are segmented in 3D, thick ones one by one. Membranes are assigned as well, so
    that supervoxels meet in the middle of a membrane. Takes O(V + P log P) time for V voxels and P
    pairs of adjacent basins.

    Parameters
    ----------
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability in [0, 1].
    mask : ndarray of bool, shape (Z, Y, X)
        Voxels to segment: the tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    params : SegmentParams, optional
        Widths in nm and the smallest prominence.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Supervoxel ids from 1, each a connected region; 0 outside the mask.
    """
    params = params or SegmentParams()
    axes = (0, 1, 2) if has_thin_sections(voxel_size) else (1, 2)
    height = _smooth(probability, voxel_size, axes, params)
    height[~mask] = -1  # below all of the tissue: no path of ascent crosses it
    basins = _find_basins(height, mask, axes)
    return _merge_shallow_maxima(basins, height, axes, params.min_prominence)


def _smooth(
    probability: np.ndarray,
    voxel_size: tuple[float, float, float],
    axes: Sequence[int],
    params: SegmentParams,
) -> np.ndarray:
    """Return the mean of the probability smoothed by a fine and by a coarse Gaussian."""
    fine, coarse = (
        [width_nm / size * (axis in axes) for axis, size in enumerate(voxel_size)]
        for width_nm in (params.fine_nm, params.coarse_nm)
    )
    height = ndimage.gaussian_filter(probability, fine, output=np.float32)
    halved_axes = [axis for axis in axes if coarse[axis] >= MIN_DOWNSAMPLED_PX]
    half = downsample(probability.astype(np.float32, copy=False), halved_axes)
    half = ndimage.gaussian_filter(half, downsampled_sigma(coarse, halved_axes))
    height += upsample(half, halved_axes, probability.shape)
    return height / 2


def _find_basins(height: np.ndarray, mask: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Assign each voxel to the local maximum it reaches by steepest ascent.

    On a plateau each voxel is a maximum; these are merged later.
    """
    uphill = _steepest_ascent(height, axes)
    # Pointer doubling: each step doubles the length of the path followed, for all voxels at once.
    while not np.array_equal(further := np.take(uphill, uphill), uphill):
        uphill = further
    maxima = np.flatnonzero((uphill == np.arange(uphill.size)) & mask.ravel())
    numbers = np.zeros(height.size, np.int32)
    numbers[maxima] = np.arange(1, maxima.size + 1)
    return np.where(mask, np.take(numbers, uphill).reshape(height.shape), 0)


def _steepest_ascent(height: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Return for every voxel the flat index of its highest neighbour, or its own at a maximum."""
    # Height and direction are packed into one integer, so that one maximum finds both. The voxel
    # itself has the highest direction code, so that no step leads to a neighbour of equal height.
    level = (height * np.float32(N_LEVELS)).astype(np.int32) << 3
    step = np.zeros(8, np.intp)
    direction = 7
    best = level | direction
    for axis in axes:
        stride = math.prod(height.shape[axis + 1 :])
        low, high = neighbour_slices(axis)
        for here, neighbour, index_step in ((low, high, stride), (high, low, -stride)):
            direction -= 1
            step[direction] = index_step
            np.maximum(best[here], level[neighbour] | direction, out=best[here])
    return step[best.ravel() & 7] + np.arange(height.size)


def _merge_shallow_maxima(
    basins: np.ndarray, height: np.ndarray, axes: Sequence[int], min_prominence: float
) -> np.ndarray:
    """Merge basins across passes that are hardly lower than the lower of the two maxima."""
    n = int(basins.max()) + 1
    summit = np.full(n, -np.inf, np.float32)
    np.maximum.at(summit, basins.ravel(), height.ravel())
    first, second, pass_height = _find_passes(basins, height, axes, summit - min_prominence)
    # A plateau can have as many maxima as voxels: those are merged all at once.
    level = pass_height >= np.minimum(summit[first], summit[second])
    graph = sparse.coo_matrix((level[level], (first[level], second[level])), (n, n))
    _, plateau = sparse.csgraph.connected_components(graph, directed=False)
    top = np.full(plateau.max() + 1, -np.inf, np.float32)
    np.maximum.at(top, plateau, summit)
    order = np.argsort(-pass_height, kind="stable")
    merged = _flood(
        top.tolist(),
        plateau[first][order],
        plateau[second][order],
        pass_height[order],
        min_prominence,
    )
    # Basin 0, outside the mask, has no pass to any other: it is the first group and stays 0.
    _, numbers = np.unique(merged[plateau], return_inverse=True)
    return numbers.astype(np.int32)[basins]


def _find_passes(
    basins: np.ndarray, height: np.ndarray, axes: Sequence[int], min_height: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the highest pass between every two adjacent basins.

    Returns
    -------
    first, second : ndarray of int, shape (P,)
        The two basins.
    pass_height : ndarray of float32, shape (P,)
        Height of the pass. Passes below the ``min_height`` of both basins are left out: maxima
        only become higher by merging, so that these passes are never used.
    """
    n = int(basins.max()) + 1
    keys, heights = [], []
    for axis in axes:
        lower, upper = boundary_faces(basins, axis)
        face_height = np.minimum(height.ravel()[lower], height.ravel()[upper])
        a, b = basins.ravel()[lower], basins.ravel()[upper]
        high = face_height >= np.minimum(min_height[a], min_height[b])
        keys.append(pair_keys(a[high], b[high], n))
        heights.append(face_height[high])
    unique_keys, pair = np.unique(np.concatenate(keys), return_inverse=True)
    pass_height = np.full(unique_keys.size, -np.inf, np.float32)
    np.maximum.at(pass_height, pair, np.concatenate(heights))
    first, second = np.divmod(unique_keys, n)
    return first, second, pass_height


def _flood(
    top: list[float],
    first: np.ndarray,
    second: np.ndarray,
    pass_height: np.ndarray,
    min_prominence: float,
) -> np.ndarray:
    """Merge groups of basins across passes, from the highest pass to the lowest.

    Returns
    -------
    ndarray of int
        For every group, the group of the highest maximum that it was merged into.
    """
    parent = list(range(len(top)))

    def root(group: int) -> int:
        while parent[group] != group:
            parent[group] = group = parent[parent[group]]
        return group

    passes = zip(first.tolist(), second.tolist(), pass_height.tolist(), strict=True)
    for a, b, height in passes:
        a, b = root(a), root(b)
        higher, lower = (a, b) if top[a] >= top[b] else (b, a)
        if a != b and top[lower] - height < min_prominence:
            parent[lower] = higher
    return np.array([root(group) for group in range(len(top))])
