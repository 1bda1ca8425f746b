"""Labels and reviewed synapses in an output folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from connectome.core.errors import UsageError
from connectome.io import paths
from connectome.io.draft import Draft, read_labels
from connectome.io.tables import check_columns, check_partner_ids, check_positions, read_table
from connectome.synapses import verdicts

REVIEW_COLUMNS = ("z", "y", "x", "pre_id", "post_id", "verdict")  # without them, no review
TEXTS = ("verdict", "reviewer", "time")


def labels_path(outdir: Path, wanted: str) -> Path:
    """Find the labels that ``--labels`` means.

    Parameters
    ----------
    outdir : Path
        Output folder.
    wanted : str
        A name of `connectome.io.paths.LABELS_BY_NAME`, or a path.

    Raises
    ------
    UsageError
        If there are none of that name, saying which there are.
    """
    if wanted not in paths.LABELS_BY_NAME:
        return Path(wanted).expanduser()
    path = outdir / paths.LABELS_BY_NAME[wanted]
    if not path.exists():
        names = paths.LABELS_BY_NAME.items()
        there = [name for name, stored in names if (outdir / stored).exists()]
        raise UsageError(
            f"there are no {wanted} labels: no {path}",
            f"{outdir} has {', '.join(there) or 'none'}",
            f"--labels {there[0]}" if there else f"run_pipeline.py --outdir {outdir}",
        )
    return path


def reviewed_synapses(draft: Draft, labels: np.ndarray) -> pd.DataFrame | None:
    """Read the synapses that a person has looked at.

    Parameters
    ----------
    draft : Draft
        What a run left. The ids of reviewed synapses are those of the corrected labels, or of the
        main job's where nobody has corrected any.
    labels : ndarray of int32, shape (Z, Y, X)
        The labels whose ids are wanted for partners.

    Returns
    -------
    DataFrame or None
        Rows with a verdict, or a direction that was swapped (``swapped``); ``verdict`` is accepted,
        rejected or empty. None where nobody has reviewed any.

    Raises
    ------
    DataError
        If the table cannot be read, lacks a column, has a gap or names a place outside the stack.
    """
    path = draft.outdir / paths.REVIEWED_SYNAPSES
    if not path.exists():
        return None
    fault = (
        "what was said of synapses cannot be taken over",
        "put that right in the file, or move it away",
    )
    texts = {"post_ids": str} | dict.fromkeys(TEXTS, str)
    table = read_table(path, REVIEW_COLUMNS[:-1], texts, *fault)
    check_columns(table, ("verdict",), path, *fault)
    check_positions(table, labels.shape, path, *fault)
    table = check_partner_ids(table, path, *fault)
    texts = table.columns.intersection(TEXTS)
    table[texts] = table[texts].fillna("")
    verdict = table["verdict"].str.lower()
    table["verdict"] = verdict.where(verdict.isin([verdicts.ACCEPTED, verdicts.REJECTED]), "")
    table["swapped"] = table["swapped"].astype(bool) if "swapped" in table else False
    seen = table[(table["verdict"] != "") | table["swapped"]]
    corrected = draft.outdir / paths.CORRECTED_LABELS
    theirs = read_labels(corrected, draft.aligned) if corrected.exists() else draft.labels
    return verdicts.relabel_partners(seen, theirs, labels, draft.aligned.voxel_size)
