"""The published proof of concept's way to neurites: a watershed of each section, joined by overlap.

It is here as the baseline that agglomeration has to beat, and for comparison with published
results. Nothing in it weighs evidence: membranes belong to nobody, and one bridge between two
profiles makes one neurite of them. A section without profiles ends every neurite.
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
    """Outline the bright profiles of each section.

    The brighter part of the tissue, without specks and small objects, is divided by watershed
    (Beucher & Lantuéjoul 1979) on the Sobel gradient, from the peaks of the distance to what is
    dark. As published, except that lengths are in nm, black surroundings do not count, and
    seeds are allowed up to the rim of a section. O(V log A) time for V voxels in sections of
    area A.

    Parameters
    ----------
    aligned : ndarray of float, shape (Z, Y, X)
        Preprocessed and aligned EM in [0, 1].
    tissue : ndarray of bool, shape (Z, Y, X)
        Where ``aligned`` shows tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    params : WatershedParams, optional
        Lengths in nm, areas in nm².
    threads : int
        Sections worked on at a time.
    progress : callable
        Told of each finished section.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Profile numbers, from 1 in every section anew and without gaps; 0 on membranes, on
        objects too small and outside the tissue.
    """
    params = params or WatershedParams()

    def one(section, inside):
        return _profiles(section.astype(np.float32), inside, voxel_size, params)

    return map_stacks(one, aligned, mask, threads=threads, progress=progress)


def link_profiles(
    profiles: np.ndarray,
    voxel_size: tuple[float, float, float],
    params: WatershedParams | None = None,
) -> np.ndarray:
    """Give profiles of adjacent sections one id where they overlap enough.

    Overlaps are links, and a neurite is what hangs together by links (union-find), as published.
    O(V log V) time for V voxels.

    Parameters
    ----------
    profiles : ndarray of int32, shape (Z, Y, X)
        As `segment_profiles` returns.
    voxel_size : tuple of float
        (z, y, x) in nm.
    params : WatershedParams, optional
        The overlap that is enough, in nm².

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Neurite ids from 1, numbered without gaps in order of appearance; 0 where ``profiles``
        is 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    params = params or WatershedParams()
    counts = profiles.max(axis=(1, 2))
    before = np.cumsum(counts) - counts
    unique = np.where(profiles > 0, profiles + before[:, None, None], 0)
    size = int(counts.sum()) + 1  # 0 is nobody, and stays by itself

    both = (unique[:-1] > 0) & (unique[1:] > 0)
    keys, overlap = np.unique(
        pair_keys(unique[:-1][both], unique[1:][both], size), return_counts=True
    )
    enough = overlap * np.prod(voxel_size[1:]) >= params.min_overlap_nm2
    links = np.divmod(keys[enough], size)
    graph = coo_array((np.ones(enough.sum(), bool), links), shape=(size, size))
    _, body = connected_components(graph, directed=False)
    return body.astype(np.int32)[unique]


def _profiles(section, inside, voxel_size, params) -> np.ndarray:
    """Divide the bright part of one section."""
    from skimage.filters import sobel
    from skimage.segmentation import watershed

    mask = _bright(section, inside, voxel_size, params)
    return watershed(sobel(section), _seeds(mask, voxel_size, params), mask=mask).astype(np.int32)


def _bright(section, inside, voxel_size, params) -> np.ndarray:
    """Tell what is brighter than most of the tissue, without specks and small objects."""
    if not inside.any():
        return inside
    mask = inside & (section > np.quantile(section[inside], params.foreground_quantile))
    mask = ndimage.binary_opening(mask, _disk(params.opening_radius_nm, voxel_size))
    objects, _ = ndimage.label(mask)
    area_nm2 = np.bincount(objects.ravel()) * np.prod(voxel_size[1:])
    return mask & (area_nm2 >= params.min_area_nm2)[objects]


def _seeds(mask, voxel_size, params) -> np.ndarray:
    """Mark and number the places furthest from what is dark within the seed distance."""
    from skimage.feature import peak_local_max

    distance = ndimage.distance_transform_edt(mask, sampling=voxel_size[1:])
    reach = np.maximum(in_plane_px(params.min_seed_distance_nm, voxel_size).round().astype(int), 1)
    peaks = peak_local_max(
        distance,
        min_distance=int(reach.min()),
        footprint=np.ones(2 * reach + 1),
        labels=mask.astype(np.int32),
        exclude_border=False,
    )
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return seeds


def _disk(radius_nm: float, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """Return a disk as a mask, at least a pixel in radius: specks are a matter of pixels."""
    ry, rx = np.maximum(in_plane_px(radius_nm, voxel_size).round().astype(int), 1)
    y, x = np.mgrid[-ry : ry + 1, -rx : rx + 1]
    return (y / ry) ** 2 + (x / rx) ** 2 <= 1
