"""Replay the edits recorded since a given state, and compare with what was saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from connectome import runlog
from connectome.core.errors import DataError, UsageError
from connectome.io import paths
from connectome.io.run_folder import RunFolder
from connectome.io.volumes import write_volume
from connectome.proofread.session.log import SessionLog


def replay_saved_labels(outdir: Path) -> np.ndarray:
    """Return the labels that were saved last, reproduced from the draft edit by edit.

    Parameters
    ----------
    outdir : Path
        Output folder of a run that was proofread.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Identical to what was saved.

    Raises
    ------
    UsageError
        If nothing was saved.
    DataError
        If the initial labels of a session are gone, or the log gives other labels than it saved.
    """
    folder = RunFolder(Path(outdir))
    log = SessionLog(folder.outdir)
    if not log.saves:
        raise UsageError(
            f"no session has saved anything in {outdir}",
            "there is nothing to replay",
            f"napari_proofread.py --outdir {outdir}",
        )
    return log.replay_save(log.saves[-1], folder)


def check_replay(outdir: Path) -> str:
    """Replay the log and compare with the saved labels; write these if the file is missing.

    Parameters
    ----------
    outdir : Path
        Output folder of a run that was proofread.

    Returns
    -------
    str
        Result, for the user.

    Raises
    ------
    UsageError
        If nothing was saved.
    DataError
        If the log cannot be replayed, or gives other labels than those in the file.
    """
    labels = replay_saved_labels(outdir)
    folder = RunFolder(outdir)
    path = outdir / paths.CORRECTED_LABELS
    n_records = sum(run.n_edits for run in runlog.read_history(outdir))
    if not path.exists():
        write_volume(path, folder.aligned.with_data(labels))
        return f"{path} was missing and is restored from {n_records} records of the log"
    n_different = np.count_nonzero(folder.read_labels(path) != labels)
    if n_different:
        raise DataError(
            f"{path} differs from the replayed log in {n_different} of {labels.size} voxels",
            "another program changed it, or it belongs to other edits",
            f"move {path.name} away, then --replay restores it",
        )
    n_edited = np.count_nonzero(labels != folder.baseline_labels)
    return (
        f"replaying {n_records} records of the log gives the labels in {path}, voxel by voxel"
        f" ({n_edited} of {labels.size} voxels differ from the draft)"
    )
