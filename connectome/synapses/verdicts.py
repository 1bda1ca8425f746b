"""Apply a person's verdicts on synapses to the candidates that were detected."""

from __future__ import annotations

import numpy as np
import pandas as pd

from connectome.core.point_matching import find_corresponding_ids, match_positions
from connectome.core.synapse_table import ACCEPTED, REJECTED, decode_ids, encode_ids

MATCH_DISTANCE_NM = 100.0  # a candidate this near to a reviewed synapse is the same one


def apply_verdicts(
    candidates: pd.DataFrame, reviewed: pd.DataFrame, voxel_size: tuple[float, float, float]
) -> pd.DataFrame:
    """Let a person's verdicts overrule detection.

    Parameters
    ----------
    candidates : DataFrame
        As `connectome.synapses.detect_synapses` returns.
    reviewed : DataFrame
        The same columns; ``verdict`` (accepted, rejected, or anything else for neither); and
        optionally ``swapped``, True where a person reversed the direction, which implies that
        the synapse is real. Ids are those of the labels of the candidates.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    DataFrame
        The candidates with ``verdict``. Candidates at rejected positions are removed, those at
        accepted ones take the person's partners and direction, and accepted synapses without a
        candidate are added. Accepted ones first, then by falling score.
    """
    has_verdict = reviewed["verdict"].isin([ACCEPTED, REJECTED])
    if "swapped" in reviewed:
        has_verdict |= reviewed["swapped"]
    reviewed = reviewed[has_verdict].reset_index(drop=True)
    matches = match_positions(
        candidates[["z", "y", "x"]].to_numpy(float) * voxel_size,
        reviewed[["z", "y", "x"]].to_numpy(float) * voxel_size,
        MATCH_DISTANCE_NM,
    )
    unreviewed = candidates.drop(index=candidates.index[matches[:, 0]]).assign(verdict="")
    kept = reviewed[reviewed["verdict"] != REJECTED].reindex(columns=unreviewed.columns)
    table = pd.concat([kept.astype(object), unreviewed.astype(object)]).infer_objects()
    table = table.assign(unaccepted=table["verdict"] != ACCEPTED)
    table = table.sort_values(
        ["unaccepted", "score", "z", "y", "x"], ascending=[True, False, True, True, True]
    )
    return table.drop(columns="unaccepted").reset_index(drop=True)


def relabel_partners(
    reviewed: pd.DataFrame,
    labels: np.ndarray,
    new_labels: np.ndarray,
    voxel_size: tuple[float, float, float],
) -> pd.DataFrame:
    """Translate the ids of synaptic partners from one segmentation to another.

    Parameters
    ----------
    reviewed : DataFrame
        Columns ``z, y, x, pre_id, post_id, post_ids``.
    labels, new_labels : ndarray of int, shape (Z, Y, X)
        The segmentation that the ids refer to, and the one they are translated to.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    DataFrame
        Every id replaced by the one that overlaps it most around the synapse. Synapses whose
        partners have become one neurite, or have no counterpart, are left out.
    """
    if labels is new_labels or np.array_equal(labels, new_labels):
        return reviewed.copy()
    rows = [
        relabelled
        for row in reviewed.to_dict("records")
        if (relabelled := _relabel_row(row, labels, new_labels, voxel_size))
    ]
    return pd.DataFrame(rows, columns=reviewed.columns)


def _relabel_row(
    row: dict,
    labels: np.ndarray,
    new_labels: np.ndarray,
    voxel_size: tuple[float, float, float],
) -> dict | None:
    post_ids = decode_ids(row.get("post_ids") or row["post_id"])
    position = row["z"], row["y"], row["x"]
    pre_id, *post_ids = find_corresponding_ids(
        [int(row["pre_id"]), *post_ids], position, labels, new_labels, voxel_size
    )
    post_ids = [post_id for post_id in dict.fromkeys(post_ids) if post_id not in (0, pre_id)]
    if not pre_id or not post_ids:
        return None
    changed = {
        "pre_id": pre_id,
        "post_id": post_ids[0],
        "post_ids": encode_ids(post_ids),
    }
    return row | changed | ({"n_partners": len(post_ids)} if "n_partners" in row else {})
