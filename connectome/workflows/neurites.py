"""The one road to neurites: EM, a probability map, whoever makes it, pieces, and their joins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from connectome import align, segment, stitch
from connectome.core.params import SegmentParams, StitchParams
from connectome.core.progress import Progress, ignore_progress
from connectome.core.volume import has_thin_sections
from connectome.io.draft import ProofreadSections
from connectome.membranes import predict
from connectome.stitch import constraints

SECOND_MAP_WEIGHT = 1 / 3  # of a second map, in where pieces of thick sections end

Stage = Callable[[str], AbstractContextManager[dict]]


def unlogged(_name: str) -> AbstractContextManager[dict]:
    """Stand in for the log where nobody keeps one."""
    return nullcontext({})


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Neurites, and how they came to be.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids; those that a person gave in proofread sections hold throughout the stack.
    pieces : ndarray of int32, shape (Z, Y, X)
        What they were joined from.
    stitched : Agglomeration
        What spoke for and against every join; with ids of its own where sections are proofread.
    """

    labels: np.ndarray
    supervoxels: np.ndarray
    stitched: stitch.Agglomeration


def predict_aligned_probability(
    preprocessed: np.ndarray,
    aligned: np.ndarray,
    tissue: np.ndarray,
    voxel_size: tuple[float, float, float],
    moves: tuple[np.ndarray, np.ndarray | None],
    damaged: Sequence[int] = (),
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> np.ndarray:
    """Make a probability map from the image alone: thin sections in register, thick ones before.

    The splines of alignment blur a section that they move by parts of a pixel. Thin sections are
    judged together, and there is no help for it. Thick ones are judged one by one, so they are
    judged as they were imaged, and the map is moved, pixel by pixel, as truth is.

    Parameters
    ----------
    preprocessed, aligned : ndarray of float, shape (Z, Y, X)
        EM before and after alignment, in [0, 1]; 0 outside the tissue.
    tissue : ndarray of bool, shape (Z, Y, X)
        Where ``aligned`` shows tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    moves : tuple of ndarray
        Shifts and matrices that lead from one to the other, as `connectome.align.apply_transforms`
        takes them.
    damaged, threads, progress
        As `connectome.membranes.predict.predict_neurite_probability` takes them.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Neurite probability in the aligned frame.
    """
    told = (voxel_size, damaged, threads, progress)
    if has_thin_sections(voxel_size):
        return predict.predict_neurite_probability(aligned, tissue, *told)
    probability = predict.predict_neurite_probability(preprocessed, preprocessed > 0, *told)
    shifts, matrices = moves
    return align.apply_transforms(probability, shifts, order=0, matrices=matrices) * tissue


def segment_neurites(
    probability: np.ndarray,
    em: np.ndarray,
    tissue: np.ndarray,
    voxel_size: tuple[float, float, float],
    damaged: Sequence[int],
    stage: Stage = unlogged,
    proofread: ProofreadSections | None = None,
    params: tuple[SegmentParams, StitchParams] = (SegmentParams(), StitchParams()),
    second_probability: np.ndarray | None = None,
) -> Segmentation:
    """Divide the tissue up by a probability map and join the pieces.

    Parameters
    ----------
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability in [0, 1].
    em : ndarray of float, shape (Z, Y, X)
        Preprocessed EM, aligned.
    tissue : ndarray of bool, shape (Z, Y, X)
        What is to be divided up.
    voxel_size : tuple of float
        (z, y, x) in nm.
    damaged : sequence of int
        Sections whose own content means nothing, but for proofread ones.
    stage : callable
        Opens a stage in the log, as `connectome.runlog.Run.stage` does: "segment" and "stitch".
    proofread : Proofread, optional
        Sections that stay as a person left them. Ids that are the same there are one neurite in
        the whole stack, and those that differ are never joined.
    params : tuple of SegmentParams and StitchParams
        Of the two stages.
    other : ndarray of float, shape (Z, Y, X), optional
        Neurite probability by another judge: it has a say in which pieces are joined and, in
        thick sections, a smaller one in where they end.

    Returns
    -------
    Neurites
    """
    known = None
    with stage("segment") as counts:
        shown = _combine_maps(probability, second_probability, voxel_size)
        pieces = segment.segment_supervoxels(shown, tissue, voxel_size, params[0])
        if proofread:
            said = (proofread.labels, proofread.sections)
            pieces, known = constraints.constrain_supervoxels(pieces, *said, voxel_size)
            damaged = [z for z in damaged if z not in proofread.sections]
        counts["pieces"] = int(pieces.max())
    with stage("stitch") as counts:
        judged = (voxel_size, damaged, params[1], known, second_probability, em)
        stitched = stitch.agglomerate(pieces, probability, *judged)
        labels = (
            constraints.restore_proofread_ids(stitched.labels, *said)
            if proofread
            else stitched.labels
        )
        counts["neurites"] = int(stitched.labels.max())
    return Segmentation(labels, pieces, stitched)


def _combine_maps(probability, second_probability, voxel_size) -> np.ndarray:
    """Return what pieces are divided by, where one map or two tell of them.

    Between thin sections a mean of two maps made worse pieces than the first alone.
    """
    if second_probability is None or has_thin_sections(voxel_size):
        return probability
    return probability + SECOND_MAP_WEIGHT * (second_probability - probability)
