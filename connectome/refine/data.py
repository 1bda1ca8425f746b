"""Input and result of the refiners, the same for the random forest and the U-Net."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from scipy import ndimage

from connectome.core.progress import Progress, ignore_progress
from connectome.io.run_folder import ProofreadSections

WIDE_BORDER_BELOW_NM = 6.0  # pixels below this size have borders of twice as many pixels

Message = Callable[[str], None]
"""Called with a message to the user."""


class Segmenter(Protocol):
    """Segments neurites from a probability map, with proofread sections as constraints."""

    def __call__(
        self,
        probability: np.ndarray,
        excluded_sections: Sequence[int] = (),
        voted: bool = False,
    ) -> np.ndarray:
        """Return neurite ids of shape (Z, Y, X).

        Sections in ``excluded_sections`` are treated as not proofread. With ``voted``, supervoxels
        come mainly from the untrained probability, and both maps vote on which are joined.
        """


class ProgressBar(Protocol):
    """Opens progress bars."""

    def __call__(
        self, name: str, total: int, unit: str = "sections"
    ) -> AbstractContextManager[Progress]:
        """Open a bar with a name, a total and the unit of that total."""


def no_progress_bar(
    name: str, total: int, unit: str = "sections"
) -> AbstractContextManager[Progress]:
    """Show no progress bar."""
    return nullcontext(ignore_progress)


@dataclass(frozen=True, eq=False)
class TrainingStack:
    """A stack to train on and to predict.

    Parameters
    ----------
    em : ndarray of float32, shape (Z, Y, X)
        Preprocessed and aligned EM in [0, 1].
    mask : ndarray of bool, shape (Z, Y, X)
        Tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    damaged_sections : tuple of int
        Sections whose content is unreliable.
    untrained_probability : ndarray of float32, shape (Z, Y, X)
        Neurite probability predicted without training on this stack.
    labels : ndarray of int32, shape (Z, Y, X)
        Neurites segmented from it.
    proofread : ProofreadSections or None
        Labels of the proofread sections.
    segment : callable
        Segments neurites from a probability map as every run does (`Segmenter`).
    """

    em: np.ndarray
    mask: np.ndarray
    voxel_size: tuple[float, float, float]
    damaged_sections: tuple[int, ...]
    untrained_probability: np.ndarray
    labels: np.ndarray
    proofread: ProofreadSections | None
    segment: Segmenter


@dataclass(frozen=True, eq=False)
class RefinedResult:
    """A refined neurite probability, and the model that predicted it.

    Parameters
    ----------
    probability : ndarray of float32, shape (Z, Y, X)
        Neurite probability in [0, 1]; 0 outside the tissue.
    metrics : dict
        Scores on sections that were not trained on. JSON serialisable; drawn as a figure.
    meta : dict
        Description of the model and of what it may be applied to. JSON serialisable.
    arrays : dict of ndarray
        Weights of the model; empty if there is no model to save.
    voted : bool
        Whether neurites are to be segmented by a vote of this map and the untrained one.
    """

    probability: np.ndarray
    metrics: dict
    meta: dict = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    voted: bool = False


def mask_interiors(labels: np.ndarray, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """Return a mask of the interior of neurites within sections.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 on membranes, if these are labelled, and outside the tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    ndarray of bool, shape (Z, Y, X)
        False where the label is 0, and at the pixels where two labels meet within a section.
    """
    border = np.zeros(labels.shape, bool)
    for axis in (1, 2):
        rows, out = np.moveaxis(labels, axis, 0), np.moveaxis(border, axis, 0)
        differ = rows[1:] != rows[:-1]
        out[1:] |= differ
        out[:-1] |= differ
    if min(voxel_size[1:]) < WIDE_BORDER_BELOW_NM:
        border = ndimage.binary_dilation(border, np.ones((1, 3, 3)))
    return (labels > 0) & ~border


def usable_sections(
    proofread: ProofreadSections | None, damaged_sections: Sequence[int]
) -> list[int]:
    """List the proofread sections that are undamaged and contain a neurite.

    A section without any has no interior to train on and nothing to score against.
    """
    if proofread is None:
        return []
    return [
        z for z in proofread.sections if z not in damaged_sections and proofread.labels[z].any()
    ]


def split_held_out(sections: Sequence[int]) -> tuple[list[int], list[int]]:
    """Split proofread sections into those to train on and those to score on.

    Every fourth section is held out, and at least one; of a single section, none.

    Returns
    -------
    training, held_out : list of int
    """
    if len(sections) < 2:
        return list(sections), []
    held_out = list(sections[1::4])
    return [z for z in sections if z not in held_out], held_out
