"""Scores of synapse detection: precision, recall and F1, and whether partners are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome.core.point_matching import find_corresponding_ids, match_positions
from connectome.core.synapse_table import decode_ids

MATCH_DISTANCES_NM = (100, 200, 400)


def score_synapses(
    detected: pd.DataFrame,
    truth: pd.DataFrame,
    voxel_size: tuple[float, float, float],
    *,
    labels: NDArray[np.integer[Any]] | None = None,
    true_labels: NDArray[np.integer[Any]] | None = None,
) -> dict[str, dict[str, float]]:
    """Score synapse detection at 100, 200 and 400 nm, and the partners of matched synapses.

    Detected and true synapses are matched one-to-one (Hungarian algorithm). With labels, partners
    are compared by the neurites that lie at the synapse, so that a split or merge elsewhere does
    not matter.

    Parameters
    ----------
    detected, truth : DataFrame
        One row per synapse, with columns ``z, y, x`` in voxels. To score partners, both need
        ``pre_id``, ``detected`` needs ``post_id`` and ``truth`` needs ``post_ids``.
    voxel_size : tuple of float
        (z, y, x) in nm.
    labels, true_labels : ndarray of int, shape (Z, Y, X), optional
        Neurites that the ids in ``detected`` and in ``truth`` refer to. Partners are scored only
        if both are given.

    Returns
    -------
    dict
        For each distance in nm (as text): ``precision``, ``recall`` and ``f1``. Precision without
        detections, and recall without true synapses, are 0 unless both tables are empty; then all
        scores are 1. With labels and at least one match also ``partners``, the fraction of matches
        whose two neurites are the true presynaptic and one of the true postsynaptic ones in either
        order, and ``direction``, the fraction whose presynaptic neurite is the true one.
    """
    detected_nm, true_nm = (
        table[["z", "y", "x"]].to_numpy(float) * voxel_size for table in (detected, truth)
    )
    scores = {}
    for limit_nm in MATCH_DISTANCES_NM:
        pairs = match_positions(detected_nm, true_nm, limit_nm)
        score = _detection_scores(len(pairs), len(detected), len(truth))
        if labels is not None and true_labels is not None and len(pairs):
            matched, true = detected.iloc[pairs[:, 0]], truth.iloc[pairs[:, 1]]
            score |= _partner_scores(matched, true, voxel_size, labels, true_labels)
        scores[str(limit_nm)] = score
    return scores


def _detection_scores(n_matched: int, n_detected: int, n_true: int) -> dict[str, float]:
    """Return precision, recall and F1."""
    if_none = float(n_detected == n_true == 0)
    precision = n_matched / n_detected if n_detected else if_none
    recall = n_matched / n_true if n_true else if_none
    total = precision + recall
    f1 = 2 * precision * recall / total if total else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


def _partner_scores(
    matched: pd.DataFrame,
    truth: pd.DataFrame,
    voxel_size: tuple[float, float, float],
    labels: NDArray[np.integer[Any]],
    true_labels: NDArray[np.integer[Any]],
) -> dict[str, float]:
    """Return the fractions of matches, row by row, with the true partners and direction."""
    partners, direction = [], []
    for row, true in zip(matched.to_dict("records"), truth.to_dict("records"), strict=True):
        position = row["z"], row["y"], row["x"]
        ids = int(row["pre_id"]), int(row["post_id"])
        pre, post = find_corresponding_ids(ids, position, labels, true_labels, voxel_size)
        true_pre, true_posts = int(true["pre_id"]), decode_ids(true["post_ids"])
        others = {pre, post} - {true_pre}
        partners.append(true_pre in (pre, post) and len(others & set(true_posts)) == 1)
        direction.append(pre == true_pre)
    return {"partners": float(np.mean(partners)), "direction": float(np.mean(direction))}
