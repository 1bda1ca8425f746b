"""A proofreading session on an output folder: begun, logged, saved, recovered, replayed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from connectome.draft import Draft
from connectome.proofread import Proofreading


class Unsaved(NamedTuple):
    """Corrections that a session left without saving them."""

    run_id: str
    n_corrections: int
    time: str  # of the last one, UTC, ISO 8601
    user: str


class Session:
    """Made by `open_session`; also a context manager that closes itself."""

    outdir: Path
    draft: Draft
    proofreading: Proofreading
    started_from: str  # the label file, relative to outdir where it lies in it
    recovered: int  # corrections taken up from a session that did not save them
    n_unsaved: int  # corrections since the last save

    def save(self) -> tuple[Path, ...]:
        """Write the three files of a person's work."""

    def discard(self) -> None:
        """Say that what was not saved is not wanted: it will not be offered again."""

    def close(self) -> None:
        """End the session in the run log, without saving."""

    def synapses_now(self) -> pd.DataFrame:
        """Return the synapses with the ids their partners have now, after merges and splits."""


def unsaved(outdir: Path) -> Unsaved | None:
    """Tell what the last session, if it is over, left unsaved."""


def open_session(
    outdir: Path, labels: str = "auto", user: str | None = None, recover: bool = True, command=()
) -> Session:
    """Begin; labels: auto (corrected, else baseline), baseline, corrected, rf, unet or a path."""


def replay(outdir: Path) -> np.ndarray:
    """Make the saved labels again from the draft, correction by correction."""
