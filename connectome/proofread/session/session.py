"""Open, log, save and resume a proofreading session on an output folder.

The run log is the autosave: every edit is on disk before the next can be made. The edits of a
session that crashed or was not saved are replayed when the next session resumes it; in the same
way, everything that was ever saved can be reproduced from the draft.

Unsaved edits stay on offer, whatever other sessions did since, until a session that resumes them
saves or discards them, or a user chooses to start without them (which logs a ``discard`` for the
session that made them).
"""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd

from connectome import runlog
from connectome.core.errors import ConnectomeError, DataError
from connectome.io import paths
from connectome.io.files import atomic_path, staging_folder, write_json
from connectome.io.run_folder import RunFolder
from connectome.io.volumes import write_volume
from connectome.proofread.editor import LabelEditor
from connectome.proofread.session.log import (
    JOB,
    SessionLog,
    UnsavedEdits,
    make_settling_record,
)
from connectome.proofread.session.start import (
    SessionStart,
    choose_start,
    content_sha256,
    restore_editor,
)
from connectome.runlog.edit_record import EditRecord
from connectome.synapses import verdicts


class Session:
    """A logged proofreading session; made by `open_session`.

    As a context manager it closes itself, and logs an error that ends it.

    Parameters
    ----------
    folder : RunFolder
        Output folder of the run.
    start : SessionStart
        State that the session, or the sessions it resumes, started from.
    editor : LabelEditor
        Current state.
    config : dict
        Configuration for the run log.
    command : sequence of str
        Command line for the run log.
    n_recovered : int
        Edits recovered from a session that did not save them.
    outdated : bool
        Whether others saved labels after the recovered edits were made.

    Attributes
    ----------
    outdir : Path
        Output folder.
    folder : RunFolder
        Output folder of the run.
    editor : LabelEditor
        Current labels, synapses and sections. Ids of synapses are those of ``initial_labels``;
        `current_synapses` translates them.
    initial_labels_file : str
        File of the initial labels, relative to ``outdir`` if it is inside.
    initial_labels : ndarray of int32, shape (Z, Y, X)
        Labels in that file.
    n_recovered : int
        Edits recovered from a session that did not save them.
    n_unsaved : int
        Edits since the last save.
    """

    def __init__(
        self,
        folder: RunFolder,
        start: SessionStart,
        editor: LabelEditor,
        *,
        config: dict,
        command: Sequence[str] = (),
        n_recovered: int = 0,
        outdated: bool = False,
    ):
        self.outdir: Path = folder.outdir
        self.folder = folder
        self.editor = editor
        self.initial_labels_file = start.labels_file
        self.initial_labels: np.ndarray = start.labels
        self.n_recovered = self.n_unsaved = n_recovered
        corrected = self.outdir / paths.CORRECTED_LABELS
        # Recovered edits do not include what others saved since: saving must not overwrite it.
        self._known_version = None if outdated else _file_version(corrected)
        self._stack = ExitStack()
        self._log = self._stack.enter_context(
            runlog.record_run(
                self.outdir,
                config,
                dataset_uri=folder.aligned.source,
                cutout_xyz=folder.aligned.shape[::-1],
                command=command,
            )
        )
        editor.on_edit = self._log_edit

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(error_type, error, traceback)

    def close(self) -> None:
        """End the session; the next one offers its unsaved edits."""
        self._stack.close()

    def discard(self) -> None:
        """End the session and discard its unsaved edits: the next one does not offer them."""
        self._log_settlement("discard", {})
        self.close()

    def save(self) -> tuple[Path, ...]:
        """Write labels, proofread sections and reviewed synapses: all three files, or none.

        Returns
        -------
        tuple of Path
            The three files.

        Raises
        ------
        ConnectomeError
            If they cannot be written, or the labels were written by another program or session
            since this one started or last saved.
        """
        corrected = self.outdir / paths.CORRECTED_LABELS
        if corrected.exists() and _file_version(corrected) != self._known_version:
            raise ConnectomeError(
                f"{corrected} was written by another program or session meanwhile",
                "nothing was saved, because that would overwrite it",
                "move it away and save again",
            )
        try:
            written = self._write()
        except OSError as error:
            raise ConnectomeError(
                f"edits could not be saved: {error}",
                "none is lost: they are in the run log, and the next session offers them",
                "make room on the disk and save again",
            ) from error
        self._known_version = _file_version(corrected)
        self._log_settlement("save", {"sha256": content_sha256(self.editor.labels)})
        return written

    def current_synapses(self) -> pd.DataFrame:
        """Return the synapses with the current ids of their partners.

        Synapses whose partners were merged, or no longer exist, are left out.
        """
        return verdicts.relabel_partners(
            self.editor.synapses,
            self.initial_labels,
            self.editor.labels,
            self.folder.aligned.voxel_size,
        )

    def _write(self) -> tuple[Path, ...]:
        names = (paths.CORRECTED_LABELS, paths.PROOFREAD_SECTIONS, paths.REVIEWED_SYNAPSES)
        labels = self.folder.aligned.with_data(self.editor.labels)
        with staging_folder(self.outdir, self._log.run_id, owned=()) as folder:
            write_volume(folder / paths.CORRECTED_LABELS, labels)
            write_json(folder / paths.PROOFREAD_SECTIONS, self._describe_sections())
            with atomic_path(folder / paths.REVIEWED_SYNAPSES) as path:
                self.current_synapses().to_csv(path, index=False)
            self._log.log_files({name: folder / name for name in names})
        return tuple(self.outdir / name for name in names)

    def _describe_sections(self) -> dict:
        aligned = self.folder.aligned
        return {
            "slices": sorted(self.editor.sections),
            "source": aligned.source,
            "origin": list(aligned.origin),
            "voxel_size_nm": list(aligned.voxel_size),
            "based_on": self.initial_labels_file,
        }

    def _log_edit(self, record: EditRecord) -> None:
        self._log.log_edit(record)
        self.n_unsaved += 1

    def _log_settlement(self, tool: str, content: dict) -> None:
        self._log.log_edit(make_settling_record(tool, content, self.editor.user))
        self.n_unsaved = 0


