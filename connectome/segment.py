"""Pieces of neurite profiles: a fine division of each section."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from connectome.params import SegmentParams
from connectome.progress import Progress, map_stacks, silent
from connectome.volume import in_plane_px


def segment_sections(
    probability: np.ndarray,
    tissue: np.ndarray,
    voxel_size: tuple[float, float, float],
    params: SegmentParams | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> np.ndarray:
    """Divide each section into pieces, finely enough that hardly any spans two neurites.

    One seed per local maximum of the distance to the nearest membrane, grown by watershed
    (Beucher & Lantuéjoul 1979) over all tissue, membranes included: neighbouring pieces meet in
    mid-membrane. Large neurites come out in several pieces; stitching joins them.
    O(V log A) time for V voxels in sections of area A.

    Parameters
    ----------
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability in [0, 1]; below 0.5 is membrane.
    tissue : ndarray of bool, shape (Z, Y, X)
        What is to be divided up.
    voxel_size : tuple of float
        (z, y, x) in nm.
    params : SegmentParams, optional
        Distances in nm.
    threads : int
        Sections worked on at a time.
    progress : callable
        Told of each finished section.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Piece numbers, from 1 in every section anew; 0 outside the tissue.
    """
    params = params or SegmentParams()

    def one(section, inside):
        return _pieces(section, inside, voxel_size, params)

    return map_stacks(one, probability, tissue, threads=threads, progress=progress)


def _pieces(probability, inside, voxel_size, params) -> np.ndarray:
    from skimage.segmentation import watershed

    if not inside.any():
        return np.zeros(inside.shape, np.int32)
    seeds = _seeds(probability > 0.5, voxel_size, params)
    # A section without any clear interior is one piece rather than none.
    seeds = seeds if seeds.any() else inside.astype(np.int32)
    pieces = watershed(-probability, seeds, mask=inside)
    # Tissue cut off from every seed by black still needs an owner.
    orphans, _ = ndimage.label(inside & (pieces == 0))
    return np.where(orphans > 0, orphans + pieces.max(), pieces).astype(np.int32)


def _seeds(foreground, voxel_size, params) -> np.ndarray:
    """Mark and number the places furthest from membrane within the seed distance."""
    distance = ndimage.distance_transform_edt(foreground, sampling=voxel_size[1:])
    distance = ndimage.gaussian_filter(distance, in_plane_px(params.smoothing_nm, voxel_size))
    reach = 2 * in_plane_px(params.seed_distance_nm, voxel_size).round().astype(int) + 1
    peaks = (distance == ndimage.maximum_filter(distance, size=tuple(reach))) & (
        distance > params.least_radius_nm
    )
    return ndimage.label(peaks, np.ones((3, 3)))[0]
