"""Estimate the alignment of a stack: remove jitter of sections, keep drift of the tissue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from connectome.align import deformation
from connectome.align.affine import register_rotation
from connectome.align.chain import (
    MIN_RELATIVE_CORRELATION,
    Chain,
    link_sections,
    refine_path,
    register_pairs,
)
from connectome.align.drift import estimate_drift
from connectome.align.translation import PairShift, smooth_tissue
from connectome.core.params import AlignParams
from connectome.core.progress import Progress, ignore_progress, map_sections
from connectome.core.volume import Transforms, in_plane_px


@dataclass(frozen=True, eq=False)
class Alignment:
    """Transforms that align a stack, and how they were found.

    Parameters
    ----------
    transforms : Transforms
        Shift of each section, with mean 0 over the stack, and its matrix for a rigid or an affine
        model.
    confidence : ndarray of float, shape (Z,)
        Correlation of each aligned section with the better of its neighbours, 0 to 1; 0 where a
        section could not be registered.
    damaged_sections : tuple of int
        Sections that are blank or do not correlate with the sections around them. Their
        transforms are interpolated.
    drift : ndarray of float, shape (Z, 2)
        Slow drift (dy, dx) in pixels that was kept as tissue orientation, with mean 0. Shifting by
        ``transforms.shifts + drift`` would remove it, too. 0 where drift cannot be distinguished
        from jitter, and where ``transforms`` already remove it.
    rotated_sections : tuple of int
        Damaged sections that would correlate with the sections around them after a rotation. Only
        reported for the translation model.
    """

    transforms: Transforms
    confidence: np.ndarray
    damaged_sections: tuple[int, ...]
    drift: np.ndarray
    rotated_sections: tuple[int, ...] = ()


def estimate_alignment(
    sections: np.ndarray,
    voxel_size: tuple[float, float, float],
    *,
    blank_sections: Sequence[int] = (),
    params: AlignParams | None = None,
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> Alignment:
    """Estimate the transform that removes the jitter of every section.

    1. Each section is registered onto the previous one by cross-correlation, to whole pixels;
       damaged sections are bridged (`chain.link_sections`).
    2. All sections are placed along the sum of these steps, and the residuals are measured there
       to a fraction of a pixel (`chain.refine_path`).
    3. The path is separated into jitter, which is removed, and slow drift, which is kept as tissue
       orientation (`drift.estimate_drift`) unless ``params.straighten`` is set.

    For the rigid and affine models, sections are registered over a range of angles, and patches
    are matched between them (`affine`). The linear parts are chained along the stack and their
    slow part is kept (`deformation`); shifts are then refined as in step 2. The model "auto" takes
    rotations only if they leave less than 0.7 times the distance between matching patches that
    translation leaves, and affine maps only if they leave less than 0.7 times the distance of the
    model chosen so far. O(V log A) time for V voxels in sections of area A.

    Parameters
    ----------
    sections : ndarray, shape (Z, Y, X)
        Preprocessed EM in [0, 1]; 0 outside the tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    blank_sections : sequence of int
        Sections without content.
    params : AlignParams, optional
        Smoothing, model, and whether to remove drift.
    threads : int
        Pairs of sections registered in parallel.
    progress : callable
        Called with the number of pairs just registered.

    Returns
    -------
    Alignment
    """
    params = params or AlignParams()
    sigma = in_plane_px(params.smoothing_nm, voxel_size)
    images = list(
        map_sections(lambda section: smooth_tissue(section, sigma), list(sections), threads)
    )
    usable = [z for z in range(len(sections)) if z not in set(blank_sections)]
    alignment = _align_by_translation(images, usable, params.model, threads, progress)
    if params.model != "translation":
        alignment = _align_by_deformation(images, usable, alignment, params.model, threads)
    return _remove_drift(alignment) if params.straighten else alignment


def _align_by_translation(
    images: list[np.ndarray], usable: list[int], model: str, threads: int, progress: Progress
) -> Alignment:
    """Align by shifts alone; report rotated sections if no other model is to follow."""
    chain = link_sections(images, usable, threads=threads, progress=progress)
    path, correlations = refine_path(images, chain, threads)
    alignment = _place_sections(len(images), chain.sections, path, correlations)
    if model != "translation":
        return alignment
    rotated = _find_rotated(images, usable, chain.sections, alignment.confidence, threads)
    return replace(alignment, rotated_sections=rotated)


def _align_by_deformation(
    images: list[np.ndarray], usable: list[int], by_translation: Alignment, model: str, threads: int
) -> Alignment:
    """Align by rotations or affine maps; return ``by_translation`` where these are not needed."""
    chain = link_sections(images, usable, register=register_rotation, threads=threads)
    sound = chain.sections
    if len(sound) < 2:
        return by_translation
    pairs = deformation.match_sections(images, chain, model, threads)
    slow, jitter = deformation.separate_deformation(pairs, sound, len(images), images[0].shape)
    if model == "auto":
        model = deformation.choose_model(pairs, sound, slow, jitter)
    if model == "translation":
        return by_translation
    matrices = linalg.expm(deformation.restrict(jitter, model))
    steps = deformation.shifts_between(pairs, sound, matrices)
    links = [PairShift(step, pair.correlation) for step, pair in zip(steps, pairs, strict=True)]
    # Whole sections give more precise shifts than patches.
    warped = deformation.warp_sections(images, matrices, threads)
    path, correlations = refine_path(warped, Chain(sound, links), threads)
    return _place_sections(len(images), sound, path, correlations, matrices)


def _place_sections(
    n_sections: int,
    sound: list[int],
    path: np.ndarray,
    correlations: np.ndarray,
    matrices: np.ndarray | None = None,
) -> Alignment:
    """Interpolate the shifts of damaged sections, and subtract the drift from all shifts."""
    damaged = tuple(z for z in range(n_sections) if z not in set(sound))
    shifts, confidence = np.zeros((n_sections, 2)), np.zeros(n_sections)
    if not sound:
        return Alignment(Transforms(shifts, matrices), confidence, damaged, shifts)
    for axis in (0, 1):
        shifts[:, axis] = np.interp(np.arange(n_sections), sound, path[:, axis])
    shifts -= shifts.mean(axis=0)
    confidence[sound] = np.maximum(np.append(correlations, 0), np.append(0, correlations))
    drift = estimate_drift(shifts, sound)
    return Alignment(Transforms(shifts - drift, matrices), confidence, damaged, drift)


def _find_rotated(
    images: list[np.ndarray],
    usable: list[int],
    sound: list[int],
    confidence: np.ndarray,
    threads: int,
) -> tuple[int, ...]:
    """Find damaged sections that correlate with the nearest sound one once they are rotated."""
    damaged = [z for z in usable if z not in set(sound)] if sound else []
    pairs = [(min(sound, key=lambda other: abs(other - z)), z) for z in damaged]
    links = register_pairs(images, pairs, register_rotation, threads)
    required = MIN_RELATIVE_CORRELATION * np.median(confidence[sound]) if sound else 0.0
    return tuple(z for (_, z), link in links.items() if link.angle and link.correlation >= required)


def _remove_drift(alignment: Alignment) -> Alignment:
    """Return an alignment that removes drift as well as jitter."""
    transforms = replace(alignment.transforms, shifts=alignment.transforms.shifts + alignment.drift)
    return replace(alignment, transforms=transforms, drift=np.zeros_like(alignment.drift))
