"""A proofreading session on an output folder: begun, logged, saved, taken up again, replayed.

The log is the autosave: every correction is in it before the next can be made. A session that
ended without saving, or died, is gone through again correction by correction when the next one
takes it up; in the same way all that was ever saved can be made again from the draft.

What a session left stays on offer, whatever others did since, until one that takes it up saves or
discards it, or a person begins without it: that is a ``discard``, too, in the log of the session
that is declined.
"""

from __future__ import annotations

import getpass
import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from connectome import runlog
from connectome.core.errors import ConnectomeError, DataError, UsageError
from connectome.io import paths
from connectome.io.draft import Draft, read_draft, read_labels, read_proofread
from connectome.io.results import REMEDY, Results
from connectome.io.tables import check_positions
from connectome.proofread.editor import UNREVIEWED, LabelEditor
from connectome.runlog.edit_record import EditRecord, timestamp
from connectome.synapses import verdicts
from connectome.workflows.known import labels_path, reviewed_synapses
from connectome.workflows.neurites import baseline_probability

JOB = "proofreading"  # how the configuration of a run says what kind it is
SETTLING_TOOLS = ("save", "discard")  # nothing before one of these is unsaved


class UnsavedEdits(NamedTuple):
    """Corrections that a session left without saving them.

    Parameters
    ----------
    run_id : str
        The session.
    n_corrections : int
        Since it last saved.
    time, user : str
        Of the last one.
    """

    run_id: str
    n_edits: int
    time: str
    user: str


@dataclass(frozen=True, eq=False)
class _SessionStart:
    """What a session starts from.

    Parameters
    ----------
    name : str
        File of the labels, relative to the output folder if it lies there.
    labels : ndarray of int32, shape (Z, Y, X)
    sections : list of int
        Proofread already.
    reviewed : list of dict
        Rows of synapses somebody has looked at, with ids of ``labels``.
    """

    name: str
    labels: np.ndarray
    sections: list[int]
    reviewed: list[dict]

    def config(self) -> dict:
        """Return it as what the run log keeps."""
        return {
            "labels": self.name,
            "sha256": _content_sha256(self.labels),
            "sections": self.sections,
            "reviewed": self.reviewed,
        }


class Session:
    """Proofreading that is logged, and can be saved; made by `open_session`.

    As a context manager it closes itself; an error that ends it is then in the log.

    Attributes
    ----------
    outdir : Path
        Output folder.
    draft : Draft
        Aligned EM and what else the run left.
    proofreading : Proofreading
        Labels, synapses and sections as they are now. Ids of synapses are those of the labels the
        session started from; `synapses_now` has the present ones.
    started_from : str
        File of the labels, relative to ``outdir`` if it lies there.
    first_labels : ndarray of int32, shape (Z, Y, X)
        As they were in that file.
    recovered : int
        Corrections taken up from a session that did not save them.
    n_unsaved : int
        Corrections since the last save.
    """

    def __init__(
        self,
        draft: Draft,
        start: _SessionStart,
        proofreading: LabelEditor,
        config: dict,
        command: Sequence[str],
        recovered: int,
        overtaken: bool = False,
    ):
        self.outdir = draft.outdir
        self.draft = draft
        self.editor = proofreading
        self.initial_labels_file = start.name
        self.n_recovered = self.n_unsaved = recovered
        self.initial_labels = start.labels
        # What another session saved after this work began is not in it, and so not seen.
        self._known_version = (
            None if overtaken else _file_version(self.outdir / paths.CORRECTED_LABELS)
        )
        self._stack = ExitStack()
        place = (draft.aligned.source, draft.aligned.shape[::-1])
        self._log = self._stack.enter_context(
            runlog.record_run(self.outdir, config, *place, command)
        )
        proofreading.on_edit = self._log_edit

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error) -> None:
        self._stack.__exit__(*error)

    def close(self) -> None:
        """End the session. What was not saved is offered to the next one."""
        self._stack.close()

    def discard(self) -> None:
        """End the session. What was not saved is not wanted and will not be offered."""
        self._log_settlement("discard", {})
        self.close()

    def save(self) -> tuple[Path, ...]:
        """Write labels, proofread sections and reviewed synapses: all of them, or none.

        Returns
        -------
        tuple of Path
            The three files.

        Raises
        ------
        ConnectomeError
            If they cannot be written, or the labels were written by somebody else since the
            session began or last saved.
        """
        corrected = self.outdir / paths.CORRECTED_LABELS
        if corrected.exists() and _file_version(corrected) != self._known_version:
            raise ConnectomeError(
                f"{corrected} was written by another program or session meanwhile",
                "nothing was saved: that work would be lost",
                "move it away and save again",
            )
        try:
            written = self._write()
        except OSError as error:
            raise ConnectomeError(
                f"corrections could not be saved: {error}",
                "none is lost: they are in the run log, and offered to the next session",
                "make room on the disk and save again",
            ) from error
        self._known_version = _file_version(corrected)
        self._log_settlement("save", {"sha256": _content_sha256(self.editor.labels)})
        return written

    def _write(self) -> tuple[Path, ...]:
        names = (paths.CORRECTED_LABELS, paths.PROOFREAD_SECTIONS, paths.REVIEWED_SYNAPSES)
        labels = self.draft.aligned.with_data(self.editor.labels)
        with paths.staging_folder(self.outdir, self._log.run_id, owned=()) as folder:
            paths.write_volume(folder / paths.CORRECTED_LABELS, labels)
            paths.write_json(folder / paths.PROOFREAD_SECTIONS, self._sections())
            with paths.atomic_path(folder / paths.REVIEWED_SYNAPSES) as path:
                self.current_synapses().to_csv(path, index=False)
            self._log.log_files({name: folder / name for name in names})
        return tuple(self.outdir / name for name in names)

    def current_synapses(self) -> pd.DataFrame:
        """Return the synapses with the ids that their partners have now.

        Synapses whose partners have become one neurite, or have gone, are left out.
        """
        state = self.editor
        return _relabel_partners(state.synapses, self.initial_labels, state.labels, self.draft)

    def _sections(self) -> dict:
        aligned = self.draft.aligned
        return {
            "slices": sorted(self.editor.sections),
            "source": aligned.source,
            "origin": list(aligned.origin),
            "voxel_size_nm": list(aligned.voxel_size),
            "based_on": self.initial_labels_file,
        }

    def _log_edit(self, correction: EditRecord) -> None:
        self._log.log_edit(correction)
        self.n_unsaved += 1

    def _log_settlement(self, tool: str, what: dict) -> None:
        self._log.log_edit(_settling_record(tool, what, self.editor.user))
        self.n_unsaved = 0


