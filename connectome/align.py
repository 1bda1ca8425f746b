"""Bring sections into register: translation by cross-correlation, section after section.

The sign, which is easy to get wrong: a shift (dy, dx) found here is the one to *apply*, so
``scipy.ndimage.shift(section, shift)`` is the aligned section.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from connectome.params import AlignParams
from connectome.progress import Progress, map_sections, map_stacks, silent
from connectome.volume import in_plane_px

# A section is damaged when it resembles its neighbours less than this share of what sections of
# this stack usually do, while they resemble each other across it: two steps, so the share squared.
DAMAGED_SIMILARITY = 0.6
# Sections that correlate less than this, as any do with noise, say nothing about their shift.
LEAST_FIT = 0.15
FINE = 20  # sub-pixel steps: a twentieth of a pixel


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where each section belongs.

    Parameters
    ----------
    shifts : ndarray of float, shape (Z, 2)
        Shift (dy, dx) in pixels to apply to each section; their mean is zero.
    confidence : ndarray of float, shape (Z,)
        Correlation of the aligned section with the sections it was placed by, 0 to 1; 0 where
        the section could not be placed by its own content.
    damaged : tuple of int
        Sections whose content fits neither neighbour, or that are blank; placed between their
        neighbours rather than by their content.
    """

    shifts: np.ndarray
    confidence: np.ndarray
    damaged: tuple[int, ...]


