"""Ground truth labels of a cutout, read from a file."""

from __future__ import annotations

import numpy as np

from connectome.core.errors import DataError
from connectome.fetch.plan import CutoutPlan, Shape
from connectome.io import stacks


def check_ground_truth(path: str, plan: CutoutPlan) -> None:
    """Check that labels fit a plan, before anything is fetched.

    Parameters
    ----------
    path, plan
        As `read_ground_truth` takes them.

    Raises
    ------
    DataError, UsageError
        As `read_ground_truth`, as far as this can be determined without reading voxels.
    """
    _open_labels(path, plan)


def read_ground_truth(path: str, plan: CutoutPlan) -> np.ndarray:
    """Read the labels of a cutout from labels of the source or of the cutout.

    Parameters
    ----------
    path : str
        Path as for a local source; of several arrays in an ``.npz`` file, ``labels`` is read.
    plan : CutoutPlan
        The cutout.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Labels of the cutout. Ids too large for the type are renumbered; 0 stays 0.

    Raises
    ------
    DataError
        If they are not 3D integer labels of the shape of the source or of the cutout, or all 0.
    """
    stack, origin = _open_labels(path, plan)
    labels = stack.read(origin, plan.shape)
    if labels.min() < 0:
        raise DataError(f"{stack.uri} has negative ids", "which of them are neurites is unknown")
    if not labels.any():
        raise DataError(f"{stack.uri} is 0 everywhere in this cutout", "there is nothing to score")
    if labels.max() > np.iinfo(np.int32).max:
        ids, labels = np.unique(labels, return_inverse=True)
        labels += ids[0] > 0
    return labels.astype(np.int32)


def _open_labels(path: str, plan: CutoutPlan) -> tuple[stacks.Stack, Shape]:
    """Open labels; return also the corner (z, y, x) of the cutout in them."""
    stack = stacks.open_stack(path, stacks.LABELS)
    if stack.shape == plan.shape:
        return stack, (0, 0, 0)
    if stack.shape == plan.source_shape:
        return stack, plan.origin
    raise DataError(
        f"{stack.uri} has shape {stack.shape}, but the source has {plan.source_shape} "
        f"and the cutout {plan.shape} (Z, Y, X)",
        "labels and image cannot be compared",
        "labels of the whole source, or of exactly this cutout",
    )
