"""Scores against truth: VOI and adapted Rand error, synapse F1, alignment error.

The conventions are the field's: VOI is in bits, both segmentation scores count only voxels whose
true id is above 0, and an unassigned voxel there (id 0) belongs to one body of its own.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from connectome.core.errors import DataError
from connectome.core.point_matching import find_corresponding_ids, match_positions

MATCH_DISTANCES_NM = (100, 200, 400)


def contingency(segmentation: np.ndarray, truth: np.ndarray):
    """Count the scored voxels of every pair of a true and a found neurite.

    Parameters
    ----------
    segmentation, truth : ndarray of int, shape (Z, Y, X)
        Found and true neurite ids; voxels where ``truth`` is 0 are not counted.

    Returns
    -------
    scipy.sparse.csr_array, shape (true ids, found ids)
        Voxel counts; ids are renumbered from 0.

    Raises
    ------
    DataError
        If the shapes differ, an id is negative, or no voxel has a true id.
    """
    from scipy.sparse import coo_array

    if segmentation.shape != truth.shape:
        raise DataError(
            f"segmentation {segmentation.shape} and truth {truth.shape} differ in shape",
            "voxels cannot be paired",
        )
    if segmentation.min(initial=0) < 0 or truth.min(initial=0) < 0:
        raise DataError(
            "there are negative ids",
            "which of them are neurites is unknown",
            "labels that count from 1, with 0 for none",
        )
    scored = truth > 0
    if not scored.any():
        raise DataError("the truth has no voxel with an id above 0", "there is nothing to score")
    # Hashing is ten times faster than sorting, and the order of ids does not matter. Codes are
    # small whatever the ids are, so one key per pair cannot overflow.
    rows, columns = (pd.factorize(labels[scored])[0] for labels in (truth, segmentation))
    width = int(columns.max()) + 1
    which, pairs = pd.factorize(rows * width + columns)
    rows, columns = np.divmod(pairs, width)
    return coo_array((np.bincount(which).astype(float), (rows, columns))).tocsr()


def score_segmentation(segmentation: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Score neurite ids: variation of information and adapted Rand error.

    Parameters
    ----------
    segmentation, truth : ndarray of int, shape (Z, Y, X)
        Found and true neurite ids; voxels where ``truth`` is 0 are not scored.

    Returns
    -------
    dict
        ``are``: 1 − 2PR/(P+R) (Arganda-Carreras et al. 2015). ``voi_split``: H(found | true),
        ``voi_merge``: H(true | found), ``voi``: their sum, in bits (Meilă 2007).
        ``fraction_scored``: share of all voxels with a true id. ``unassigned``: share of those
        whose found id is 0.

    Raises
    ------
    DataError
        As `contingency`.
    """
    table = contingency(segmentation, truth)
    joint = _entropy(table.data)
    split = max(0.0, joint - _entropy(table.sum(axis=1)))  # rounding must not make it negative
    merge = max(0.0, joint - _entropy(table.sum(axis=0)))
    scored = truth > 0
    return {
        "are": _adapted_rand_error(table),
        "voi": split + merge,
        "voi_split": split,
        "voi_merge": merge,
        "fraction_scored": float(scored.mean()),
        "unassigned": float((segmentation[scored] == 0).mean()),
    }


def _adapted_rand_error(table) -> float:
    """1 − F over pairs of voxels; 0 where neither labelling puts any two voxels together."""
    both, true, found = (
        float((counts * (counts - 1)).sum())
        for counts in (table.data, table.sum(axis=1), table.sum(axis=0))
    )
    return 1 - 2 * both / (true + found) if true + found else 0.0


