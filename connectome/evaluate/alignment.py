"""The error of an alignment against known displacements."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def alignment_rms(shifts: ArrayLike, true_shifts: ArrayLike) -> float:
    """Return the root mean square distance of sections from their true positions.

    Parameters
    ----------
    shifts, true_shifts : ndarray of float, shape (Z, 2)
        Applied and true shifts (dy, dx) in pixels. A shift common to all sections moves the
        stack as a whole and is not an error: the mean difference is subtracted.

    Returns
    -------
    float
        In pixels.
    """
    residuals = np.asarray(shifts, float) - np.asarray(true_shifts, float)
    residuals -= residuals.mean(axis=0)
    return float(np.sqrt((residuals**2).sum(axis=1).mean()))
