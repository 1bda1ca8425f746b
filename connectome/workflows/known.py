"""What there is to know of a draft beside its neurites: how likely they are, and the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from connectome import align
from connectome.core.errors import DataError, UsageError
from connectome.io import paths, stacks
from connectome.io.draft import Draft, read_labels, read_probability, require_shape
from connectome.io.tables import check_columns, check_partner_ids, check_positions, read_table
from connectome.membranes import predict
from connectome.synapses import verdicts
from connectome.workflows.neurites import predict_aligned_probability

REVIEW_COLUMNS = ("z", "y", "x", "pre_id", "post_id", "verdict")  # without them, no review
TEXTS = ("verdict", "reviewer", "time")


def aligned_ground_truth(draft: Draft, path: str | None) -> np.ndarray | None:
    """Read the true neurites of a draft.

    Parameters
    ----------
    draft : Draft
        What a run left.
    path : str or None
        Labels of the whole source or of the cutout, as imaged; they are carried along the
        alignment. None takes what the run itself knew.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X), or None
        In the aligned frame; None where nothing is known.

    Raises
    ------
    DataError
        If the labels do not fit the cutout.
    """
    if path is None:
        return draft.truth.labels
    stack = stacks.open_stack(path, stacks.LABELS)
    shape = draft.aligned.shape
    corner = (0, 0, 0) if stack.shape == shape else draft.aligned.origin
    if any(c + n > whole for c, n, whole in zip(corner, shape, stack.shape, strict=True)):
        raise DataError(
            f"{stack.uri} has shape {stack.shape}, and the cutout {shape} at {corner} (Z, Y, X)",
            "labels cannot be laid over the image",
            "labels of the whole source, or of exactly this cutout",
        )
    shifts, matrices = paths.read_shifts(draft.outdir)
    return align.apply_transforms(stack.read(corner, shape), shifts, order=0, matrices=matrices)


def baseline_probability(draft: Draft, threads: int = 1) -> np.ndarray:
    """Return the neurite probability that a draft was, or could have been, made from.

    Parameters
    ----------
    draft : Draft
        What a run left; where the run saved no probability it is found again.
    threads : int
        Sections worked on at a time.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Where the run kept no preprocessed stack either, thick sections are judged aligned.

    Raises
    ------
    DataError
        If what it is made from is damaged, or belongs to another cutout.
    """
    stored = read_probability(draft)
    if stored is not None:
        return stored
    aligned, path = draft.aligned, draft.outdir / paths.PREPROCESSED
    seen = (aligned.data, draft.tissue, aligned.voxel_size)
    if path.exists():
        preprocessed = require_shape(paths.read_volume(path).data, aligned, path)
        moves = paths.read_shifts(draft.outdir)
        found = predict_aligned_probability(preprocessed, *seen, moves, draft.damaged, threads)
    else:
        found = predict.predict_neurite_probability(*seen, draft.damaged, threads)
    return found.astype(np.float16).astype(np.float32)


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
