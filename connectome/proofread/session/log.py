"""The sessions in a run log: what was saved, what is unsaved, and where each started from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from connectome import runlog
from connectome.core.errors import DataError
from connectome.io import paths
from connectome.io.files import atomic_path
from connectome.io.run_folder import RunFolder
from connectome.proofread.session.start import (
    SETTLING_TOOLS,
    SessionStart,
    content_sha256,
    restore_editor,
)
from connectome.runlog.edit_record import EditRecord, timestamp

JOB = "proofreading"  # kind of run, in the configuration of the run log


class UnsavedEdits(NamedTuple):
    """Edits that a session left unsaved.

    Parameters
    ----------
    run_id : str
        The session.
    n_edits : int
        Edits since its last save.
    time, user : str
        Of the last edit.
    """

    run_id: str
    n_edits: int
    time: str
    user: str


class Save(NamedTuple):
    """A save in the log.

    Parameters
    ----------
    run_id : str
        The session.
    n_records : int
        Records of that session before the save.
    sha256 : str
        Checksum of the saved labels.
    time : str
        When they were saved.
    """

    run_id: str
    n_records: int
    sha256: str
    time: str


class SessionLog:
    """All proofreading sessions logged in an output folder.

    Parameters
    ----------
    outdir : Path
        Output folder.

    Attributes
    ----------
    saves : list of Save
        All saves, by session, oldest session first.
    """

    def __init__(self, outdir: Path):
        self._outdir = outdir
        self._runs: dict[str, runlog.PastRun] = {}
        if (outdir / paths.RUN_LOG).exists():
            runs = runlog.read_history(outdir)
            self._runs = {run.run_id: run for run in runs if run.config.get("job") == JOB}
        self._records = {run_id: runlog.read_edits(outdir, run_id) for run_id in self._runs}
        self.saves = [
            Save(run_id, n_records, _saved_sha256(record), record.time)
            for run_id, records in self._records.items()
            for n_records, record in enumerate(records)
            if record.tool == "save"
        ]

    def find_unsaved_edits(self) -> UnsavedEdits | None:
        """Return the edits that the newest session with unsaved edits left; None without any.

        Sessions that are still running, were resumed by a later one, or whose edits were
        discarded do not count.
        """
        resumed = {run.config.get("continues") for run in self._runs.values()}
        for run in reversed(self._runs.values()):
            if run.status == "running" or run.run_id in resumed:
                continue
            _, records = self.trace_session(run.run_id)
            settling = [n for n, record in enumerate(records, 1) if record.tool in SETTLING_TOOLS]
            if unsaved := records[max(settling, default=0) :]:
                return UnsavedEdits(run.run_id, len(unsaved), unsaved[-1].time, unsaved[-1].user)
        return None

    def log_discard(self, unsaved: UnsavedEdits, user: str) -> None:
        """Log that a user discarded the edits that a session left unsaved."""
        record = make_settling_record("discard", {}, user)
        runlog.append_edit(self._outdir, unsaved.run_id, record)

    def saved_by_others(self, run_id: str) -> bool:
        """Tell whether another session saved after this one last saved, or started."""
        own_runs = [self._runs[run_id]]
        while earlier := own_runs[-1].config.get("continues"):
            own_runs.append(self._runs[earlier])
        own_ids = {run.run_id for run in own_runs}
        own_saves = [save.time for save in self.saves if save.run_id in own_ids]
        since = max(own_saves, default=own_runs[-1].created_at)
        return any(save.time > since for save in self.saves if save.run_id not in own_ids)

    def trace_session(self, run_id: str) -> tuple[runlog.PastRun, list[EditRecord]]:
        """Follow a session back through the sessions that it resumed.

        Returns
        -------
        first : PastRun
            The session that resumed none.
        records : list of EditRecord
            All edits of the chain, oldest first.
        """
        run, records = self._runs[run_id], self._records[run_id]
        while earlier := run.config.get("continues"):
            run, records = self._runs[earlier], self._records[earlier] + records
        return run, records

    def replay_save(self, save: Save, folder: RunFolder) -> np.ndarray:
        """Return the labels of a save, reproduced from the draft edit by edit.

        Raises
        ------
        DataError
            If the initial labels are gone, or the log does not give the labels that were saved.
        """
        first, records = self.trace_session(save.run_id)
        n_later = len(self._records[save.run_id]) - save.n_records
        start = self.find_start(first, folder, replay=True)
        labels = restore_editor(folder, start, records[: len(records) - n_later]).labels
        if content_sha256(labels) != save.sha256:
            raise DataError(
                f"replaying session {save.run_id} does not give the labels that it saved",
                "the log was changed, or was written by another version",
            )
        return labels

    def find_start(
        self, run: runlog.PastRun, folder: RunFolder, *, replay: bool = False
    ) -> SessionStart:
        """Find the state that a session started from.

        Parameters
        ----------
        run : PastRun
            A session that resumed none.
        folder : RunFolder
            Output folder of the run.
        replay : bool
            Reproduce the labels from the draft if an earlier session saved them, even if the
            file is still there.

        Raises
        ------
        DataError
            If the labels are no longer there and cannot be reproduced.
        """
        config = run.config
        labels = self._find_labels(run, folder, replay)
        return SessionStart(config["labels"], labels, config["sections"], config["reviewed"])

    def _find_labels(self, run: runlog.PastRun, folder: RunFolder, replay: bool) -> np.ndarray:
        name, sha256 = run.config["labels"], run.config["sha256"]
        earlier = list(self._runs)[: list(self._runs).index(run.run_id)]
        saves = [save for save in self.saves if save.sha256 == sha256 and save.run_id in earlier]
        if saves and replay:
            return self.replay_save(saves[-1], folder)
        if (copy := self._copy_path(sha256)).exists():
            with np.load(copy) as archive:
                return archive["labels"]
        if (path := self._outdir / name).exists():
            labels = folder.read_labels(path)
            if content_sha256(labels) == sha256:
                return labels
        if saves:
            return self.replay_save(saves[-1], folder)
        raise DataError(
            f"{path} is not what session {run.run_id} started from",
            "its edits were made on other labels and cannot be replayed on these",
            "run_pipeline.py as before, or --no-recover to start without the unsaved edits",
        )

    def keep_labels(self, start: SessionStart) -> None:
        """Keep a copy of labels that cannot be reproduced, as their file may be overwritten.

        Labels of the main job are not copied, nor are those that a session saved.
        """
        copy = self._copy_path(start.sha256)
        was_saved = start.sha256 in {save.sha256 for save in self.saves}
        if start.labels_file != paths.LABELS and not was_saved and not copy.exists():
            with atomic_path(copy) as path:
                np.savez_compressed(path, labels=start.labels)

    def _copy_path(self, sha256: str) -> Path:
        return self._outdir / "runs" / f"labels_{sha256[:16]}.npz"


def make_settling_record(tool: str, content: dict, user: str) -> EditRecord:
    """Return the record of a save or a discard."""
    return EditRecord(
        tool=tool,
        ids=(),
        position=None,
        voxel_delta=0,
        payload=json.dumps(content).encode(),
        time=timestamp(),
        user=user,
    )


def _saved_sha256(record: EditRecord) -> str:
    """Return the checksum in the record of a save; "" if the record is damaged."""
    try:
        return str(json.loads(record.payload)["sha256"])
    except (ValueError, KeyError, TypeError):
        return ""
