"""The published baseline: a watershed of each section, and profiles linked by overlap.

It reproduces the segmentation of the published proof of concept, for comparison. Membranes have no
id, a single bridge between two profiles merges their neurites, and a section without profiles ends
all neurites.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from connectome.core.params import WatershedParams
from connectome.core.progress import Progress, ignore_progress, map_stacks
from connectome.core.region_adjacency import pair_keys
from connectome.core.volume import in_plane_px


def segment_profiles(
    aligned: np.ndarray,
    mask: np.ndarray,
    voxel_size: tuple[float, float, float],
    params: WatershedParams | None = None,
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> np.ndarray:
    """Segment the bright profiles of each section.

    The foreground is the brighter part of the tissue, opened, without small objects. It is divided
    by a watershed (Beucher & Lantuéjoul 1979) of the Sobel gradient, seeded at the maxima of the
    distance transform. As published, except that lengths are in nm, black surroundings are not
    part of the tissue, and seeds may lie at the edge of a section. Takes O(V log A) time for V
    voxels in sections of area A.

    Parameters
    ----------
    aligned : ndarray of float, shape (Z, Y, X)
        Preprocessed and aligned EM in [0, 1].
    mask : ndarray of bool, shape (Z, Y, X)
        Voxels of ``aligned`` that show tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    params : WatershedParams, optional
        Lengths in nm, areas in nm².
    threads : int
        Sections processed at a time.
    progress : callable
        Called after each section with the number of sections finished, 1.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Profile numbers, consecutive from 1 within each section; 0 on membranes, on small objects
        and outside the mask.
    """
    params = params or WatershedParams()

    def segment_section(section: np.ndarray, section_mask: np.ndarray) -> np.ndarray:
        return _segment_section(section.astype(np.float32), section_mask, voxel_size, params)

    return map_stacks(segment_section, aligned, mask, threads=threads, progress=progress)


def link_profiles(
    profiles: np.ndarray,
    voxel_size: tuple[float, float, float],
    params: WatershedParams | None = None,
) -> np.ndarray:
    """Link profiles of adjacent sections that overlap enough.

    Neurites are the connected components of these links, as published. Takes O(V log V) time for V
    voxels.

    Parameters
    ----------
    profiles : ndarray of int32, shape (Z, Y, X)
        As `segment_profiles` returns.
    voxel_size : tuple of float
        (z, y, x) in nm.
    params : WatershedParams, optional
        Smallest overlap in nm².

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Neurite ids, consecutive from 1 in order of appearance; 0 where ``profiles`` is 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    params = params or WatershedParams()
    counts = profiles.max(axis=(1, 2))
    before = np.cumsum(counts) - counts
    unique = np.where(profiles > 0, profiles + before[:, None, None], 0)
    n = int(counts.sum()) + 1

    both = (unique[:-1] > 0) & (unique[1:] > 0)
    keys, overlap = np.unique(pair_keys(unique[:-1][both], unique[1:][both], n), return_counts=True)
    linked = overlap * np.prod(voxel_size[1:]) >= params.min_overlap_nm2
    first, second = np.divmod(keys[linked], n)
    graph = coo_array((np.ones(first.size, bool), (first, second)), shape=(n, n))
    # Background, profile 0, has no link and is the first component: it stays 0.
    _, component = connected_components(graph, directed=False)
    return component.astype(np.int32)[unique]


def _segment_section(
    section: np.ndarray,
    mask: np.ndarray,
    voxel_size: tuple[float, float, float],
    params: WatershedParams,
) -> np.ndarray:
    """Segment the profiles of one section (Y, X)."""
    from skimage.filters import sobel
    from skimage.segmentation import watershed

    foreground = _find_foreground(section, mask, voxel_size, params)
    seeds = _find_seeds(foreground, voxel_size, params)
    return watershed(sobel(section), seeds, mask=foreground).astype(np.int32)


def _find_foreground(
    section: np.ndarray,
    mask: np.ndarray,
    voxel_size: tuple[float, float, float],
    params: WatershedParams,
) -> np.ndarray:
    """Threshold a section at a quantile of its tissue; open the mask and remove small objects."""
    if not mask.any():
        return mask
    bright = mask & (section > np.quantile(section[mask], params.foreground_quantile))
    bright = ndimage.binary_opening(bright, _disk(params.opening_radius_nm, voxel_size))
    objects, _ = ndimage.label(bright)
    area_nm2 = np.bincount(objects.ravel()) * np.prod(voxel_size[1:])
    return bright & (area_nm2 >= params.min_area_nm2)[objects]


def _find_seeds(
    foreground: np.ndarray, voxel_size: tuple[float, float, float], params: WatershedParams
) -> np.ndarray:
    """Find the maxima of the distance transform, at least the seed distance apart."""
    from skimage.feature import peak_local_max

    distance = ndimage.distance_transform_edt(foreground, sampling=voxel_size[1:])
    radius = np.maximum(in_plane_px(params.min_seed_distance_nm, voxel_size).round().astype(int), 1)
    peaks = peak_local_max(
        distance,
        min_distance=int(radius.min()),
        footprint=np.ones(2 * radius + 1),
        labels=foreground.astype(np.int32),
        exclude_border=False,
    )
    seeds = np.zeros(foreground.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return seeds


def _disk(radius_nm: float, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """Return a disk as a mask, with a radius of at least one pixel, as noise is one pixel wide."""
    ry, rx = np.maximum(in_plane_px(radius_nm, voxel_size).round().astype(int), 1)
    y, x = np.mgrid[-ry : ry + 1, -rx : rx + 1]
    return (y / ry) ** 2 + (x / rx) ** 2 <= 1
