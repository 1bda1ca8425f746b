"""Register pairs of sections by translation: to the pixel by correlation, then by gradients.

Sections are float32 and NaN outside their tissue: whatever is computed from what was not imaged
then shows it, and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# Sections torn far apart are looked for down to this share of overlap.
MIN_OVERLAP = 0.2
COARSE_SIDE_PX = 160  # px: a wide search sees sections at about this size
# A step is trusted no further than if this share of the sections' variation were common to both.
MIN_COMMON_VARIATION = 0.2


@dataclass(frozen=True, eq=False)
class PairShift:
    """How one section lies on another.

    Parameters
    ----------
    shift : ndarray, shape (2,)
        (dy, dx) in pixels to apply to the second section.
    fit : float
        Correlation of the two where they overlap, at most 1.
    turn : float
        Angle in radians by which the second is turned first, about the middle of the image, from
        y towards x; only `deformation.register_turned` looks for it.
    """

    shift: np.ndarray
    fit: float
    turn: float = 0.0


NOT_REGISTERED = PairShift(np.zeros(2), 0.0)


def smooth_tissue(section: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Smooth the tissue of a section by itself: black blurred into it would be registered.

    Parameters
    ----------
    section : ndarray, shape (Y, X)
        EM; 0 outside the tissue.
    sigma : ndarray, shape (2,)
        Width of the Gaussian in pixels along y and x.

    Returns
    -------
    ndarray of float32, shape (Y, X)
        NaN outside the tissue. Black specks within it are filled.
    """
    smooth = ndimage.gaussian_filter(section.astype(np.float32), sigma)
    if section.all():
        return smooth
    tissue = ndimage.gaussian_filter((section > 0).astype(np.float32), sigma)
    # At the edge of the tissue half the neighbourhood of a pixel is tissue.
    return np.divide(smooth, tissue, out=np.full_like(smooth, np.nan), where=tissue > 0.5)


def tukey_window(shape: tuple[int, int], taper: float) -> np.ndarray:
    """Return a window that falls to almost nothing over the given share of each axis (Tukey)."""
    rows, columns = (
        np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)) / (taper * (n + 1) / 2) for n in shape
    )
    fall = [(1 - np.cos(np.pi * np.minimum(axis, 1))) / 2 for axis in (rows, columns)]
    return np.outer(*fall).astype(np.float32)


def shift_section(section: np.ndarray, shift: np.ndarray, order: int = 1) -> np.ndarray:
    """Move a section; NaN where nothing was imaged."""
    if not np.any(shift):
        return section
    return ndimage.shift(section, shift, order=order, cval=np.nan)


def register_translation(fixed: np.ndarray, moving: np.ndarray) -> PairShift:
    """Find the whole-pixel translation of one section onto another.

    Windowed cross-correlation, as in scikit-image but without phase normalisation, which locks
    onto noise and knife marks. O(A log A) time for sections of area A.

    Parameters
    ----------
    fixed, moving : ndarray of float32, shape (Y, X)
        As from `smooth_tissue`.
    """
    # A narrow window is safest for the first, large step. It favours small shifts, though, so
    # the second step sees the sections in overlap, through a wider window.
    return _refine_by_pixels(fixed, moving, np.zeros(2), tapers=(1.0, 0.5))


def register_distant(fixed: np.ndarray, moving: np.ndarray) -> PairShift:
    """Find the whole-pixel translation of sections of which little overlaps.

    Masked normalised cross-correlation (Padfield 2012, as in scikit-image) does not favour small
    shifts as plain correlation does. It is slow, so it sees the sections reduced, and what it
    finds is then refined. O(A log A) time for sections of area A.

    Parameters
    ----------
    fixed, moving : ndarray of float32, shape (Y, X)
        As from `smooth_tissue`.
    """
    from skimage.registration import phase_cross_correlation

    every, *small = subsample(fixed, moving)
    masks = [np.isfinite(image) for image in small]
    seen = [
        np.where(mask, standardise(image, mask), 0)
        for image, mask in zip(small, masks, strict=True)
    ]
    if not all(image.any() for image in seen):
        return NOT_REGISTERED
    far, _, _ = phase_cross_correlation(
        *seen, reference_mask=masks[0], moving_mask=masks[1], overlap_ratio=MIN_OVERLAP
    )
    return _refine_by_pixels(fixed, moving, every * np.asarray(far, float), tapers=(0.5,))


