"""Register pairs of sections by translation: to whole pixels by correlation, then by gradients.

Sections are float32 and NaN outside the tissue. NaN propagates through every computation, so that
pixels that depend on what was not imaged can be excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# The smallest fraction of overlap at which distant sections are searched.
MIN_OVERLAP = 0.2
# Coarse searches subsample sections to about this size in pixels.
COARSE_SIDE_PX = 160
# Lower bound of the variation that two sections share, as a fraction of their own: it bounds the
# length of a Newton step.
MIN_COMMON_VARIATION = 0.2


@dataclass(frozen=True, eq=False)
class PairShift:
    """Registration of one section onto another by translation.

    Parameters
    ----------
    shift : ndarray, shape (2,)
        (dy, dx) in pixels to apply to the second section.
    correlation : float
        Correlation of the two where they overlap, at most 1.
    angle : float
        Rotation of the second section before the shift, in radians about the centre of the image,
        from y towards x. Only `affine.register_rotation` searches for it.
    """

    shift: np.ndarray
    correlation: float
    angle: float = 0.0


NOT_REGISTERED = PairShift(np.zeros(2), 0.0)


def smooth_tissue(section: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Smooth a section without mixing the black background into the tissue.

    Background blurred into the tissue would be registered with it.

    Parameters
    ----------
    section : ndarray, shape (Y, X)
        EM; 0 outside the tissue.
    sigma : ndarray, shape (2,)
        Standard deviation of the Gaussian in pixels along y and x.

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
    """Return a Tukey window (Y, X) that tapers to nearly 0 over a fraction of each axis."""
    rows, columns = (
        np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)) / (taper * (n + 1) / 2) for n in shape
    )
    profiles = [(1 - np.cos(np.pi * np.minimum(axis, 1))) / 2 for axis in (rows, columns)]
    return np.outer(*profiles).astype(np.float32)


def shift_section(section: np.ndarray, shift: np.ndarray, order: int = 1) -> np.ndarray:
    """Shift a section (Y, X); NaN where nothing was imaged."""
    if not np.any(shift):
        return section
    return ndimage.shift(section, shift, order=order, cval=np.nan)


def register_translation(fixed: np.ndarray, moving: np.ndarray) -> PairShift:
    """Register two sections to whole pixels.

    Windowed cross-correlation as in scikit-image, but without phase normalisation, which locks
    onto noise and knife marks. O(A log A) time for sections of area A.

    Parameters
    ----------
    fixed, moving : ndarray of float32, shape (Y, X)
        Smoothed by `smooth_tissue`.

    Returns
    -------
    PairShift
    """
    # A narrow window is the most reliable one for a large first step, but it favours small
    # shifts. The second step uses a wider window on the overlap found by the first.
    return _refine_by_pixels(fixed, moving, np.zeros(2), tapers=(1.0, 0.5))


def register_distant(fixed: np.ndarray, moving: np.ndarray) -> PairShift:
    """Register two sections of which only a small part overlaps, to whole pixels.

    Masked normalised cross-correlation (Padfield 2012, as in scikit-image) does not favour small
    shifts as plain correlation does. It is slow, so it is applied to subsampled sections, and its
    result is refined at full resolution. O(A log A) time for sections of area A.

    Parameters
    ----------
    fixed, moving : ndarray of float32, shape (Y, X)
        Smoothed by `smooth_tissue`.

    Returns
    -------
    PairShift
    """
    from skimage.registration import phase_cross_correlation

    stride = coarse_stride(fixed.shape)
    coarse = [section[::stride, ::stride] for section in (fixed, moving)]
    masks = [np.isfinite(image) for image in coarse]
    standard = [
        np.where(mask, standardise(image, mask), 0)
        for image, mask in zip(coarse, masks, strict=True)
    ]
    if not all(image.any() for image in standard):
        return NOT_REGISTERED
    shift, _, _ = phase_cross_correlation(
        *standard, reference_mask=masks[0], moving_mask=masks[1], overlap_ratio=MIN_OVERLAP
    )
    return _refine_by_pixels(fixed, moving, stride * np.asarray(shift, float), tapers=(0.5,))


def coarse_stride(shape: tuple[int, ...]) -> int:
    """Return the subsampling stride of coarse searches in a section of a shape (Y, X)."""
    return max(1, max(shape) // COARSE_SIDE_PX)


def measure_residual(fixed: np.ndarray, moving: np.ndarray, window: np.ndarray) -> PairShift:
    """Measure the residual shift of two sections that are nearly in register.

    One Newton step up the windowed correlation. Lucas and Kanade (1981) divide by the variation of
    the sections. With sections that share only part of their content this converges too slowly, so
    the step is divided by the variation that they have in common. O(A) time for sections of area A.

    Parameters
    ----------
    fixed, moving : ndarray of float32, shape (Y, X)
        Nearly in register; NaN outside the tissue.
    window : ndarray of float32, shape (Y, X)
        Weight of each pixel.

    Returns
    -------
    PairShift
        A step of at most one pixel for the second section, and the correlation before it.
    """
    if min(fixed.shape) < 2:  # too small for a gradient
        return NOT_REGISTERED
    valid = np.isfinite(fixed) & np.isfinite(moving)
    a, b = (standardise(image, valid * window) for image in (fixed, moving))
    gradients = [np.stack(np.gradient(image)) for image in (a, b)]
    # Gradients are NaN beside invalid pixels. At a gap of one pixel the central difference is
    # finite, but the pixel itself is not.
    weight = window * valid * np.isfinite(gradients[0] + gradients[1]).all(axis=0)
    a, b, gradient_a, gradient_b = (np.where(weight > 0, image, 0) for image in (a, b, *gradients))
    if not (a.any() and b.any()):
        return NOT_REGISTERED
    gradient = (gradient_a + gradient_b) / 2
    hessian = np.einsum("iyx,jyx,yx->ij", gradient, gradient, weight)
    common = np.einsum("iyx,iyx,yx->", gradient_a, gradient_b, weight) / np.trace(hessian)
    ascent = np.einsum("iyx,yx->i", gradient, weight * (b - a))
    step = np.linalg.pinv(hessian, rcond=1e-6) @ ascent / max(common, MIN_COMMON_VARIATION)
    step /= max(1.0, np.hypot(*step))
    return PairShift(step, float((weight * a * b).sum() / weight.sum()))


def standardise(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Scale an image to weighted mean 0 and variance 1; return 0 where it is flat."""
    counted = weight > 0
    values, weights = image[counted], weight[counted]
    if values.size == 0 or np.ptp(values) == 0:
        return np.zeros_like(image)
    mean = np.average(values, weights=weights)
    deviation = np.sqrt(np.average((values - mean) ** 2, weights=weights))
    return ((image - mean) / deviation).astype(np.float32)


def _refine_by_pixels(
    fixed: np.ndarray, moving: np.ndarray, shift: np.ndarray, tapers: Sequence[float]
) -> PairShift:
    """Refine a shift by whole pixels, with one window after another."""
    from skimage.registration import phase_cross_correlation

    for taper in tapers:
        a, b, _ = _standardise_overlap(fixed, shift_section(moving, shift, order=0))
        if not (a.any() and b.any()):
            return NOT_REGISTERED
        window = tukey_window(fixed.shape, taper)
        shift = shift + phase_cross_correlation(a * window, b * window, normalization=None)[0]
    a, b, overlap = _standardise_overlap(fixed, shift_section(moving, shift, order=0))
    return PairShift(shift, float((a * b).sum() / max(overlap.sum(), 1)))


def _standardise_overlap(
    fixed: np.ndarray, moving: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return two sections standardised where both show tissue, and that overlap as a mask."""
    overlap = np.isfinite(fixed) & np.isfinite(moving)
    a, b = (np.where(overlap, standardise(image, overlap), 0) for image in (fixed, moving))
    return a, b, overlap
