"""What a session starts from: labels, synapses, and what was reviewed before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pandas as pd

from connectome.io import paths
from connectome.io.run_folder import RERUN, RunFolder
from connectome.io.tables import check_positions
from connectome.proofread.editor import LabelEditor
from connectome.proofread.edits import UNREVIEWED
from connectome.runlog.edit_record import EditRecord
from connectome.synapses import verdicts
from connectome.workflows.connectivity import reviewed_synapses
from connectome.workflows.neurites import baseline_probability

SETTLING_TOOLS = ("save", "discard")  # edits before one of these are no longer unsaved


@dataclass(frozen=True, eq=False)
class SessionStart:
    """The state that a session starts from.

    Parameters
    ----------
    labels_file : str
        File of the labels, relative to the output folder if it is inside.
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids.
    sections : list of int
        Sections already proofread.
    reviewed : list of dict
        Rows of the synapses already reviewed, with ids of ``labels``.
    """

    labels_file: str
    labels: np.ndarray
    sections: list[int]
    reviewed: list[dict]

    @cached_property
    def sha256(self) -> str:
        """Checksum of the labels."""
        return content_sha256(self.labels)

    def to_config(self) -> dict:
        """Return it as the run log stores it, with a checksum in place of the labels."""
        return {
            "labels": self.labels_file,
            "sha256": self.sha256,
            "sections": self.sections,
            "reviewed": self.reviewed,
        }


def choose_start(folder: RunFolder, labels: str) -> SessionStart:
    """Read the labels to start from, with the sections and synapses reviewed before.

    Parameters
    ----------
    folder : RunFolder
        Output folder of the run.
    labels : str
        As `connectome.proofread.session.open_session` takes it.

    Raises
    ------
    UsageError, DataError
        If there are no such labels, or a file is damaged.
    """
    corrected = folder.outdir / paths.CORRECTED_LABELS
    if labels == "auto":
        labels = "corrected" if corrected.exists() else "baseline"
    path = folder.find_labels(labels)
    ids = folder.read_labels(path)
    proofread = folder.proofread_sections if corrected.exists() else None
    sections = []
    if proofread:
        # In other labels, a section counts as proofread only if it equals the corrected one.
        sections = [z for z in proofread.sections if np.array_equal(ids[z], proofread.labels[z])]
    outdir, path = folder.outdir.resolve(), path.resolve()
    name = path.relative_to(outdir) if path.is_relative_to(outdir) else path
    return SessionStart(name.as_posix(), ids, sections, _read_reviewed_rows(folder, ids))


def restore_editor(
    folder: RunFolder, start: SessionStart, records: Iterable[EditRecord] = (), user: str = ""
) -> LabelEditor:
    """Return an editor in which logged edits have been replayed.

    Parameters
    ----------
    folder : RunFolder
        Output folder of the run.
    start : SessionStart
        State before the edits.
    records : iterable of EditRecord
        Edits to replay, oldest first; saves and discards among them are skipped.
    user : str
        Name to log for edits that follow.

    Raises
    ------
    DataError
        If an edit does not fit the labels.
    """
    editor = LabelEditor(
        start.labels.copy(),
        partial(baseline_probability, folder),
        folder.tissue,
        synapses=_read_synapses(folder, start),
        sections=start.sections,
        user=user,
    )
    for record in records:
        if record.tool not in SETTLING_TOOLS:
            editor.replay(record)
    return editor


def content_sha256(labels: np.ndarray) -> str:
    """Return the SHA-256 of ids, whatever the format of the file they are stored in."""
    return hashlib.sha256(np.ascontiguousarray(labels, "<i4").data).hexdigest()


def _read_reviewed_rows(folder: RunFolder, labels: np.ndarray) -> list[dict]:
    """Read the synapses reviewed before, as JSON rows for the log."""
    reviewed = reviewed_synapses(folder, labels)
    return [] if reviewed is None else json.loads(reviewed.to_json(orient="records"))


def _read_synapses(folder: RunFolder, start: SessionStart) -> pd.DataFrame:
    """Read the candidates and apply the verdicts given before."""
    table = pd.DataFrame(columns=["z", "y", "x", "pre_id", "post_id"])
    if folder.has(paths.SYNAPSES):
        table = folder.synapses.drop(columns=UNREVIEWED, errors="ignore")
        path = folder.path(paths.SYNAPSES)
        check_positions(table, folder.aligned.shape, path, "it cannot be shown", RERUN)
    candidates = verdicts.relabel_partners(
        table, _read_candidate_labels(folder), start.labels, folder.aligned.voxel_size
    )
    rows: dict[tuple, dict] = {}
    for row in [*candidates.to_dict("records"), *start.reviewed]:
        position = tuple(round(row[axis]) for axis in "zyx")
        rows[position] = rows.get(position, {}) | row
    return pd.DataFrame(list(rows.values())) if rows else table


def _read_candidate_labels(folder: RunFolder) -> np.ndarray:
    """Read the labels that the ids in the table of candidates refer to."""
    return folder.graph_labels if folder.graph_labels_path.exists() else folder.baseline_labels
