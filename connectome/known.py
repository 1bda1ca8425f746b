"""What is known to be true of a draft."""

from __future__ import annotations

import numpy as np

from connectome import align, layout, stackfiles
from connectome.draft import Draft
from connectome.errors import DataError


def true_labels(draft: Draft, path: str | None) -> np.ndarray | None:
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
    stack = stackfiles.open_stack(path, stackfiles.LABELS)
    shape = draft.aligned.shape
    corner = (0, 0, 0) if stack.shape == shape else draft.aligned.origin
    if any(c + n > whole for c, n, whole in zip(corner, shape, stack.shape, strict=True)):
        raise DataError(
            f"{stack.uri} has shape {stack.shape}, and the cutout {shape} at {corner} (Z, Y, X)",
            "labels cannot be laid over the image",
            "labels of the whole source, or of exactly this cutout",
        )
    shifts, matrices = layout.read_shifts(draft.outdir)
    return align.apply_shifts(stack.read(corner, shape), shifts, order=0, matrices=matrices)
