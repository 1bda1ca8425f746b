"""Denoise sections and even out their contrast; find what is not tissue."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from connectome.core.params import PreprocessParams
from connectome.core.progress import Progress, ignore_progress, map_stacks
from connectome.core.volume import in_plane_px

# A section with less tissue than this, or less contrast than this share of what sections of the
# stack usually have, holds nothing to see.
MIN_TISSUE_FRACTION = 0.05
MIN_RELATIVE_CONTRAST = 0.1


def find_tissue(sections: np.ndarray) -> np.ndarray:
    """Tell tissue from the black that surrounds it.

    Parameters
    ----------
    sections : ndarray of uint8, shape (Z, Y, X)
        EM as imaged.

    Returns
    -------
    ndarray of bool, shape (Z, Y, X)
        False where pure black reaches in from the edge of a section. Black specks in the tissue
        stay tissue, and so do single black pixels on the edge.
    """
    tissue = np.ones(sections.shape, bool)
    for section, inside in zip(sections, tissue, strict=True):
        # Opening drops specks; the padding is just wide enough to survive it, strips with it.
        black = np.pad(section == 0, 3, constant_values=True)
        black = ndimage.binary_opening(black, np.ones((3, 3)))
        pieces, _ = ndimage.label(black)
        inside[:] = (pieces != pieces[0, 0])[3:-3, 3:-3]
    return tissue


def find_blank_sections(sections: np.ndarray, tissue: np.ndarray) -> tuple[int, ...]:
    """List the sections that show nothing.

    Parameters
    ----------
    sections : ndarray of uint8, shape (Z, Y, X)
        EM as imaged.
    tissue : ndarray of bool, shape (Z, Y, X)
        As `find_tissue` returns.

    Returns
    -------
    tuple of int
        Sections nearly without tissue, or nearly without contrast.
    """
    pairs = list(zip(sections, tissue, strict=True))
    contrast = np.array([section[inside].std() if inside.any() else 0 for section, inside in pairs])
    empty = np.array([inside.mean() < MIN_TISSUE_FRACTION for inside in tissue])
    usual = np.median(contrast[~empty]) if not empty.all() else 0.0
    flat = contrast <= MIN_RELATIVE_CONTRAST * usual
    return tuple(np.flatnonzero(empty | flat).tolist())


def preprocess(
    sections: np.ndarray,
    tissue: np.ndarray,
    voxel_size: tuple[float, float, float],
    params: PreprocessParams | None = None,
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> np.ndarray:
    """Smooth each section and equalise its contrast locally.

    A Gaussian, then contrast-limited adaptive histogram equalisation (Zuiderveld 1994), as in
    the published pipeline but with lengths in nm. O(V) time in voxels V.

    Parameters
    ----------
    sections : ndarray of uint8, shape (Z, Y, X)
        EM as imaged.
    tissue : ndarray of bool, shape (Z, Y, X)
        As `find_tissue` returns; what lies outside does not count and becomes 0.
    voxel_size : tuple of float
        (z, y, x) in nm.
    params : PreprocessParams, optional
        Widths in nm.
    threads : int
        Sections worked on at a time.
    progress : callable
        Told of each finished section.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Values in [0, 1].
    """
    from skimage.exposure import equalize_adapthist

    params = params or PreprocessParams()
    sigma = in_plane_px(params.gaussian_sigma_nm, voxel_size)
    tile = np.maximum(in_plane_px(params.clahe_tile_nm, voxel_size).round().astype(int), 2)
    tile = np.minimum(tile, sections.shape[1:])

    def one(section, inside):
        if not inside.any() or np.ptp(section[inside]) == 0:
            return np.zeros(section.shape, np.float32)
        # Black surroundings would darken the edge of the tissue and stretch its histogram.
        filled = np.where(inside, section, np.median(section[inside])).astype(np.float32)
        smooth = ndimage.gaussian_filter(filled, sigma)
        smooth = (smooth - smooth.min()) / max(np.ptp(smooth), 1e-6)
        even = equalize_adapthist(smooth, kernel_size=tile, clip_limit=params.clahe_clip)
        return np.where(inside, np.clip(even, 0, 1), 0).astype(np.float32)

    return map_stacks(one, sections, tissue, threads=threads, progress=progress)
