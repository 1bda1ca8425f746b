"""How likely each voxel is the inside of a neurite, judged by the image alone, untrained.

The refiners make the same kind of map from a person's corrections; whichever made it, the road
from the map to neurites is the same.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from connectome.params import EvidenceParams
from connectome.progress import Progress, map_stacks, silent
from connectome.volume import in_plane_px


def neurite_probability(
    aligned: np.ndarray,
    tissue: np.ndarray,
    voxel_size: tuple[float, float, float],
    params: EvidenceParams | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> np.ndarray:
    """Rate how far each voxel is from looking like a membrane.

    A membrane is dark and, seen in a section, a line: the strongest curvature of the smoothed
    image across it, over several line widths (the larger eigenvalue of the Hessian, Lindeberg
    1998), plus plain darkness. Each section is judged by its own contrast: the share of voxels
    that falls below 0.5 is the same in all of them. O(V) time in voxels V.

    Parameters
    ----------
    aligned : ndarray of float, shape (Z, Y, X)
        Preprocessed and aligned EM in [0, 1].
    tissue : ndarray of bool, shape (Z, Y, X)
        Where ``aligned`` shows tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    params : EvidenceParams, optional
        Line widths in nm and the share of membrane.
    threads : int
        Sections worked on at a time.
    progress : callable
        Told of each finished section.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        1 well inside a neurite, 0 on a membrane and outside the tissue.
    """
    params = params or EvidenceParams()

    def one(section, inside):
        if not inside.any():
            return np.zeros(section.shape, np.float32)
        membrane = _membrane(section.astype(np.float32), inside, voxel_size, params)
        return _as_probability(membrane, inside, params.membrane_fraction)

    return map_stacks(one, aligned, tissue, threads=threads, progress=progress)


def _membrane(section, inside, voxel_size, params) -> np.ndarray:
    values = section[inside]
    image = np.where(inside, (section - values.mean()) / (values.std() + 1e-6), 0)
    ridge = np.zeros_like(image)
    for width in params.scales_nm:
        np.maximum(ridge, _curvature(image, in_plane_px(width, voxel_size)), out=ridge)
    darkness = -ndimage.gaussian_filter(image, in_plane_px(params.darkness_nm, voxel_size))
    return ridge + params.darkness_weight * darkness


def _curvature(image: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Larger eigenvalue of the scale-normalised Hessian: high across a dark line."""
    yy, yx, xx = (
        ndimage.gaussian_filter(image, sigma, order=order)
        * sigma[0] ** order[0]
        * sigma[1] ** order[1]
        for order in ((2, 0), (1, 1), (0, 2))
    )
    return (yy + xx) / 2 + np.sqrt(((yy - xx) / 2) ** 2 + yx**2)


def _as_probability(membrane, inside, membrane_fraction) -> np.ndarray:
    """Map evidence to [0, 1] so that the given share of the tissue falls below 0.5."""
    lower, middle, upper = np.quantile(
        membrane[inside], [0.25, 1 - membrane_fraction, 1 - membrane_fraction / 4]
    )
    scale = max(upper - lower, 1e-6) / 4
    probability = 1 / (1 + np.exp(np.clip((membrane - middle) / scale, -30, 30)))
    return np.where(inside, probability, 0).astype(np.float32)
