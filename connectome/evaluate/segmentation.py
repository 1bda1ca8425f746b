"""Scores of a segmentation: variation of information and adapted Rand error.

Both count only voxels whose true id is above 0. Voxels there that were left unassigned (id 0)
count as one neurite of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome.core.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Labels = NDArray[np.integer[Any]]


def score_segmentation(segmentation: Labels, truth: Labels) -> dict[str, float]:
    """Score neurite ids by variation of information (VOI) and adapted Rand error (ARE).

    Parameters
    ----------
    segmentation, truth : ndarray of int, shape (Z, Y, X)
        Predicted and true neurite ids. Voxels where ``truth`` is 0 are not scored.

    Returns
    -------
    dict
        ``are``: 1 − 2PR/(P+R) over pairs of voxels (Arganda-Carreras et al. 2015).
        ``voi_split``: H(segmentation | truth), ``voi_merge``: H(truth | segmentation), ``voi``:
        their sum, in bits (Meilă 2007). ``fraction_scored``: the fraction of all voxels that have
        a true id. ``unassigned``: the fraction of those whose predicted id is 0.

    Raises
    ------
    DataError
        If the shapes differ, an id is negative, or no voxel has a true id.
    """
    table = contingency_table(segmentation, truth)
    joint = _entropy_bits(table.data)
    # Rounding may leave a conditional entropy just below zero.
    split = max(0.0, joint - _entropy_bits(table.sum(axis=1)))
    merge = max(0.0, joint - _entropy_bits(table.sum(axis=0)))
    scored = truth > 0
    return {
        "are": _adapted_rand_error(table),
        "voi": split + merge,
        "voi_split": split,
        "voi_merge": merge,
        "fraction_scored": float(scored.mean()),
        "unassigned": float((segmentation[scored] == 0).mean()),
    }


def contingency_table(segmentation: Labels, truth: Labels) -> csr_array:
    """Count the scored voxels that each true neurite shares with each predicted one.

    Parameters
    ----------
    segmentation, truth : ndarray of int, shape (Z, Y, X)
        Predicted and true neurite ids. Voxels where ``truth`` is 0 are not counted.

    Returns
    -------
    scipy.sparse.csr_array of float, shape (true ids, predicted ids)
        Voxel counts; ids are renumbered from 0 in the order in which they occur.

    Raises
    ------
    DataError
        If the shapes differ, an id is negative, or no voxel has a true id.
    """
    from scipy.sparse import coo_array

    if segmentation.shape != truth.shape:
        raise DataError(
            f"the segmentation {segmentation.shape} and the truth {truth.shape} differ in shape",
            "voxels cannot be paired",
        )
    if segmentation.min(initial=0) < 0 or truth.min(initial=0) < 0:
        raise DataError(
            "there are negative ids",
            "it is unknown which of them are neurites",
            "use labels that count from 1, with 0 for unassigned voxels",
        )
    scored = truth > 0
    if not scored.any():
        raise DataError("the truth has no voxel with an id above 0", "there is nothing to score")
    # Hashing is ten times faster than sorting, and the order of ids does not matter. The codes
    # are small whatever the ids are, so that one key per pair cannot overflow.
    true_codes, codes = (pd.factorize(labels[scored])[0] for labels in (truth, segmentation))
    n_columns = int(codes.max()) + 1
    pair_of_voxel, pairs = pd.factorize(true_codes * n_columns + codes)
    rows, columns = np.divmod(pairs, n_columns)
    return coo_array((np.bincount(pair_of_voxel).astype(float), (rows, columns))).tocsr()


def _adapted_rand_error(table: csr_array) -> float:
    """Return 1 − F over pairs of voxels; 0 where neither labelling has two voxels of one id."""
    both, true, predicted = (
        float((counts * (counts - 1)).sum())
        for counts in (table.data, table.sum(axis=1), table.sum(axis=0))
    )
    return 1 - 2 * both / (true + predicted) if true + predicted else 0.0


def _entropy_bits(counts: NDArray[np.floating[Any]]) -> float:
    """Return the entropy in bits of the distribution given by counts."""
    fraction = counts[counts > 0] / counts.sum()
    return float(-(fraction * np.log2(fraction)).sum())