def subsample(*sections: np.ndarray) -> tuple[int, ...]:
    """Return every how many pixels a quick look needs, and the sections with no more of them."""
    every = max(1, max(sections[0].shape) // COARSE_SIDE_PX)
    return every, *(section[::every, ::every] for section in sections)


def measure_residual(fixed: np.ndarray, placed: np.ndarray, window: np.ndarray) -> PairShift:
    """Find by how little a section misses another, and how well they fit.

    One Newton step up the windowed correlation. Lucas and Kanade (1981) divide by how much the
    sections vary; two that have only part of their content in common would then come together
    too slowly, so it is divided by how much they vary together. O(A) time for sections of area A.

    Parameters
    ----------
    fixed, placed : ndarray of float32, shape (Y, X)
        All but in register; NaN where nothing is known.
    window : ndarray of float32, shape (Y, X)
        How much each pixel counts.

    Returns
    -------
    Link
        A step of at most a pixel for the second section, and the fit before it.
    """
    if min(fixed.shape) < 2:  # no slope can be seen
        return NOT_REGISTERED
    known = np.isfinite(fixed) & np.isfinite(placed)
    a, b = (standardise(image, known * window) for image in (fixed, placed))
    slopes = [np.stack(np.gradient(image)) for image in (a, b)]
    # At the edge of what is known no slope is; at a gap of one pixel there is a slope, and no more.
    weight = window * known * np.isfinite(slopes[0] + slopes[1]).all(axis=0)
    a, b, slope_a, slope_b = (np.where(weight > 0, image, 0) for image in (a, b, *slopes))
    if not (a.any() and b.any()):
        return NOT_REGISTERED
    slope = (slope_a + slope_b) / 2
    varied = np.einsum("iyx,jyx,yx->ij", slope, slope, weight)
    together = np.einsum("iyx,iyx,yx->", slope_a, slope_b, weight) / np.trace(varied)
    pull = np.einsum("iyx,yx->i", slope, weight * (b - a))
    step = np.linalg.pinv(varied, rcond=1e-6) @ pull / max(together, MIN_COMMON_VARIATION)
    step /= max(1.0, np.hypot(*step))
    return PairShift(step, float((weight * a * b).sum() / weight.sum()))


def standardise(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Bring an image to mean 0 and variance 1 where it counts; to 0 if it is flat there."""
    counts = weight > 0
    values, weights = image[counts], weight[counts]
    if values.size == 0 or np.ptp(values) == 0:
        return np.zeros_like(image)
    mean = np.average(values, weights=weights)
    spread = np.sqrt(np.average((values - mean) ** 2, weights=weights))
    return ((image - mean) / spread).astype(np.float32)


def _refine_by_pixels(fixed, moving, shift, tapers) -> PairShift:
    """Improve a shift by whole pixels, through one window after another."""
    from skimage.registration import phase_cross_correlation

    for taper in tapers:
        a, b, both = _standardise_overlap(fixed, shift_section(moving, shift, order=0))
        if not (a.any() and b.any()):
            return NOT_REGISTERED
        window = tukey_window(fixed.shape, taper)
        shift = shift + phase_cross_correlation(a * window, b * window, normalization=None)[0]
    a, b, both = _standardise_overlap(fixed, shift_section(moving, shift, order=0))
    return PairShift(shift, float((a * b).sum() / max(both.sum(), 1)))


def _standardise_overlap(fixed, placed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standardise two sections where both show tissue, and tell where that is."""
    both = np.isfinite(fixed) & np.isfinite(placed)
    a, b = (np.where(both, standardise(image, both), 0) for image in (fixed, placed))
    return a, b, both
