"""Score the results of a run against ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from connectome import align
from connectome.core.errors import DataError
from connectome.core.volume import GroundTruth
from connectome.evaluate.segmentation import score_segmentation
from connectome.evaluate.synapses import score_synapses
from connectome.io import stacks
from connectome.io.run_folder import RunFolder


def evaluate_results(
    labels: np.ndarray,
    candidates: pd.DataFrame,
    ground_truth: GroundTruth,
    voxel_size: tuple[float, float, float],
) -> dict[str, Any]:
    """Score neurites and synapses where there is ground truth.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids.
    candidates : DataFrame
        Synapse candidates.
    ground_truth : GroundTruth
        In the same frame.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    dict
        ``segmentation`` and ``synapses``, as in ``tables/evaluation.json``; empty without ground
        truth.
    """
    evaluation: dict[str, Any] = {}
    if ground_truth.labels is not None:
        evaluation["segmentation"] = score_segmentation(labels, ground_truth.labels)
    if ground_truth.synapses is not None:
        evaluation["synapses"] = score_synapses(
            candidates,
            ground_truth.synapses,
            voxel_size,
            labels=labels,
            true_labels=ground_truth.labels,
        )
    return evaluation


def flatten_scores(evaluation: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the name and value of every score, such as ("synapses/200/f1", 0.5)."""
    for key, value in evaluation.items():
        if isinstance(value, dict):
            yield from flatten_scores(value, f"{prefix}{key}/")
        elif not isinstance(value, str):
            yield prefix + key, value


def aligned_ground_truth(draft: RunFolder, path: str | None) -> np.ndarray | None:
    """Read the true labels of a finished run in the aligned frame.

    Parameters
    ----------
    draft : RunFolder
        The run.
    path : str or None
        Labels of the whole source or of the cutout, as imaged, which are transformed like the
        EM. None takes the ground truth that the run saved.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X), or None
        None without ground truth.

    Raises
    ------
    DataError
        If the labels do not fit the cutout.
    """
    if path is None:
        return draft.ground_truth.labels
    stack = stacks.open_stack(path, stacks.LABELS)
    shape = draft.aligned.shape
    corner = (0, 0, 0) if stack.shape == shape else draft.aligned.origin
    if any(c + n > whole for c, n, whole in zip(corner, shape, stack.shape, strict=True)):
        raise DataError(
            f"{stack.uri} has shape {stack.shape}, and the cutout {shape} at {corner} (Z, Y, X)",
            "labels cannot be laid over the image",
            "labels of the whole source, or of exactly this cutout",
        )
    return align.apply_transforms(stack.read(corner, shape), draft.transforms, order=0)
