"""Register pairs of sections by rotation or affine transform, from matching patches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from scipy import optimize

from connectome.align.transforms import (
    compose_transform,
    map_points,
    rotation_matrix,
    warp_section,
)
from connectome.align.translation import (
    PairShift,
    coarse_stride,
    measure_residual,
    register_translation,
    tukey_window,
)

PairModel = Literal["rigid", "affine"]
Matches = tuple[np.ndarray, np.ndarray, np.ndarray]

# Patches overlap by half. More than this number along an axis did not improve the fit.
PATCH_PX, MAX_PATCHES = 128, 7
# Smaller patches show too little to be found again.
MIN_PATCH_PX = 32
# A transform is fitted to at least this number of patches of at least this correlation.
MIN_MATCHES, MIN_CORRELATION = 6, 0.15
MAX_ITERATIONS, TOLERANCE_PX = 6, 0.02
# Scale of the soft L1 loss: patches that deviate by more are treated as outliers.
OUTLIER_PX = 0.5
# Content enters and leaves at the edge of the image, so the edge has little weight.
TAPER = 0.7
# Range and step of the coarse search over angles, in radians.
MAX_ROTATION, ROTATION_STEP = np.radians(30.0), np.radians(3.0)
# A rotation is accepted if the correlation without it is below this fraction of that with it.
UNROTATED_FRACTION = 0.85


@dataclass(frozen=True, eq=False)
class PairTransform:
    """Registration of one section onto another, and the patches it was fitted to.

    Parameters
    ----------
    transform : ndarray, shape (3, 3)
        From the second section to the first, in pixels from the centre.
    correlation : float
        Correlation of the two where they overlap.
    fixed_points, moving_points : ndarray, shape (N, 2)
        Centres of the patches in the first section and their matches in the second, in pixels
        from the centre of the section.
    weights : ndarray, shape (N,)
        Correlation of each pair of patches.
    """

    transform: np.ndarray
    correlation: float
    fixed_points: np.ndarray
    moving_points: np.ndarray
    weights: np.ndarray


def register_rotation(fixed: np.ndarray, moving: np.ndarray) -> PairShift:
    """Find the rotation and translation of one section onto another, to about a degree.

    Rotations of up to 30° are tried on subsampled sections. A rotation too small to show there is
    returned as 0; `register_patches` measures it. O(A log A) time for sections of area A.

    Parameters
    ----------
    fixed, moving : ndarray of float32, shape (Y, X)
        Smoothed by `translation.smooth_tissue`.

    Returns
    -------
    PairShift
        With the angle.
    """
    stride = coarse_stride(fixed.shape)
    fixed, moving = (section[::stride, ::stride] for section in (fixed, moving))

    def register_at(angle: float) -> PairShift:
        rotation = compose_transform(rotation_matrix(angle), np.zeros(2))
        rotated = warp_section(moving, rotation, order=1, cval=np.nan)
        found = register_translation(fixed, rotated)
        return PairShift(stride * found.shift, found.correlation, angle)

    def best_of(candidates: list[PairShift]) -> PairShift:
        return max(candidates, key=lambda candidate: candidate.correlation)

    n = round(MAX_ROTATION / ROTATION_STEP)
    unrotated = register_at(0.0)
    coarse = best_of([unrotated, *(register_at(k * ROTATION_STEP) for k in range(-n, n + 1) if k)])
    half_steps = (-ROTATION_STEP / 2, ROTATION_STEP / 2)
    fine = best_of([coarse, *(register_at(coarse.angle + step) for step in half_steps)])
    required = max(MIN_CORRELATION, unrotated.correlation / UNROTATED_FRACTION)
    return fine if fine.correlation >= required else unrotated


def register_patches(
    fixed: np.ndarray, moving: np.ndarray, start: np.ndarray, model: PairModel
) -> PairTransform:
    """Refine an approximate transform of one section onto another.

    Patches on a grid are registered by translation, and a transform is fitted to all of them: once
    to whole pixels by correlation, as the edge of a rotated section is several pixels off, then
    repeatedly by gradients after applying the transform found so far. A result that does not
    increase the correlation of the sections is rejected. O(A log A) time for sections of area A.

    Parameters
    ----------
    fixed, moving : ndarray of float32, shape (Y, X)
        Smoothed by `translation.smooth_tissue`.
    start : ndarray, shape (3, 3)
        A translation, or a rotation and a translation.
    model : {"rigid", "affine"}
        Type of transform to fit.

    Returns
    -------
    PairTransform
    """
    patches, window = _patch_grid(fixed.shape), tukey_window(fixed.shape, TAPER)

    def correlation(transform: np.ndarray) -> float:
        warped = warp_section(moving, transform, order=1, cval=np.nan)
        return measure_residual(fixed, warped, window).correlation

    def refit(
        transform: np.ndarray, register: Callable[..., PairShift]
    ) -> tuple[Matches, np.ndarray]:
        matches = _match_patches(fixed, moving, transform, patches, register)
        enough = len(matches[0]) >= MIN_MATCHES
        return matches, fit_transform(*matches, model) if enough else transform

    initial = correlation(start)
    _, transform = refit(start, register_translation)
    if not correlation(transform) > initial:  # also where the sections do not overlap at all
        transform = start
    corners = np.array(list(product(*[(-n / 2, n / 2) for n in fixed.shape])))
    for _ in range(MAX_ITERATIONS):
        matches, refined = refit(transform, _patch_residual)
        change = np.abs(map_points(corners, refined) - map_points(corners, transform)).max()
        transform = refined
        if change < TOLERANCE_PX:
            break
    final = correlation(transform)
    if not final > initial:
        transform, final = start, initial
    return PairTransform(transform, final, *matches)


def fit_transform(
    fixed_points: np.ndarray, moving_points: np.ndarray, weights: np.ndarray, model: PairModel
) -> np.ndarray:
    """Fit a transform from moving to fixed points by robust least squares (soft L1).

    Parameters
    ----------
    fixed_points, moving_points, weights : ndarray
        As in `PairTransform`.
    model : {"rigid", "affine"}
        Rotation and translation, or any linear map and a translation.

    Returns
    -------
    ndarray, shape (3, 3)
    """

    def rigid(angle, dy, dx):
        return compose_transform(rotation_matrix(angle), (dy, dx))

    def affine(*values):
        return compose_transform(np.eye(2) + np.reshape(values[:4], (2, 2)), values[4:])

    build, n_values = {"rigid": (rigid, 3), "affine": (affine, 6)}[model]

    def residuals(values):
        errors = map_points(moving_points, build(*values)) - fixed_points
        return (np.sqrt(weights)[:, None] * errors).ravel()

    start = np.zeros(n_values)
    start[-2:] = np.median(fixed_points - moving_points, axis=0)
    fit = optimize.least_squares(
        residuals, start, loss="soft_l1", f_scale=OUTLIER_PX, x_scale="jac"
    )
    return build(*fit.x)


def _patch_grid(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Return overlapping patches, three or more along each axis; none in a small section."""
    sides = [min(PATCH_PX, n // 2) for n in shape]
    if min(sides) < MIN_PATCH_PX:
        return []
    axes = []
    for n, side in zip(shape, sides, strict=True):
        count = min(MAX_PATCHES, 1 + round((n - side) / (side / 2)))
        starts = np.linspace(0, n - side, count).round().astype(int)
        axes.append([slice(start, start + side) for start in starts])
    rows, columns = axes
    return list(product(rows, columns))


def _match_patches(
    fixed: np.ndarray,
    moving: np.ndarray,
    transform: np.ndarray,
    patches: list[tuple[slice, slice]],
    register: Callable[..., PairShift],
) -> Matches:
    """Match patches of two sections near where a transform maps them.

    Returns
    -------
    fixed_points, moving_points, weights : ndarray
        As in `PairTransform`.
    """
    warped = warp_section(moving, transform, order=1, cval=np.nan)
    found = [(patch, register(fixed[patch], warped[patch])) for patch in patches]
    found = [(patch, pair) for patch, pair in found if pair.correlation >= MIN_CORRELATION]
    centres = np.array([[(s.start + s.stop - 1) / 2 for s in patch] for patch, _ in found])
    centres = centres.reshape(-1, 2) - (np.asarray(fixed.shape) - 1) / 2
    fixed_points = centres + np.array([pair.shift for _, pair in found]).reshape(-1, 2)
    moving_points = map_points(centres, np.linalg.inv(transform))
    return fixed_points, moving_points, np.array([pair.correlation for _, pair in found])


def _patch_residual(fixed: np.ndarray, moving: np.ndarray) -> PairShift:
    """Measure the residual shift of a patch, weighted towards its centre."""
    return measure_residual(fixed, moving, tukey_window(fixed.shape, 1.0))
