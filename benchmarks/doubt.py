"""Measure whether doubt leads to errors: the order of the tables against ground truth.

    python benchmarks/doubt.py --data FOLDER

A merge is wrong if its two sides belong mostly to different true neurites; an unmerged pair (of
those in the log) is wrong if both belong mostly to the same one. The error of a neurite is the
volume that has to be reassigned: what does not belong to its true neurite, or all of it where
another neurite has more of that; it counts as wrong from 0.003 µm³. The table has the number of
errors, the probability that doubt ranks an error above a correct entry (AUC), the fraction of
errors among the 20 most doubtful, and the fraction of the total error volume in these; beside each
the same for the obvious order: weakest merges, highest probability at the boundary, largest
neurites. No parameter is tuned on these phantoms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from cases import DATA, PHANTOM_SHAPE, print_table
from scipy import stats
from scipy.cluster.hierarchy import DisjointSet
from scores import add_save_option, save_table

from connectome import align, preprocess
from connectome.cli import arguments
from connectome.phantom import make_phantom
from connectome.triage import uncertainty
from connectome.workflows.neurites import predict_aligned_probability, segment_neurites

SEEDS = (101, 102, 103)
FIRST = 20
WRONG_UM3 = 0.003
STACKS = {
    "fib25_dev, sections 0-63": ("fib25_dev", slice(0, 64)),
    "fib25_dev, sections 64-124": ("fib25_dev", slice(64, None)),
    "isbi_dev": ("isbi_dev", slice(None)),
}
OBVIOUS = "obvious order"
MEASURES = ("AUC", "wrong in first 20", "volume in first 20")
TITLES = ("by doubt", "wrong", *(t for name in MEASURES for t in (name, f"{name}, {OBVIOUS}")))


def main(argv: Sequence[str] | None = None) -> None:
    """Print one table for all stacks."""
    parser = arguments.Parser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real stacks")
    add_save_option(parser)
    args = parser.parse_args(argv)
    rows = []
    for name, raw, truth, voxel_size in load_stacks(args.data):
        log, table, found = reconstruct(raw, truth, voxel_size)
        rows += [
            format_row(f"{name}: merges", *rank_merges(log, *found)),
            format_row(f"{name}: unmerged pairs", *rank_unmerged_pairs(log, *found)),
            format_row(f"{name}: neurites", *rank_neurites(table, *found, voxel_size)),
        ]
    print_table(TITLES, rows)
    save_table(args.save, "doubt", TITLES, rows)


def load_stacks(data: Path) -> Iterator[tuple]:
    """Yield name, EM, true labels and voxel size."""
    for title, (name, sections) in STACKS.items():
        if (path := data / f"{name}.npz").exists():
            with np.load(path) as archive:
                voxel_size = tuple(archive["voxel_size_nm_zyx"].tolist())
                yield title, archive["raw"][sections], archive["labels"][sections], voxel_size
    for seed in SEEDS:
        phantom = make_phantom(PHANTOM_SHAPE, seed=seed)
        volume = phantom.volume
        yield f"phantom {seed}", volume.data, phantom.ground_truth.labels, volume.voxel_size


def reconstruct(raw, truth, voxel_size):
    """Segment a stack; return its tables, and labels, supervoxels and ground truth, aligned."""
    tissue = preprocess.find_tissue(raw)
    blank = preprocess.find_blank_sections(raw, tissue)
    even = preprocess.preprocess(raw, tissue, voxel_size, threads=2)
    found = align.estimate_alignment(even, voxel_size, blank_sections=blank, threads=2)
    aligned = align.apply_transforms(even, found.transforms)
    tissue = align.apply_transforms(tissue.astype(np.uint8), found.transforms, order=0) > 0
    truth = align.apply_transforms(truth, found.transforms, order=0)
    shared = {
        "tissue": tissue,
        "voxel_size": voxel_size,
        "damaged_sections": found.damaged_sections,
    }
    probability = predict_aligned_probability(
        even, aligned, transforms=found.transforms, threads=2, **shared
    )
    made = segment_neurites(probability, aligned, **shared)
    log = uncertainty.merge_log(made.agglomeration, made.supervoxels, voxel_size)
    table = uncertainty.segment_table(made.labels, voxel_size, made.agglomeration, log)
    return log, table, (made.labels, made.supervoxels, truth)


def count_overlaps(labels: np.ndarray, truth: np.ndarray) -> pd.DataFrame:
    """Count the voxels shared by every id and true neurite, in descending order."""
    known = (truth > 0) & (labels > 0)
    both = pd.DataFrame({"id": labels[known], "true": truth[known]})
    return both.value_counts().rename("voxels").reset_index()


def majority_neurites(labels: np.ndarray, truth: np.ndarray) -> pd.Series:
    """Return the true neurite with most voxels of every id."""
    return count_overlaps(labels, truth).drop_duplicates("id").set_index("id")["true"]


def rank_merges(log, _labels, supervoxels, truth):
    """Return doubt, the obvious order, errors and their volume, for every merge."""
    rows = log[log["joined"]]
    contents = [Counter() for _ in range(int(supervoxels.max()) + 1)]
    for supervoxel, true, voxels in count_overlaps(supervoxels, truth).itertuples(index=False):
        contents[supervoxel][true] = voxels
    sides, wrong = DisjointSet(range(len(contents))), []
    for pair in rows[["piece_a", "piece_b"]].to_numpy().tolist():
        one, other = (contents[sides[supervoxel]] for supervoxel in pair)
        most = {side.most_common(1)[0][0] for side in (one, other) if side}
        wrong.append(len(most) == 2)
        sides.merge(*pair)
        contents[sides[pair[0]]] = one + other
    wrong = pd.Series(wrong, rows.index)
    return rows["doubt"], -rows["strength"], wrong, rows["volume_um3"] * wrong


def rank_unmerged_pairs(log, labels, _supervoxels, truth):
    """Return the same for every unmerged pair of neurites."""
    rows = log[~log["joined"]]
    true = majority_neurites(labels, truth)
    wrong = rows["neurite"].map(true) == rows["other"].astype(int).map(true)
    return rows["doubt"], rows["probability"], wrong, rows["volume_um3"] * wrong


def rank_neurites(table, labels, _supervoxels, truth, voxel_size):
    """Return the same for every neurite."""
    counts = count_overlaps(labels, truth)
    largest = counts.drop_duplicates("id").set_index("id")
    keeper = counts.drop_duplicates("true").set_index("true")["id"]
    ids = table["id"]
    right = ids.map(largest["voxels"]).where(ids.map(largest["true"]).map(keeper) == ids, 0)
    of = ids.map(counts.groupby("id")["voxels"].sum()).fillna(0)
    volume = (of - right.fillna(0)) * np.prod(voxel_size) / 1e9
    return table["doubt"], table["volume_um3"], volume > WRONG_UM3, volume


def format_row(title, doubt, obvious, wrong, volume) -> tuple[str, ...]:
    """Return one row: each score by doubt and in the obvious order."""
    pairs = zip(
        score_ranking(doubt, wrong, volume), score_ranking(obvious, wrong, volume), strict=True
    )
    return title, f"{wrong.sum()} of {len(wrong)}", *(cell for pair in pairs for cell in pair)


def score_ranking(order, wrong, volume) -> tuple[str, ...]:
    """Return AUC, and of the first: the fraction of errors, and of the total error volume."""
    rank = stats.mannwhitneyu(order[wrong], order[~wrong]).statistic
    auc = rank / (wrong.sum() * (~wrong).sum())
    first = order.sort_values(ascending=False, kind="stable").index[:FIRST]
    return f"{auc:.2f}", f"{wrong[first].mean():.2f}", f"{volume[first].sum() / volume.sum():.2f}"


if __name__ == "__main__":
    arguments.run(main)
