"""Build the proofreading queue of a run from its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from connectome.core.errors import UsageError
from connectome.io import paths
from connectome.io.run_folder import RunFolder
from connectome.io.tables import check_columns, check_numbers, read_table
from connectome.triage.focused_proofreading import (
    MIN_DOUBT,
    Location,
    choose_training_sections,
    rank_locations,
    uncertainty_map,
)

N_SECTIONS = 4  # enough to retrain a refiner, and about an hour's work
TABLE_FAULT = {
    "consequence": "doubtful locations cannot be listed",
    "remedy": "run_pipeline.py, or move the file away",
}


@dataclass(frozen=True, eq=False)
class ProofreadingQueue:
    """What to proofread in a run.

    Parameters
    ----------
    locations : list of Location
        Largest expected error first; empty where the run estimated no doubt.
    uncertainty : ndarray of float16, shape (Z, Y, X)
        Uncertainty of every voxel, 0 to 1.
    sections : tuple of int
        Sections to proofread completely.
    """

    locations: list[Location]
    uncertainty: np.ndarray
    sections: tuple[int, ...]


def build_queue(
    run: RunFolder,
    synapses: pd.DataFrame,
    sections: Sequence[int] | None = None,
    n_sections: int = N_SECTIONS,
) -> ProofreadingQueue:
    """Rank the locations of a run, and choose sections to proofread.

    Parameters
    ----------
    run : RunFolder
        The output folder, with its tables.
    synapses : DataFrame
        Candidates, as DATASHEET.md describes them.
    sections : sequence of int, optional
        Sections chosen by the user; by default the most useful ones for retraining.
    n_sections : int
        Number of sections to choose.

    Raises
    ------
    UsageError
        If a chosen section is not in the stack.
    DataError
        If a table of the run cannot be read, lacks a column or has missing values.
    """
    n_total = len(run.baseline_labels)
    if outside := [z for z in sections or () if z >= n_total]:
        raise UsageError(
            f"there is no section {outside[0]}",
            f"the stack has {n_total} sections, counted from 0",
            f"--slices with numbers up to {n_total - 1}, or --slices auto",
        )
    segments, log = _read_segments(run), _read_merge_log(run)
    labels, voxel_size = run.baseline_labels, run.aligned.voxel_size
    uncertainty = uncertainty_map(labels, segments, log, voxel_size)
    if sections is None:
        sections = choose_training_sections(
            uncertainty, run.tissue, n_sections, run.damaged_sections
        )
    return ProofreadingQueue(
        locations=rank_locations(segments, log, synapses, labels.shape, voxel_size),
        uncertainty=uncertainty,
        sections=tuple(sorted(set(sections))),
    )


def _read_segments(run: RunFolder) -> pd.DataFrame:
    """Read the table of neurites; empty if the run has none."""
    path = run.outdir / paths.SEGMENTS
    if not path.exists():
        return pd.DataFrame()
    doubt_columns = ("doubt", "doubt_z", "doubt_y", "doubt_x")
    table = read_table(
        path, ("id", "volume_um3"), dict.fromkeys(doubt_columns, float), **TABLE_FAULT
    )
    check_columns(table, (*doubt_columns, "reason"), path, **TABLE_FAULT)
    # Neurites without doubt have no position of it.
    check_numbers(table[table["doubt"] >= MIN_DOUBT], doubt_columns, path, **TABLE_FAULT)
    # Ids that the labels do not have cannot be inspected.
    return table[table["id"].between(0, run.baseline_labels.max())]


def _read_merge_log(run: RunFolder) -> pd.DataFrame:
    """Read the merge log; empty if the run has none."""
    path = run.outdir / paths.MERGE_LOG
    if not path.exists():
        return pd.DataFrame()
    numbers = ("z", "y", "x", "neurite", "volume_um3", "doubt")
    types = {"joined": bool, "other": float, "probability": float}
    table = read_table(path, numbers, types, **TABLE_FAULT)
    check_columns(table, (*types, "reason"), path, **TABLE_FAULT)
    check_numbers(table[~table["joined"]], ("other",), path, **TABLE_FAULT)
    return table
