"""Where to begin proofreading, from what the main job wrote about its own doubts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from connectome.core.errors import UsageError
from connectome.io import paths
from connectome.io.run_folder import RunFolder
from connectome.io.tables import check_columns, check_numbers, read_table
from connectome.triage import focused_proofreading

N_SECTIONS = 4  # enough for a refiner to learn from, and an hour's work
FAULT = ("it cannot be told what is in doubt", "run_pipeline.py, or move the file away")


@dataclass(frozen=True, eq=False)
class ProofreadingQueue:
    """What to look at in a draft.

    Parameters
    ----------
    locations : list of Location
        The worst first; empty where nobody has rated the draft.
    uncertainty : ndarray of float16, shape (Z, Y, X)
        Doubt of every voxel, 0 to 1.
    sections : tuple of int
        To proofread from edge to edge.
    """

    locations: list[focused_proofreading.Location]
    uncertainty: np.ndarray
    sections: tuple[int, ...]


def build_queue(
    draft: RunFolder,
    synapses: pd.DataFrame,
    sections: Sequence[int] | None = None,
    n_sections: int = N_SECTIONS,
) -> ProofreadingQueue:
    """Rank the places of a draft, and choose sections to proofread.

    Parameters
    ----------
    draft : RunFolder
        With the tables of its run beside it.
    synapses : DataFrame
        Candidates, as DATASHEET.md describes them.
    sections : sequence of int, optional
        Sections somebody has chosen; None chooses those that teach most.
    n_sections : int
        How many to choose.

    Raises
    ------
    UsageError
        If a chosen section is not in the stack.
    DataError
        If a table of the run cannot be read, lacks a column or has a gap.
    """
    n_there = len(draft.baseline_labels)
    if outside := [z for z in sections or () if z >= n_there]:
        raise UsageError(
            f"there is no section {outside[0]}",
            f"the stack has {n_there}, counted from 0",
            f"--slices with numbers up to {n_there - 1}, or --slices auto",
        )
    segments, log = _segments(draft), _merge_log(draft)
    voxel_size = draft.aligned.voxel_size
    places = focused_proofreading.rank_locations(
        segments, log, synapses, draft.baseline_labels.shape, voxel_size
    )
    doubt = focused_proofreading.uncertainty_map(draft.baseline_labels, segments, log, voxel_size)
    if sections is None:
        sections = focused_proofreading.choose_training_sections(
            doubt, draft.tissue, n_sections, draft.damaged_sections
        )
    return ProofreadingQueue(places, doubt, tuple(sorted(set(sections))))


def _segments(draft: RunFolder) -> pd.DataFrame:
    """Read what the run said of its neurites; empty where it said nothing."""
    path = draft.outdir / paths.SEGMENTS
    if not path.exists():
        return pd.DataFrame()
    rating = ("doubt", "doubt_z", "doubt_y", "doubt_x")
    table = read_table(path, ("id", "volume_um3"), dict.fromkeys(rating, float), *FAULT)
    check_columns(table, (*rating, "reason"), path, *FAULT)
    # What is without doubt has no place where the doubt is greatest.
    check_numbers(table[table["doubt"] >= focused_proofreading.MIN_DOUBT], rating, path, *FAULT)
    # Of a neurite that the draft does not have there is nothing to look at.
    return table[table["id"].between(0, draft.baseline_labels.max())]


def _merge_log(draft: RunFolder) -> pd.DataFrame:
    """Read what the run joined and left apart; empty where it did not say."""
    path = draft.outdir / paths.MERGE_LOG
    if not path.exists():
        return pd.DataFrame()
    numbers = ("z", "y", "x", "neurite", "volume_um3", "doubt")
    types = {"joined": bool, "other": float, "probability": float}
    table = read_table(path, numbers, types, *FAULT)
    check_columns(table, (*types, "reason"), path, *FAULT)
    check_numbers(table[~table["joined"]], ("other",), path, *FAULT)
    return table
