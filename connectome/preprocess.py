"""Denoise sections, equalise their contrast locally, and find tissue and blank sections."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from connectome.core.params import PreprocessParams
from connectome.core.progress import Progress, ignore_progress, map_stacks
from connectome.core.volume import in_plane_px

# Sections with a smaller fraction of tissue, or with a lower contrast relative to the median of the
# stack, are blank.
MIN_TISSUE_FRACTION = 0.05
MIN_RELATIVE_CONTRAST = 0.1


def find_tissue(sections: np.ndarray) -> np.ndarray:
    """Return a mask of the tissue, excluding the black background around it.

    Parameters
    ----------
    sections : ndarray of uint8, shape (Z, Y, X)
        EM as imaged.

    Returns
    -------
    ndarray of bool, shape (Z, Y, X)
        False in regions of value 0 that are connected to the edge of the section. Black specks in
        the tissue count as tissue, and so do single black pixels on the edge.
    """
    tissue = np.ones(sections.shape, bool)
    for section, mask in zip(sections, tissue, strict=True):
        # Opening removes specks. The padding is just wide enough for strips along the edge to
        # survive it.
        black = np.pad(section == 0, 3, constant_values=True)
        black = ndimage.binary_opening(black, np.ones((3, 3)))
        components, _ = ndimage.label(black)
        mask[:] = (components != components[0, 0])[3:-3, 3:-3]
    return tissue


def find_blank_sections(sections: np.ndarray, tissue: np.ndarray) -> tuple[int, ...]:
    """Find sections without content.

    Parameters
    ----------
    sections : ndarray of uint8, shape (Z, Y, X)
        EM as imaged.
    tissue : ndarray of bool, shape (Z, Y, X)
        Mask from `find_tissue`.

    Returns
    -------
    tuple of int
        Sections with hardly any tissue or hardly any contrast.
    """
    pairs = list(zip(sections, tissue, strict=True))
    contrast = np.array([section[mask].std() if mask.any() else 0 for section, mask in pairs])
    empty = np.array([mask.mean() < MIN_TISSUE_FRACTION for mask in tissue])
    typical = np.median(contrast[~empty]) if not empty.all() else 0.0
    flat = contrast <= MIN_RELATIVE_CONTRAST * typical
    return tuple(np.flatnonzero(empty | flat).tolist())


def preprocess(
    sections: np.ndarray,
    tissue: np.ndarray,
    voxel_size: tuple[float, float, float],
    *,
    params: PreprocessParams | None = None,
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> np.ndarray:
    """Smooth each section and equalise its contrast locally.

    Gaussian smoothing, then contrast-limited adaptive histogram equalisation (CLAHE; Zuiderveld
    1994), as in the published pipeline but with lengths in nm. O(V) time for V voxels.

    Parameters
    ----------
    sections : ndarray of uint8, shape (Z, Y, X)
        EM as imaged.
    tissue : ndarray of bool, shape (Z, Y, X)
        Mask from `find_tissue`. Voxels outside are ignored and become 0.
    voxel_size : tuple of float
        (z, y, x) in nm.
    params : PreprocessParams, optional
        Width of the Gaussian and of the tiles in nm, and the clip limit.
    threads : int
        Sections processed in parallel.
    progress : callable
        Called with the number of sections just finished.

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

    def preprocess_section(section: np.ndarray, mask: np.ndarray) -> np.ndarray:
        if not mask.any() or np.ptp(section[mask]) == 0:
            return np.zeros(section.shape, np.float32)
        # Black background would darken the edge of the tissue and stretch its histogram.
        filled = np.where(mask, section, np.median(section[mask])).astype(np.float32)
        smooth = ndimage.gaussian_filter(filled, sigma)
        smooth = (smooth - smooth.min()) / max(np.ptp(smooth), 1e-6)
        equalised = equalize_adapthist(smooth, kernel_size=tile, clip_limit=params.clahe_clip)
        return np.where(mask, np.clip(equalised, 0, 1), 0).astype(np.float32)

    return map_stacks(preprocess_section, sections, tissue, threads=threads, progress=progress)
