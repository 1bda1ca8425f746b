"""Separate slow drift along a stack from the jitter of single sections.

Registration finds the displacement that makes neighbouring sections most alike. It includes the
average obliquity of the neurites between them, which adds up to a slow drift along the stack.
Removing that drift would straighten the tissue; only jitter is an artefact of sectioning.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import linalg

# In shorter stacks accumulated jitter cannot be distinguished from drift.
MIN_DRIFT_SECTIONS = 24
# A step this many times as far from the median step as usual, plus a margin, is a jump.
JUMP_FACTOR, JUMP_MARGIN_PX = 6.0, 0.25
# Stiffnesses to choose from: from a curve without jitter to a straight line.
STIFFNESS = 10.0 ** np.arange(-3, 10, 0.25)
# A drift that may contain more of the jitter than this is rejected.
MAX_DRIFT_ERROR_PX = 2.0
# Lower bound of the jitter: no registration is more precise.
MIN_JITTER_PX = 0.01


def estimate_drift(
    path: np.ndarray,
    sound: Sequence[int],
    *,
    max_error: float = MAX_DRIFT_ERROR_PX,
    min_sections: int = MIN_DRIFT_SECTIONS,
    min_stiffness: float = 0.0,
) -> np.ndarray:
    """Estimate the slow drift of a path with jitter.

    The path is modelled as a smooth curve plus independent jitter (a discrete smoothing spline;
    Hodrick and Prescott 1997). The stiffness of the spline maximises the restricted likelihood
    (Wahba 1985): in a stack already in register there is hardly any jitter, and the whole path is
    drift; in a misaligned one only the slowest drift can be recovered. Steps far from the median
    are attributed to jitter. A spline with K degrees of freedom also fits σ√(2K/Z) px of the
    jitter; where that exceeds ``max_error``, or the stack is short, the drift is 0. O(Z) time.

    A steady drift of the sections themselves cannot be distinguished from oblique neurites and is
    kept with them.

    Parameters
    ----------
    path : ndarray of float, shape (Z, N)
        Displacements (dy, dx), or other quantities expressed in pixels.
    sound : sequence of int
        Sections whose displacement was measured.
    max_error : float
        Maximum error of the drift due to jitter, in pixels.
    min_sections : int
        Minimum number of sound sections.
    min_stiffness : float
        Lower bound of the stiffness.

    Returns
    -------
    ndarray of float, shape (Z, N)
        The drift, with mean 0.
    """
    n_sections, n_columns = path.shape
    if len(sound) < min_sections:
        return np.zeros_like(path)
    measured = np.zeros((n_sections, 1))
    measured[list(sound)] = 1
    steady = _remove_jumps(path)
    freedom = n_columns * (len(sound) - 2)
    best = (np.inf, np.zeros_like(path), np.inf)
    for stiffness in STIFFNESS[min_stiffness <= STIFFNESS]:
        curve, log_determinant = fit_smoothing_spline(steady, measured, stiffness)
        variance = (measured * steady * (steady - curve)).sum() / freedom + MIN_JITTER_PX**2
        log_determinant -= (n_sections - 2) * np.log(stiffness)
        deviance = freedom * np.log(variance) + n_columns * log_determinant
        # A spline of n points has about this many degrees of freedom beyond its mean.
        spline_freedom = 1 + n_sections * stiffness**-0.25 / np.sqrt(8)
        error = np.sqrt(variance * 2 * spline_freedom / n_sections)
        best = min(best, (deviance, curve, error), key=lambda candidate: candidate[0])
    _, curve, error = best
    return curve - curve.mean(axis=0) if error <= max_error else np.zeros_like(path)


def fit_smoothing_spline(
    path: np.ndarray, measured: np.ndarray, stiffness: float
) -> tuple[np.ndarray, float]:
    """Fit a discrete smoothing spline to a path (Hodrick and Prescott 1997). O(Z) time.

    Parameters
    ----------
    path : ndarray of float, shape (Z, N)
        Values to smooth.
    measured : ndarray of float, shape (Z, 1)
        1 where the path was measured, 0 elsewhere.
    stiffness : float
        Weight of the squared second differences against the squared distances from the path.

    Returns
    -------
    curve : ndarray of float, shape (Z, N)
        The spline.
    log_determinant : float
        Logarithm of the determinant of the normal equations.
    """
    bands = _normal_equations(measured.ravel(), stiffness)
    factor = linalg.cholesky_banded(bands, lower=True)
    curve = linalg.cho_solve_banded((factor, True), measured * path)
    return curve, float(2 * np.log(factor[0]).sum())


def _normal_equations(measured: np.ndarray, stiffness: float) -> np.ndarray:
    """Return diag(measured) + stiffness · DᵀD for second differences D, as lower diagonals."""
    n = len(measured)
    bands = np.zeros((3, n))
    for i, weight in enumerate((1.0, -2.0, 1.0)):
        for j, other in enumerate((1.0, -2.0, 1.0)[: i + 1]):
            bands[i - j, j : n - 2 + j] += stiffness * weight * other
    bands[0] += measured
    return bands


def _remove_jumps(path: np.ndarray) -> np.ndarray:
    """Replace steps far from the median step by the median step."""
    steps = np.diff(path, axis=0)
    median = np.median(steps, axis=0)
    deviation = np.abs(steps - median)
    limit = JUMP_FACTOR * (np.median(deviation, axis=0) + JUMP_MARGIN_PX)
    steps[(deviation > limit).any(axis=1)] = median
    return path[0] + np.concatenate([np.zeros((1, path.shape[1])), np.cumsum(steps, axis=0)])