def _settling_record(tool: str, what: dict, user: str) -> EditRecord:
    return EditRecord(tool, (), None, 0, json.dumps(what).encode(), timestamp(), user)


def open_session(
    outdir: Path,
    labels: str = "auto",
    user: str | None = None,
    recover: bool = True,
    command: Sequence[str] = (),
) -> Session:
    """Begin to proofread what a run left.

    Parameters
    ----------
    outdir : Path
        Output folder of the run.
    labels : str
        What to begin with: ``baseline``, ``corrected``, ``rf``, ``unet`` or the path of an array;
        ``auto`` takes corrected labels where there are any, those of the main job otherwise.
    user : str, optional
        Who is at work; the name the system knows by default.
    recover : bool
        Resume what a session left unsaved (see `find_unsaved_edits`), whatever ``labels`` is;
        False discards it.
    command : sequence of str
        The command line, for the log.

    Raises
    ------
    UsageError, DataError
        If there is no run, its files or the labels cannot be used, or what was not saved cannot
        be done again.
    """
    draft = read_draft(Path(outdir))
    user = user or _user_name()
    log = _SessionLog(draft.outdir)
    left = log.find_unsaved_edits()
    named = {"job": JOB, "user": user}
    if left and recover:
        return _resume(log, left, draft, named, command)
    start = _choose_start(draft, labels)
    config = start.config()
    log.keep_labels(start, config["sha256"])
    proofreading = _replay_records(draft, start, [], user)
    session = Session(draft, start, proofreading, config | named, command, 0)
    if left:
        log.log_discard(left, user)
    return session


def _resume(
    log: _SessionLog, left: UnsavedEdits, draft: Draft, named: dict, command: Sequence[str]
) -> Session:
    """Begin with what was not saved."""
    root, made = log.lineage(left.run_id)
    try:
        start = log.find_start(root, draft)
        proofreading = _replay_records(draft, start, made, named["user"])
    except DataError as error:
        remedy = error.remedy or "--no-recover, to begin without what was not saved"
        raise DataError(error.problem, error.consequence, remedy) from error
    config = {"continues": left.run_id} | named
    told = (config, command, left.n_edits, log.saved_by_others(left.run_id))
    return Session(draft, start, proofreading, *told)


def find_unsaved_edits(outdir: Path) -> UnsavedEdits | None:
    """Tell what the newest of the sessions with unsaved work left; None where there is none.

    A session that still runs, was taken up by a later one or was discarded is none of them.
    """
    return _SessionLog(Path(outdir)).find_unsaved_edits()


