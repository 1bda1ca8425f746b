"""What is known to be true about a cutout: all of it for the phantom, labels for real volumes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class Truth:
    """Ground truth of a cutout, drawn on the cutout as imaged (before alignment).

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X), optional
        Neurite ids; 0 is not scored.
    synapses : DataFrame, optional
        One row per synapse: ``z, y, x`` (voxels of the cutout as imaged), ``pre_id`` and
        ``post_ids`` (ids joined by ``;``).
    shifts : ndarray of float, shape (Z, 2), optional
        Shift (dy, dx) in pixels of every section such that
        ``scipy.ndimage.shift(section, shift)`` is where the tissue truly lay.
    """

    labels: np.ndarray | None = None
    synapses: pd.DataFrame | None = None
    shifts: np.ndarray | None = None
