"""What the refiners learn from, and what they hand back: the same for the forest and the U-Net."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from connectome.io.run_folder import ProofreadSections

WIDE_BORDER_BELOW_NM = 6.0  # pixels below this are doubled to make the line between two neurites


@dataclass(frozen=True, eq=False)
class TrainingStack:
    """A stack to learn on and to be judged.

    Parameters
    ----------
    image : ndarray of float32, shape (Z, Y, X)
        Preprocessed and aligned EM in [0, 1].
    mask : ndarray of bool, shape (Z, Y, X)
        Where it shows tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    damaged_sections : tuple of int
        Sections whose own content means nothing.
    untrained_probability : ndarray of float32, shape (Z, Y, X)
        Neurite probability without any training on this stack.
    labels : ndarray of int32, shape (Z, Y, X)
        Draft neurites made from it.
    proofread : Proofread or None
        What a person has said of some sections.
    segment : callable
        Takes a neurite probability, returns neurite ids of shape (Z, Y, X), by the road that all
        probability maps take, with proofread sections as they are. The second argument, sections
        to hold back, leaves some of these out. With ``voted=True`` pieces are mainly those of the
        evidence, and it and the probability vote on which are joined.
    """

    image: np.ndarray
    mask: np.ndarray
    voxel_size: tuple[float, float, float]
    damaged_sections: tuple[int, ...]
    untrained_probability: np.ndarray
    labels: np.ndarray
    proofread: ProofreadSections | None
    segment: Callable[..., np.ndarray]


@dataclass(frozen=True, eq=False)
class RefinedResult:
    """What came of it.

    Parameters
    ----------
    probability : ndarray of float32, shape (Z, Y, X)
        Neurite probability in [0, 1]; 0 outside the tissue.
    metrics : dict
        How well it went on sections that were not learned from; fit for JSON, drawn as a figure.
    meta : dict
        Which model it is, and on what it may be used; fit for JSON.
    arrays : dict of ndarray
        Its weights.
    voted : bool
        Whether the evidence has a say, too, in what is made of the probability.
    """

    probability: np.ndarray
    metrics: dict
    meta: dict = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    voted: bool = False


def mask_interiors(labels: np.ndarray, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """Mark the insides of neurites in sections.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 on membranes, if these have any width.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    ndarray of bool, shape (Z, Y, X)
        False on membranes, where two neurites meet within a section, and outside.
    """
    meets = np.zeros(labels.shape, bool)
    for axis in (1, 2):
        rows, out = np.moveaxis(labels, axis, 0), np.moveaxis(meets, axis, 0)
        differ = rows[1:] != rows[:-1]
        out[1:] |= differ
        out[:-1] |= differ
    if min(voxel_size[1:]) < WIDE_BORDER_BELOW_NM:
        meets = ndimage.binary_dilation(meets, np.ones((1, 3, 3)))
    return (labels > 0) & ~meets


def usable_sections(
    proofread: ProofreadSections | None, damaged_sections: Sequence[int]
) -> list[int]:
    """List the proofread sections that say something: undamaged ones, with ids.

    In a section without any there is neither an inside to learn nor anything to score against.
    """
    sections = proofread.sections if proofread else ()
    return [z for z in sections if z not in damaged_sections and proofread.labels[z].any()]


def split_held_out(sections: Sequence[int]) -> tuple[list[int], list[int]]:
    """Divide proofread sections into those to learn from and those to judge by.

    Every fourth is held out, at least one; of a single section nothing can be.

    Returns
    -------
    learn, judge : list of int
    """
    if len(sections) < 2:
        return list(sections), []
    judge = list(sections[1::4])
    return [z for z in sections if z not in judge], judge