def replay_saved_labels(outdir: Path) -> np.ndarray:
    """Make the labels that were saved last again: from the draft, correction by correction.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        What was saved, to the byte.

    Raises
    ------
    UsageError
        If nothing was saved.
    DataError
        If what a session began with is not there any more, or something else comes out.
    """
    draft = read_draft(Path(outdir))
    log = _SessionLog(draft.outdir)
    if not log.saves:
        raise UsageError(
            f"no session has saved anything in {outdir}",
            "there is nothing to replay",
            f"napari_proofread.py --outdir {outdir}",
        )
    return log.replay_save(log.saves[-1], draft)


class _Save(NamedTuple):
    """A save in the log: of which session, after how many of its own rows, of what and when."""

    run_id: str
    n_rows: int
    sha256: str
    time: str


class _SessionLog:
    """All sessions that were logged in an output folder, oldest first."""

    def __init__(self, outdir: Path):
        self._outdir = outdir
        self._runs: dict[str, runlog.PastRun] = {}
        if (outdir / paths.RUN_LOG).exists():
            runs = runlog.read_history(outdir)
            self._runs = {run.run_id: run for run in runs if run.config.get("job") == JOB}
        self._rows = {run_id: runlog.read_edits(outdir, run_id) for run_id in self._runs}
        self.saves = [
            _Save(run_id, n, _sha256_of_save(row), row.time)
            for run_id, rows in self._rows.items()
            for n, row in enumerate(rows)
            if row.tool == "save"
        ]

    def find_unsaved_edits(self) -> UnsavedEdits | None:
        """Tell what the newest session that is still on offer left."""
        taken_up = {run.config.get("continues") for run in self._runs.values()}
        for run in reversed(self._runs.values()):
            if run.status == "running" or run.run_id in taken_up:
                continue
            _, made = self.lineage(run.run_id)
            settled = max(
                (n for n, row in enumerate(made, 1) if row.tool in SETTLING_TOOLS), default=0
            )
            if left := made[settled:]:
                return UnsavedEdits(run.run_id, len(left), left[-1].time, left[-1].user)
        return None

    def log_discard(self, left: UnsavedEdits, user: str) -> None:
        """Write down that a person begins without what a session left."""
        runlog.append_edit(self._outdir, left.run_id, _settling_record("discard", {}, user))

    def saved_by_others(self, run_id: str) -> bool:
        """Tell whether others saved since the work that a session ended with last did, or began."""
        run = self._runs[run_id]
        line = [run]
        while earlier := line[-1].config.get("continues"):
            line.append(self._runs[earlier])
        own = {each.run_id for each in line}
        saved = [save.time for save in self.saves if save.run_id in own]
        since = max(saved, default=line[-1].created_at)
        return any(save.time > since for save in self.saves if save.run_id not in own)

    def lineage(self, run_id: str) -> tuple[runlog.PastRun, list[EditRecord]]:
        """Find the session that a session, by taking up others, began as; and all corrections."""
        run, rows = self._runs[run_id], self._rows[run_id]
        while earlier := run.config.get("continues"):
            run, rows = self._runs[earlier], self._rows[earlier] + rows
        return run, rows

    def replay_save(self, save: _Save, draft: Draft) -> np.ndarray:
        """Make labels that were saved again."""
        root, rows = self.lineage(save.run_id)
        n_later = len(self._rows[save.run_id]) - save.n_rows
        start = self.find_start(root, draft, anew=True)
        labels = _replay_records(draft, start, rows[: len(rows) - n_later]).labels
        if _content_sha256(labels) != save.sha256:
            raise DataError(
                f"the log of session {save.run_id} gives other labels than it saved",
                "the log was changed, or was written by another version",
            )
        return labels

    def find_start(self, root: runlog.PastRun, draft: Draft, anew: bool = False) -> _SessionStart:
        """Find what a session started from; made anew from the draft where the log allows."""
        config = root.config
        labels = self._find_labels(root, draft, anew)
        return _SessionStart(config["labels"], labels, config["sections"], config["reviewed"])

    def _find_labels(self, root: runlog.PastRun, draft: Draft, anew: bool) -> np.ndarray:
        name, sha256 = root.config["labels"], root.config["sha256"]
        before = list(self._runs)[: list(self._runs).index(root.run_id)]
        saves = [each for each in self.saves if each.sha256 == sha256 and each.run_id in before]
        if saves and anew:
            return self.replay_save(saves[-1], draft)
        if (kept := self._kept_path(sha256)).exists():
            with np.load(kept) as archive:
                return archive["labels"]
        if (path := self._outdir / name).exists():
            labels = read_labels(path, draft.aligned)
            if _content_sha256(labels) == sha256:
                return labels
        if saves:
            return self.replay_save(saves[-1], draft)
        raise DataError(
            f"{path} is not what session {root.run_id} started from",
            "its corrections were made on other labels and cannot be made again on these",
            "run_pipeline.py as before, or --no-recover, to begin without what was not saved",
        )

    def keep_labels(self, start: _SessionStart, sha256: str) -> None:
        """Keep labels that neither the main job nor a session made: they may be overwritten."""
        kept = self._kept_path(sha256)
        logged = sha256 in {save.sha256 for save in self.saves}
        if start.name != paths.LABELS and not logged and not kept.exists():
            with paths.atomic_path(kept) as path:
                np.savez_compressed(path, labels=start.labels)

    def _kept_path(self, sha256: str) -> Path:
        return self._outdir / "runs" / f"labels_{sha256[:16]}.npz"