def estimate_alignment(
    sections: np.ndarray,
    voxel_size: tuple[float, float, float],
    blank: Sequence[int] = (),
    params: AlignParams | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> Alignment:
    """Find the translation that brings every section onto its neighbours.

    Each section is registered with the next by windowed cross-correlation (Guizar-Sicairos et
    al. 2008, as in scikit-image). Phase normalisation, that function's default, locks onto noise
    and knife marks in serial sections and ends tens of pixels off; plain correlation of smoothed
    sections does not. Damaged sections are bridged. The translation that fits two sections best
    includes how far their neurites lean on average, so a stack whose neurites all run obliquely
    is straightened. O(V log A) time for V voxels in sections of area A.

    Parameters
    ----------
    sections : ndarray, shape (Z, Y, X)
        Preprocessed EM in [0, 1]; 0 outside the tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    blank : sequence of int
        Sections known to hold nothing.
    params : AlignParams, optional
        How sections are smoothed before they are compared.
    threads : int
        Pairs of sections registered at a time.
    progress : callable
        Told of each registered pair.

    Returns
    -------
    Alignment
        Shifts, confidence and damaged sections.
    """
    params = params or AlignParams()
    smooth = [_smoothed(section, voxel_size, params) for section in sections]
    usable = [z for z in range(len(sections)) if z not in set(blank)]
    links = _links(smooth, list(pairwise(usable)), threads, progress)
    damaged = _damaged(smooth, usable, links, threads)
    usable = [z for z in usable if z not in damaged]
    bridges = [pair for pair in pairwise(usable) if pair not in links]
    links |= _links(smooth, bridges, threads, silent)
    return _chain(len(sections), usable, links)


def apply_shifts(
    sections: np.ndarray,
    shifts: np.ndarray,
    order: int = 3,
    threads: int = 1,
    progress: Progress = silent,
) -> np.ndarray:
    """Move every section by its shift.

    Parameters
    ----------
    sections : ndarray, shape (Z, Y, X)
        Images (``order`` 3) or labels (``order`` 0, nearest neighbour).
    shifts : ndarray of float, shape (Z, 2)
        (dy, dx) in pixels.
    order : int
        Spline order of `scipy.ndimage.shift`.
    threads : int
        Sections moved at a time.
    progress : callable
        Told of each moved section.

    Returns
    -------
    ndarray, shape (Z, Y, X)
        Same type as ``sections``; 0 where nothing was imaged. Splines overshoot at sharp edges,
        so images keep to the range they had.
    """
    low, high = sections.min(), sections.max()

    def moved(section, shift):
        if not np.any(shift):
            return section
        result = ndimage.shift(section, shift, order=order)
        return result if order == 0 else np.clip(result, min(low, 0), high)

    return map_stacks(
        moved, sections, np.asarray(shifts, float), threads=threads, progress=progress
    )


def carry_points(places: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Carry places (z, y, x) of the cutout as imaged through the shifts of their sections.

    Parameters
    ----------
    places : ndarray of float, shape (N, 3)
        Voxel coordinates; z may lie between sections.
    shifts : ndarray of float, shape (Z, 2)
        (dy, dx) in pixels.

    Returns
    -------
    ndarray of float, shape (N, 3)
        The same places in the aligned stack.
    """
    sections = np.arange(len(shifts))
    moved = np.array(places, float)
    for axis in (0, 1):
        moved[:, axis + 1] += np.interp(moved[:, 0], sections, shifts[:, axis])
    return moved


def simulated_shifts(n_sections: int, sigma_px: float, seed: int) -> np.ndarray:
    """Draw a random displacement (dy, dx) in pixels for every section, N(0, sigma)."""
    return np.random.default_rng(seed).normal(0.0, sigma_px, (n_sections, 2))


def _smoothed(section, voxel_size, params) -> np.ndarray:
    """Smooth the tissue by itself: black blurred into it would be registered with black."""
    sigma = in_plane_px(params.smoothing_nm, voxel_size)
    tissue = ndimage.gaussian_filter((section > 0).astype(np.float32), sigma)
    smooth = ndimage.gaussian_filter(section.astype(np.float32), sigma)
    # Black specks in the tissue are filled, while at its edge half the neighbourhood is tissue.
    return np.divide(smooth, tissue, out=np.zeros_like(smooth), where=tissue > 0.5)


def _links(smooth, pairs, threads, progress) -> dict[tuple[int, int], tuple[np.ndarray, float]]:
    """Register pairs of sections: the shift of the second onto the first, and how well it fits."""
    shape = smooth[0].shape
    # A narrow window is safest for the first, large step. It favours small shifts, though, so
    # the steps that follow see the sections in overlap, through a wider window.
    steps = [(_window(shape, 1.0), 1), (_window(shape, 0.5), FINE), (_window(shape, 0.5), FINE)]

    def register(pair):
        return _register(smooth[pair[0]], smooth[pair[1]], steps)

    return dict(zip(pairs, map_sections(register, pairs, threads, progress), strict=True))


def _window(shape: tuple[int, int], taper: float) -> np.ndarray:
    """Return a window that falls to almost nothing over the given share of each axis (Tukey)."""
    rows, columns = (
        np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)) / (taper * (n + 1) / 2) for n in shape
    )
    fall = [(1 - np.cos(np.pi * np.minimum(axis, 1))) / 2 for axis in (rows, columns)]
    return np.outer(*fall).astype(np.float32)


def _register(fixed, moving, steps) -> tuple[np.ndarray, float]:
    from skimage.registration import phase_cross_correlation

    shift = np.zeros(2)
    for window, upsample in steps:
        placed, overlap = _placed(fixed, moving, shift)
        a, b = (_standardised(image, overlap) * window for image in (fixed, placed))
        if not (a.any() and b.any()):
            return np.zeros(2), 0.0
        shift = (
            shift + phase_cross_correlation(a, b, upsample_factor=upsample, normalization=None)[0]
        )
    placed, overlap = _placed(fixed, moving, shift)
    a, b = (_standardised(image, overlap) for image in (fixed, placed))
    fit = float((a * b).sum() / max(overlap.sum(), 1))
    return (shift, fit) if fit >= LEAST_FIT else (np.zeros(2), 0.0)


def _placed(fixed, moving, shift) -> tuple[np.ndarray, np.ndarray]:
    """Shift the moving section; tell where both sections show tissue."""
    placed = ndimage.shift(moving, shift, order=1)
    return placed, (placed > 0) & (fixed > 0)


def _standardised(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Bring an image to mean 0 and variance 1 inside a mask, and to 0 outside."""
    values = image[inside]
    if values.size == 0 or np.ptp(values) == 0:
        return np.zeros_like(image)
    return np.where(inside, (image - values.mean()) / values.std(), 0).astype(np.float32)


def _damaged(smooth, usable, links, threads) -> set[int]:
    """Find the sections that resemble neither neighbour while these resemble each other."""
    usual = np.median([fit for _, fit in links.values()]) if links else 0.0
    poor = {pair for pair, (_, fit) in links.items() if fit < DAMAGED_SIMILARITY * usual}
    suspects = [
        (before, z, after)
        for before, z, after in zip(usable[:-2], usable[1:-1], usable[2:], strict=True)
        if (before, z) in poor and (z, after) in poor
    ]
    across = _links(smooth, [(before, after) for before, _, after in suspects], threads, silent)
    damaged = set()
    for before, z, after in suspects:
        through = max(links[before, z][1], links[z, after][1])
        if across[before, after][1] > max(through, DAMAGED_SIMILARITY**2 * usual):
            damaged.add(z)
    return damaged


def _chain(n_sections: int, usable: list[int], links) -> Alignment:
    """Add up the shifts along the stack; place what is not usable between its neighbours."""
    path = np.zeros((len(usable), 2))
    fits = np.zeros((len(usable), 2))  # with the section before, with the section after
    for i, pair in enumerate(pairwise(usable)):
        step, fit = links[pair]
        path[i + 1] = path[i] + step
        fits[i, 1] = fits[i + 1, 0] = fit
    shifts = np.zeros((n_sections, 2))
    confidence = np.zeros(n_sections)
    if usable:
        for axis in (0, 1):
            shifts[:, axis] = np.interp(np.arange(n_sections), usable, path[:, axis])
        shifts -= shifts.mean(axis=0)
        confidence[usable] = fits.max(axis=1)
    damaged = tuple(z for z in range(n_sections) if z not in set(usable))
    return Alignment(shifts, confidence, damaged)