def open_session(
    outdir: Path,
    labels: str = "auto",
    *,
    user: str | None = None,
    recover: bool = True,
    command: Sequence[str] = (),
) -> Session:
    """Start or resume a proofreading session.

    Parameters
    ----------
    outdir : Path
        Output folder of a run.
    labels : str
        Labels to start from: ``baseline``, ``corrected``, ``rf``, ``unet`` or the path of an
        array; ``auto`` takes the corrected labels if there are any, else those of the main job.
    user : str, optional
        Name for the log; by default the login name.
    recover : bool
        Resume the unsaved edits of an earlier session (see `find_unsaved_edits`), whatever
        ``labels`` is; False discards them.
    command : sequence of str
        Command line for the log.

    Raises
    ------
    UsageError, DataError
        If there is no run, its files or the labels cannot be used, or unsaved edits cannot be
        replayed.
    """
    folder = RunFolder(Path(outdir))
    folder.check_complete()
    user = user or _login_name()
    log = SessionLog(folder.outdir)
    unsaved = log.find_unsaved_edits()
    if unsaved and recover:
        return _resume_session(folder, log, unsaved, user, command)
    start = choose_start(folder, labels)
    config = start.to_config() | {"job": JOB, "user": user}
    log.keep_labels(start)
    editor = restore_editor(folder, start, user=user)
    session = Session(folder, start, editor, config=config, command=command)
    if unsaved:
        log.log_discard(unsaved, user)
    return session


def find_unsaved_edits(outdir: Path) -> UnsavedEdits | None:
    """Return the edits that the newest session with unsaved edits left; None without any.

    Sessions that are still running, were resumed by a later one, or whose edits were discarded
    do not count.
    """
    return SessionLog(Path(outdir)).find_unsaved_edits()


def _resume_session(
    folder: RunFolder, log: SessionLog, unsaved: UnsavedEdits, user: str, command: Sequence[str]
) -> Session:
    """Replay unsaved edits and continue from there."""
    first, records = log.trace_session(unsaved.run_id)
    try:
        start = log.find_start(first, folder)
        editor = restore_editor(folder, start, records, user)
    except DataError as error:
        remedy = error.remedy or "--no-recover, to start without the unsaved edits"
        raise DataError(error.problem, error.consequence, remedy) from error
    return Session(
        folder,
        start,
        editor,
        config={"continues": unsaved.run_id, "job": JOB, "user": user},
        command=command,
        n_recovered=unsaved.n_edits,
        outdated=log.saved_by_others(unsaved.run_id),
    )


def _file_version(path: Path) -> tuple[int, int] | None:
    """Return modification time and size, which change with the content; None without a file."""
    if not path.exists():
        return None
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may have a user without a name
        return "unknown"
