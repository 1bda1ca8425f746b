"""Where to begin proofreading, from what the main job wrote about its own doubts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from connectome import doubts, layout
from connectome.draft import Draft
from connectome.errors import UsageError

N_SECTIONS = 4  # enough for a refiner to learn from, and an hour's work


@dataclass(frozen=True, eq=False)
class Guide:
    """What to look at in a draft.

    Parameters
    ----------
    places : list of Place
        The worst first; empty where nobody has rated the draft.
    doubt : ndarray of float16, shape (Z, Y, X)
        Doubt of every voxel, 0 to 1.
    sections : tuple of int
        To proofread from edge to edge.
    """

    places: list[doubts.Place]
    doubt: np.ndarray
    sections: tuple[int, ...]


def make_guide(
    draft: Draft,
    synapses: pd.DataFrame,
    sections: Sequence[int] | None = None,
    n_sections: int = N_SECTIONS,
) -> Guide:
    """Rank the places of a draft, and choose sections to proofread.

    Parameters
    ----------
    draft : Draft
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
    """
    n_there = len(draft.labels)
    if outside := [z for z in sections or () if z >= n_there]:
        raise UsageError(
            f"there is no section {outside[0]}",
            f"the stack has {n_there}, counted from 0",
            f"--slices with numbers up to {n_there - 1}, or --slices auto",
        )
    segments, log = (_table(draft, name) for name in (layout.SEGMENTS, layout.MERGE_LOG))
    voxel_size = draft.aligned.voxel_size
    places = doubts.ranked_places(segments, log, synapses, draft.labels.shape, voxel_size)
    doubt = doubts.doubt_map(draft.labels, segments, log, voxel_size)
    if sections is None:
        sections = doubts.teaching_sections(doubt, draft.tissue, n_sections, draft.damaged)
    return Guide(places, doubt, tuple(sorted(set(sections))))


def _table(draft: Draft, name: str) -> pd.DataFrame:
    """Read a table of the run; empty where it made none."""
    path = draft.outdir / name
    return pd.read_csv(path) if path.exists() else pd.DataFrame()
