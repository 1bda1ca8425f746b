"""Synapses that a person has looked at, laid over those that were detected."""

from __future__ import annotations

import numpy as np
import pandas as pd

from connectome.core.point_matching import find_corresponding_ids, match_positions

MATCH_DISTANCE_NM = 100.0  # a detection this near to a reviewed one is that one
ACCEPTED, REJECTED = "accepted", "rejected"


def apply_verdicts(
    candidates: pd.DataFrame, reviewed: pd.DataFrame, voxel_size: tuple[float, float, float]
) -> pd.DataFrame:
    """Let what a person said stand against what was detected.

    Parameters
    ----------
    candidates : DataFrame
        As `connectome.synapses.detect_synapses` returns.
    reviewed : DataFrame
        The same columns, ``verdict`` (accepted, rejected, or anything else for neither) and
        ``swapped``, which turns a synapse round and so holds it for one. Ids are those of the
        labels that the candidates have.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    DataFrame
        The candidates with ``verdict``: detections at rejected places are gone, those at accepted
        ones have a person's partners and direction, and accepted ones that were not detected are
        added. By falling score, accepted ones first.
    """
    looked_at = reviewed["verdict"].isin([ACCEPTED, REJECTED])
    if "swapped" in reviewed:
        looked_at |= reviewed["swapped"]
    said = reviewed[looked_at].reset_index(drop=True)
    places = [table[["z", "y", "x"]].to_numpy(float) * voxel_size for table in (candidates, said)]
    overruled = match_positions(*places, MATCH_DISTANCE_NM)[:, 0]
    detected = candidates.drop(index=candidates.index[overruled]).assign(verdict="")
    kept = said[said["verdict"] != REJECTED].reindex(columns=detected.columns)
    table = pd.concat([kept.astype(object), detected.astype(object)]).infer_objects()
    table = table.assign(first=table["verdict"] != ACCEPTED)
    order = ["first", "score", "z", "y", "x"]
    table = table.sort_values(order, ascending=[True, False, True, True, True])
    return table.drop(columns="first").reset_index(drop=True)


def relabel_partners(
    reviewed: pd.DataFrame,
    labels: np.ndarray,
    others: np.ndarray,
    voxel_size: tuple[float, float, float],
) -> pd.DataFrame:
    """Name the partners of synapses as other labels do.

    Parameters
    ----------
    reviewed : DataFrame
        Columns ``z, y, x, pre_id, post_id, post_ids``.
    labels, others : ndarray of int, shape (Z, Y, X)
        The labels whose ids they are, and those whose ids are wanted.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    DataFrame
        Every id is the one that lies over most of it around the synapse. Synapses whose partners
        have become one neurite, or have gone, are left out.
    """
    if labels is others or np.array_equal(labels, others):
        return reviewed.copy()
    rows = [
        renamed
        for row in reviewed.to_dict("records")
        if (renamed := _renamed(row, labels, others, voxel_size))
    ]
    return pd.DataFrame(rows, columns=reviewed.columns)


def _renamed(row: dict, labels, others, voxel_size) -> dict | None:
    posts = map(int, str(row.get("post_ids") or row["post_id"]).split(";"))
    place = row["z"], row["y"], row["x"]
    pre, *posts = find_corresponding_ids(
        [int(row["pre_id"]), *posts], place, labels, others, voxel_size
    )
    posts = [post for post in dict.fromkeys(posts) if post not in (0, pre)]
    if not pre or not posts:
        return None
    named = {"pre_id": pre, "post_id": posts[0], "post_ids": ";".join(map(str, posts))}
    return row | named | ({"n_partners": len(posts)} if "n_partners" in row else {})
