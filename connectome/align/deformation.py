"""Chain rotations and affine maps along a stack, and choose the simplest sufficient model.

Linear parts of transforms are chained by multiplication; their logarithms add up, so that slow
rotation and stretch can be separated from jitter as a slow drift of shifts is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import linalg

from connectome.align.affine import PairTransform, register_patches
from connectome.align.chain import Chain
from connectome.align.drift import estimate_drift
from connectome.align.transforms import compose_transform, rotation_matrix, warp_section
from connectome.core.progress import map_sections

MODELS = ("translation", "rigid", "affine")
# A model replaces a simpler one if it reduces the distance between matching patches to less than
# this fraction.
MODEL_GAIN = 0.7
# Slow rotation is estimated from fewer sections than slow shifts, because sections are not rotated
# steadily. Tissue does not twist back and forth either: changes within some ten sections are
# jitter.
MIN_SECTIONS, MIN_STIFFNESS = 4, 10.0


def match_sections(
    images: Sequence[np.ndarray], chain: Chain, model: str, threads: int
) -> list[PairTransform]:
    """Register each section of a chain onto the one before it, from matching patches.

    Parameters
    ----------
    images : sequence of ndarray, shape (Y, X)
        All sections of the stack, smoothed.
    chain : Chain
        Approximate shifts and rotations.
    model : {"rigid", "affine", "auto"}
        Model to fit; affine for "auto".
    threads : int
        Pairs registered in parallel.
    """

    def register(i: int) -> PairTransform:
        fixed, moving = (images[z] for z in chain.sections[i : i + 2])
        link = chain.links[i]
        start = compose_transform(rotation_matrix(link.angle), link.shift)
        return register_patches(fixed, moving, start, "rigid" if model == "rigid" else "affine")

    return list(map_sections(register, range(len(chain.links)), threads))


def separate_deformation(
    pairs: list[PairTransform], sound: list[int], n_sections: int, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Chain the linear parts of transforms and separate slow change from jitter.

    Parameters
    ----------
    pairs : list of PairTransform
        Registration of each sound section onto the one before it.
    sound : list of int
        Sound sections.
    n_sections : int
        Number of sections, Z; those that are not sound are interpolated.
    shape : tuple of int
        (Y, X) of a section.

    Returns
    -------
    slow, jitter : ndarray, shape (Z, 2, 2)
        Logarithms of matrices.
    """
    chained = [np.eye(2)]
    for pair in pairs:
        chained.append(chained[-1] @ pair.transform[:2, :2])
    # Multiplied by the typical distance from the centre, rotations are in pixels, as shifts are.
    distance = np.sqrt(np.square(shape).sum() / 12)
    logs = distance * np.array([linalg.logm(matrix).real.ravel() for matrix in chained])
    sections = np.arange(n_sections)
    logs = np.column_stack([np.interp(sections, sound, column) for column in logs.T])
    logs -= logs.mean(axis=0)
    # Taken for jitter, a slow rotation would accumulate along the stack. Whatever may be slow is
    # therefore kept, however large its error.
    slow = estimate_drift(
        logs, sound, max_error=np.inf, min_sections=MIN_SECTIONS, min_stiffness=MIN_STIFFNESS
    )
    return slow.reshape(-1, 2, 2) / distance, (logs - slow).reshape(-1, 2, 2) / distance


def choose_model(
    pairs: list[PairTransform], sound: list[int], slow: np.ndarray, jitter: np.ndarray
) -> str:
    """Choose the simplest model that brings matching patches of neighbouring sections together.

    Parameters
    ----------
    pairs, sound
        As `separate_deformation` takes them.
    slow, jitter : ndarray, shape (Z, 2, 2)
        As `separate_deformation` returns them.
    """
    distances = {
        model: _patch_distance(pairs, sound, linalg.expm(slow + restrict(jitter, model)))
        for model in MODELS
    }
    chosen = MODELS[0]
    for model in MODELS[1:]:
        if distances[model] < MODEL_GAIN * distances[chosen]:
            chosen = model
    return chosen


def restrict(logs: np.ndarray, model: str) -> np.ndarray:
    """Restrict logarithms of matrices (Z, 2, 2) to a model: 0, rotations, or unchanged."""
    if model == "translation":
        return 0 * logs
    return logs if model == "affine" else (logs - logs.transpose(0, 2, 1)) / 2


def shifts_between(
    pairs: list[PairTransform], sound: list[int], matrices: np.ndarray
) -> np.ndarray:
    """Return the shift from each sound section to the next once matrices (Z, 2, 2) are applied."""
    return np.array(
        [
            matrices[z] @ pair.transform[:2, 2]
            for z, pair in zip(sound[: len(pairs)], pairs, strict=True)
        ]
    )


def warp_sections(
    images: Sequence[np.ndarray], matrices: np.ndarray, threads: int
) -> list[np.ndarray]:
    """Apply a matrix (2, 2) to each section (Y, X) about its centre; NaN outside the image."""

    def warp(z: int) -> np.ndarray:
        if np.array_equal(matrices[z], np.eye(2)):
            return images[z]
        transform = compose_transform(matrices[z], np.zeros(2))
        return warp_section(images[z], transform, order=1, cval=np.nan)

    return list(map_sections(warp, range(len(images)), threads))


def _patch_distance(pairs: list[PairTransform], sound: list[int], matrices: np.ndarray) -> float:
    """Return the distance in pixels of matching patches: median of each pair, mean over pairs."""
    distances = []
    steps = shifts_between(pairs, sound, matrices)
    for pair, (a, b), step in zip(pairs, pairwise(sound), steps, strict=True):
        if len(pair.fixed_points):
            fixed = pair.fixed_points @ matrices[a].T
            moving = pair.moving_points @ matrices[b].T + step
            distances.append(np.median(np.hypot(*(fixed - moving).T)))
    return float(np.mean(distances)) if distances else 0.0