def _sha256_of_save(row: EditRecord) -> str:
    """Read of what content a save was; "" if its row is damaged, which no content has."""
    try:
        return str(json.loads(row.payload)["sha256"])
    except (ValueError, KeyError, TypeError):
        return ""


def _choose_start(draft: Draft, labels: str) -> _SessionStart:
    """Find the labels that are meant, and what was said of them already."""
    corrected = draft.outdir / paths.CORRECTED_LABELS
    if labels == "auto":
        labels = "corrected" if corrected.exists() else "baseline"
    path = labels_path(draft.outdir, labels)
    ids = read_labels(path, draft.aligned)
    proofread = read_proofread(draft) if corrected.exists() else None
    # A section of other labels is proofread only if it is as a person left it.
    sections = [
        z
        for z in (proofread.sections if proofread else ())
        if (ids[z] == proofread.labels[z]).all()
    ]
    inside = path.resolve().is_relative_to(draft.outdir.resolve())
    name = path.resolve().relative_to(draft.outdir.resolve()) if inside else path.resolve()
    return _SessionStart(name.as_posix(), ids, sections, _read_reviewed_rows(draft, ids))


def _read_reviewed_rows(draft: Draft, labels: np.ndarray) -> list[dict]:
    """Read the synapses that somebody has looked at, as plain rows for the log."""
    seen = reviewed_synapses(draft, labels)
    return [] if seen is None else json.loads(seen.to_json(orient="records"))


def _read_synapses(draft: Draft, start: _SessionStart) -> pd.DataFrame:
    """Read the candidates and lay over them what somebody has said."""
    results = Results(draft.outdir)
    table = pd.DataFrame(columns=["z", "y", "x", "pre_id", "post_id"])
    if results.has(paths.SYNAPSES):
        table = results.synapses.drop(columns=UNREVIEWED, errors="ignore")
        path = results.path(paths.SYNAPSES)
        check_positions(table, draft.labels.shape, path, "it cannot be shown", REMEDY)
    candidates = _relabel_partners(table, _labels_of_candidates(draft), start.labels, draft)
    rows: dict[tuple, dict] = {}
    for row in [*candidates.to_dict("records"), *start.reviewed]:
        place = tuple(round(row[axis]) for axis in "zyx")
        rows[place] = rows.get(place, {}) | row
    return pd.DataFrame(list(rows.values())) if rows else table


def _labels_of_candidates(draft: Draft) -> np.ndarray:
    """Read the labels whose ids the table of candidates has."""
    path = Results(draft.outdir).labels_path
    return read_labels(path, draft.aligned) if path.exists() else draft.labels


def _relabel_partners(table: pd.DataFrame, before, after, draft: Draft) -> pd.DataFrame:
    """Name partners of synapses as other labels do."""
    return verdicts.relabel_partners(table, before, after, draft.aligned.voxel_size)


def _replay_records(
    draft: Draft, start: _SessionStart, made: Iterable[EditRecord], user: str = ""
) -> LabelEditor:
    """Do again what was done from a start."""
    proofreading = LabelEditor(
        start.labels.copy(),
        partial(baseline_probability, draft),
        draft.tissue,
        _read_synapses(draft, start),
        start.sections,
        user,
    )
    for correction in made:
        if correction.tool not in SETTLING_TOOLS:
            proofreading.replay(correction)
    return proofreading


def _file_version(path: Path) -> tuple[int, int] | None:
    """Return what tells one version of a file from another; None where there is no file."""
    if not path.exists():
        return None
    about = path.stat()
    return about.st_mtime_ns, about.st_size


def _content_sha256(labels: np.ndarray) -> str:
    """Return the SHA-256 of ids: the same for every file that holds them."""
    return hashlib.sha256(np.ascontiguousarray(labels, "<i4")).hexdigest()


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may have a user without a name
        return "unknown"
