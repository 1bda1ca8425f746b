"""Compare a connectivity graph before and after a rebuild: ids, connections and scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from connectome.core.synapse_table import encode_ids

COLUMNS = ["kind", "item", "before", "after", "change"]
END_COLUMNS = ["pre_id", "post_id"]
# Smaller parts of a neurite are shifted boundaries, not splits.
MIN_SHARE = 0.1
MIN_VOXELS = 50
# Fraction of a connection's weight; smaller changes come from boundaries that moved by a voxel.
MIN_WEIGHT_CHANGE = 0.05


@dataclass(frozen=True, eq=False)
class GraphSnapshot:
    """A connectivity graph, as far as it is compared.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X), or None
        Neurite ids; None where they are not available any more.
    edges : DataFrame
        Columns ``pre_id, post_id, weight``.
    counts : mapping of str to int
        Numbers of neurites, connections and the like, by name.
    scores : mapping of str to float
        Evaluation metrics by name.
    directed : bool
        Whether connections are directed.
    """

    labels: np.ndarray | None
    edges: pd.DataFrame
    counts: Mapping[str, int]
    scores: Mapping[str, float]
    directed: bool = True


def diff_graphs(before: GraphSnapshot, after: GraphSnapshot) -> pd.DataFrame:
    """List the differences between two graphs of the same tissue.

    Parameters
    ----------
    before, after : GraphSnapshot
        Their ids may be unrelated: neurites are matched by overlap of their labels. Where labels
        are missing, ids are assumed to mean the same.

    Returns
    -------
    DataFrame
        ``kind``: count, score, split or merged (neurites), gained, lost or weight (connections).
        ``item``: the name or ids concerned; ids are those after the change, except for split
        neurites. ``before`` and ``after``, as text; ``change``, a number or a word.
    """
    rows = [*_diff_numbers("count", before.counts, after.counts)]
    rows += _diff_numbers("score", before.scores, after.scores)
    successors: dict[int, int] = {}
    if before.labels is not None and after.labels is not None:
        overlaps = _measure_overlaps(before.labels, after.labels)
        successors = _find_successors(overlaps)
        rows += _list_splits(overlaps)
        rows += _list_mergers(overlaps)
    # If one of them is undirected, only undirected connections can be compared.
    directed = before.directed and after.directed
    rows += _diff_connections(before.edges, after.edges, successors, directed)
    return pd.DataFrame(rows, columns=COLUMNS)


def _diff_numbers(kind: str, before: Mapping, after: Mapping) -> Iterator[tuple]:
    names = [name for name in after if name in before] + [n for n in after if n not in before]
    for name in names:
        change = round(after[name] - before[name], 6) if name in before else "new"
        yield kind, name, _format(before.get(name)), _format(after[name]), change


def _format(number: float | None) -> str:
    return "" if number is None else f"{number:.6g}"


def _measure_overlaps(before: np.ndarray, after: np.ndarray) -> pd.DataFrame:
    """Count the voxels of every overlapping pair of ids, and their share of either neurite."""
    labelled = (before > 0) & (after > 0)
    overlaps = pd.DataFrame({"old": before[labelled], "new": after[labelled]})
    overlaps = overlaps.value_counts(sort=False).rename("voxels").reset_index()
    for name in ("old", "new"):
        total = overlaps.groupby(name)["voxels"].transform("sum")
        overlaps[f"share_of_{name}"] = overlaps["voxels"] / total
    return overlaps


def _find_successors(overlaps: pd.DataFrame) -> dict[int, int]:
    """Map every old id to the new one with the largest overlap."""
    best = overlaps.sort_values(["old", "voxels", "new"], ascending=[True, False, True])
    best = best.drop_duplicates("old")
    return dict(zip(best["old"].tolist(), best["new"].tolist(), strict=True))


def _list_splits(overlaps: pd.DataFrame) -> list[tuple]:
    """List old neurites that are several now."""
    large = (overlaps["share_of_old"] >= MIN_SHARE) & (overlaps["voxels"] >= MIN_VOXELS)
    # A part that mainly belonged to another neurite is not a result of this split.
    return _list_groups("split", overlaps[large & (overlaps["share_of_new"] >= 0.5)], "old", "new")


def _list_mergers(overlaps: pd.DataFrame) -> list[tuple]:
    """List new neurites that were several before."""
    large = (overlaps["share_of_new"] >= MIN_SHARE) & (overlaps["voxels"] >= MIN_VOXELS)
    return _list_groups("merged", overlaps[large & (overlaps["share_of_old"] >= 0.5)], "new", "old")


def _list_groups(kind: str, parts: pd.DataFrame, one: str, many: str) -> list[tuple]:
    rows = []
    for neurite, group in parts.groupby(one):
        if len(group) < 2:
            continue
        group = group.sort_values(["voxels", many], ascending=[False, True])
        listed = encode_ids(group[many])
        before, after = (neurite, listed) if one == "old" else (listed, neurite)
        rows.append((kind, neurite, str(before), str(after), len(group)))
    return rows


def _diff_connections(
    before: pd.DataFrame, after: pd.DataFrame, successors: Mapping[int, int], directed: bool
) -> list[tuple]:
    """List connections that are new, gone, or clearly changed in weight; largest changes first."""
    old = before.assign(
        pre_id=before["pre_id"].map(lambda i: successors.get(i, i)),
        post_id=before["post_id"].map(lambda i: successors.get(i, i)),
    )
    old_weights = _sum_weights(old[old["pre_id"] != old["post_id"]], directed)
    new_weights = _sum_weights(after, directed)
    both = pd.concat([old_weights.rename("before"), new_weights.rename("after")], axis=1)
    change = both["after"].fillna(0) - both["before"].fillna(0)
    changed = both.isna().any(axis=1) | (change.abs() > MIN_WEIGHT_CHANGE * both.max(axis=1))
    rows = []
    for (pre, post), difference in change[changed].sort_values(key=lambda c: -c.abs()).items():
        weights = both.loc[(pre, post)]
        is_new, is_gone = weights.isna()
        kind = "gained" if is_new else "lost" if is_gone else "weight"
        texts = ("" if np.isnan(weight) else f"{weight:.4g}" for weight in weights)
        item = f"{pre} -> {post}" if directed else f"{pre} -- {post}"
        rows.append((kind, item, *texts, round(float(difference), 4)))
    return rows


def _sum_weights(edges: pd.DataFrame, directed: bool) -> pd.Series:
    """Sum weights by the two ends; without direction, those of both directions are added."""
    if not directed:
        low, high = np.sort(edges[END_COLUMNS].to_numpy(), axis=1).T
        edges = edges.assign(pre_id=low, post_id=high)
    return edges.groupby(END_COLUMNS)["weight"].sum()
