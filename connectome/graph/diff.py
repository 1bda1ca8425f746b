"""What became of a wiring diagram when it was made again: ids, connections and scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

COLUMNS = ["kind", "item", "before", "after", "change"]
END_COLUMNS = ["pre_id", "post_id"]
# A part of a neurite smaller than this share of it is a shaved edge, not a split.
MIN_SHARE = 0.1
MIN_VOXELS = 50
MIN_WEIGHT_CHANGE = 0.05  # of a connection's weight; less is a boundary that moved by a voxel


@dataclass(frozen=True, eq=False)
class GraphSnapshot:
    """A wiring diagram as far as it is compared.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X), or None
        Neurite ids; None where they are no longer there.
    edges : DataFrame
        Columns ``pre_id, post_id, weight``.
    counts : mapping of str to int
        How many there are of what.
    scores : mapping of str to float
        Metrics by name.
    directed : bool
        Whether connections have a direction.
    """

    labels: np.ndarray | None
    edges: pd.DataFrame
    counts: Mapping[str, int]
    scores: Mapping[str, float]
    directed: bool = True


def diff_graphs(before: GraphSnapshot, after: GraphSnapshot) -> pd.DataFrame:
    """Compare two wiring diagrams of the same tissue.

    Parameters
    ----------
    before, after : Wired
        Their ids need not have anything to do with each other: neurites are recognised by where
        they are, unless labels are missing; then ids are taken to mean the same.

    Returns
    -------
    DataFrame
        ``kind``: count, score, split or merged (neurites), gained, lost or weight (connections);
        ``item``: what it is about, with ids as they are afterwards, but for split neurites;
        ``before`` and ``after``, as text; and ``change``, a number or a word.
    """
    rows = [*_numbers("count", before.counts, after.counts)]
    rows += _numbers("score", before.scores, after.scores)
    renamed: dict[int, int] = {}
    if before.labels is not None and after.labels is not None:
        pairs = _overlaps(before.labels, after.labels)
        renamed = _successors(pairs)
        rows += _split(pairs)
        rows += _merged(pairs)
    # What has no direction in one of them can be compared without it only.
    rows += _connections(before.edges, after.edges, renamed, before.directed and after.directed)
    return pd.DataFrame(rows, columns=COLUMNS)


def _numbers(kind: str, before: Mapping, after: Mapping) -> list[tuple]:
    names = [name for name in after if name in before] + [n for n in after if n not in before]
    return [
        (kind, name, _text(before.get(name)), _text(after[name]), _difference(before, after, name))
        for name in names
    ]


def _difference(before: Mapping, after: Mapping, name: str) -> float | str:
    return round(after[name] - before[name], 6) if name in before else "new"


def _text(number) -> str:
    return "" if number is None else f"{number:.6g}"


def _overlaps(before: np.ndarray, after: np.ndarray) -> pd.DataFrame:
    """Count the voxels of every pair of ids, and how much of either that is."""
    inside = (before > 0) & (after > 0)
    pairs = pd.DataFrame({"old": before[inside], "new": after[inside]})
    pairs = pairs.value_counts(sort=False).rename("voxels").reset_index()
    for name in ("old", "new"):
        total = pairs.groupby(name)["voxels"].transform("sum")
        pairs[f"share_of_{name}"] = pairs["voxels"] / total
    return pairs


def _successors(pairs: pd.DataFrame) -> dict[int, int]:
    """Find the id that lies over most of each former one."""
    best = pairs.sort_values(["old", "voxels", "new"], ascending=[True, False, True])
    best = best.drop_duplicates("old")
    return dict(zip(best["old"].tolist(), best["new"].tolist(), strict=True))


def _split(pairs: pd.DataFrame) -> list[tuple]:
    """List former neurites that are now several."""
    parts = pairs[(pairs["share_of_old"] >= MIN_SHARE) & (pairs["voxels"] >= MIN_VOXELS)]
    # A part that is mainly somebody else's was never this neurite's to give.
    parts = parts[parts["share_of_new"] >= 0.5]
    return _several("split", parts, "old", "new")


def _merged(pairs: pd.DataFrame) -> list[tuple]:
    """List neurites that were several."""
    parts = pairs[(pairs["share_of_new"] >= MIN_SHARE) & (pairs["voxels"] >= MIN_VOXELS)]
    parts = parts[parts["share_of_old"] >= 0.5]
    return _several("merged", parts, "new", "old")


def _several(kind: str, parts: pd.DataFrame, one: str, many: str) -> list[tuple]:
    rows = []
    for neurite, group in parts.groupby(one):
        if len(group) < 2:
            continue
        group = group.sort_values(["voxels", many], ascending=[False, True])
        listed = ";".join(map(str, group[many].tolist()))
        sides = (neurite, listed) if one == "old" else (listed, neurite)
        rows.append((kind, neurite, *map(str, sides), len(group)))
    return rows


def _connections(
    before: pd.DataFrame, after: pd.DataFrame, renamed: Mapping[int, int], directed: bool
):
    """List connections that came, went, or weigh clearly otherwise; the largest changes first."""
    former = before.assign(
        pre_id=before["pre_id"].map(lambda i: renamed.get(i, i)),
        post_id=before["post_id"].map(lambda i: renamed.get(i, i)),
    )
    former = _weights(former[former["pre_id"] != former["post_id"]], directed)
    now = _weights(after, directed)
    both = pd.concat([former.rename("before"), now.rename("after")], axis=1)
    change = both["after"].fillna(0) - both["before"].fillna(0)
    differs = both.isna().any(axis=1) | (change.abs() > MIN_WEIGHT_CHANGE * both.max(axis=1))
    rows = []
    for (pre, post), by in change[differs].sort_values(key=lambda c: -c.abs()).items():
        weights = both.loc[(pre, post)]
        came, went = weights.isna()
        kind = "gained" if came else "lost" if went else "weight"
        texts = ("" if np.isnan(weight) else f"{weight:.4g}" for weight in weights)
        item = f"{pre} -> {post}" if directed else f"{pre} -- {post}"
        rows.append((kind, item, *texts, round(float(by), 4)))
    return rows


def _weights(edges: pd.DataFrame, directed: bool) -> pd.Series:
    """Sum up the weights by the two ends; without direction those of both ways are one."""
    if not directed:
        low, high = np.sort(edges[END_COLUMNS].to_numpy(), axis=1).T
        edges = edges.assign(pre_id=low, post_id=high)
    return edges.groupby(END_COLUMNS)["weight"].sum()