def _entropy(counts: np.ndarray) -> float:
    """Entropy in bits of the distribution that the counts describe."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


def score_synapses(
    found: pd.DataFrame,
    truth: pd.DataFrame,
    voxel_size: tuple[float, float, float],
    labels: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, dict[str, float]]:
    """Score synapse detection at 100, 200 and 400 nm, and the partners of what was matched.

    Parameters
    ----------
    found, truth : DataFrame
        Columns ``z, y, x`` in voxels; one row per synapse. Partners are scored where both have
        ``pre_id``, ``found`` has ``post_id``, and ``truth`` ``post_ids``.
    voxel_size : tuple of float
        (z, y, x) in nm.
    labels : tuple of ndarray of int, shape (Z, Y, X), optional
        Neurites that ``found`` and ``truth`` name.

    Returns
    -------
    dict
        Distance in nm as text → ``precision``, ``recall`` and ``f1`` of the one-to-one match.
        Precision without candidates, and recall without true synapses, count as 0 unless both
        are empty, which is a perfect answer. With labels, ``partners`` and ``direction``: of the
        matched pairs, the share in which pre- and postsynaptic neurite are the true presynaptic
        and one of the true postsynaptic ones, either way round; and that in which the
        presynaptic neurite is the true one. Neurites are compared where they lie, so that a
        split or merge elsewhere does not matter.
    """
    places = [table[["z", "y", "x"]].to_numpy(float) * voxel_size for table in (found, truth)]
    scores = {}
    for limit in MATCH_DISTANCES_NM:
        pairs = match_positions(*places, limit)
        matched = len(pairs)
        perfect = float(len(found) == len(truth) == 0)
        precision = matched / len(found) if len(found) else perfect
        recall = matched / len(truth) if len(truth) else perfect
        total = precision + recall
        f1 = 2 * precision * recall / total if total else 0.0
        scores[str(limit)] = {"precision": precision, "recall": recall, "f1": f1}
        if labels is not None and matched:
            scores[str(limit)] |= _partner_scores(found, truth, pairs, labels, voxel_size)
    return scores


def _partner_scores(found, truth, pairs, labels, voxel_size) -> dict[str, float]:
    """Tell in what share of matched pairs the partners, and the direction, are right."""
    partners, direction = [], []
    for row, true in zip(
        found.iloc[pairs[:, 0]].to_dict("records"),
        truth.iloc[pairs[:, 1]].to_dict("records"),
        strict=True,
    ):
        place = row["z"], row["y"], row["x"]
        ids = int(row["pre_id"]), int(row["post_id"])
        pre, post = find_corresponding_ids(ids, place, *labels, voxel_size)
        true_pre, true_posts = int(true["pre_id"]), str(true["post_ids"]).split(";")
        others = {pre, post} - {true_pre}
        partners.append(true_pre in (pre, post) and len(others & set(map(int, true_posts))) == 1)
        direction.append(pre == true_pre)
    return {"partners": float(np.mean(partners)), "direction": float(np.mean(direction))}


def alignment_rms(shifts: np.ndarray, true_shifts: np.ndarray) -> float:
    """Measure how far sections were left from where they belong.

    Parameters
    ----------
    shifts, true_shifts : ndarray of float, shape (Z, 2)
        Applied and true shifts (dy, dx) in pixels. A shift common to all sections moves the
        stack as a whole and is no error, so the mean difference is taken out.

    Returns
    -------
    float
        Root mean square length of the residual vectors, in pixels.
    """
    residual = np.asarray(shifts, float) - np.asarray(true_shifts, float)
    residual -= residual.mean(axis=0)
    return float(np.sqrt((residual**2).sum(axis=1).mean()))


def format_table(evaluation: dict) -> str:
    """Lay scores out as lines of text for a terminal.

    Parameters
    ----------
    evaluation : dict
        As written to ``tables/evaluation.json``; any of its three parts may be missing.
    """
    lines = []
    if segmentation := evaluation.get("segmentation"):
        lines.append("neurites   ARE {are:.3f}   VOI {voi:.2f} bits".format(**segmentation))
        lines[-1] += " (split {voi_split:.2f}, merge {voi_merge:.2f})".format(**segmentation)
        share = "           {fraction_scored:.1%} of voxels scored, {unassigned:.1%} of those"
        lines.append(share.format(**segmentation) + " unassigned")
    for limit, score in evaluation.get("synapses", {}).items():
        row = "precision {precision:.2f}   recall {recall:.2f}   F1 {f1:.2f}".format(**score)
        if "partners" in score:
            row += "   partners {partners:.0%}, direction {direction:.0%} right".format(**score)
        lines.append(f"synapses   within {limit:>3} nm: {row}")
    if alignment := evaluation.get("alignment"):
        reference = alignment.get("reference", "the true place")
        lines.append(f"alignment  {alignment['rms_px']:.2f} px RMS from {reference}")
    return "\n".join(lines)


if __name__ == "__main__":
    from connectome.cli.arguments import run
    from connectome.cli.commands.evaluate import main

    run(main)
