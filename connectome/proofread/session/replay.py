"""Whether the labels a person saved are what the log says was done to the draft."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from connectome import runlog
from connectome.core.errors import DataError
from connectome.io import paths
from connectome.io.draft import read_draft, read_labels
from connectome.proofread.session.session import replay_saved_labels


def check_replay(outdir: Path) -> str:
    """Replay the log on the draft, and compare with the saved labels; write them if they are gone.

    Parameters
    ----------
    outdir : Path
        Output folder of a run that was proofread.

    Returns
    -------
    str
        What came out, for the user.

    Raises
    ------
    UsageError
        If nothing was ever saved.
    DataError
        If the log cannot be replayed, or gives other labels than are there.
    """
    labels = replay_saved_labels(outdir)
    draft = read_draft(outdir)
    path = outdir / paths.CORRECTED_LABELS
    logged = sum(run.n_edits for run in runlog.read_history(outdir))
    if not path.exists():
        paths.write_volume(path, draft.aligned.with_data(labels))
        return f"{path} was gone and is written again, from {logged} rows of the log"
    differ = np.count_nonzero(read_labels(path, draft.aligned) != labels)
    if differ:
        raise DataError(
            f"{path} differs from what the log gives in {differ} of {labels.size} voxels",
            "it was changed by another program, or belongs to other corrections",
            f"move {path.name} away, then --replay writes it again",
        )
    n_changed = np.count_nonzero(labels != draft.labels)
    return (
        f"replayed {logged} rows of the log: the same labels as in {path}, voxel by voxel"
        f" ({n_changed} of {labels.size} differ from the draft)"
    )
