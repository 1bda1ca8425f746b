"""Segment neurites from a probability map: supervoxels, then agglomeration.

The untrained default, the random forest and the U-Net differ in the probability map alone; all
three go through `segment_neurites`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from connectome import align, membranes, segment, stitch
from connectome.cli.reporter import Reporter
from connectome.core.params import SegmentParams, StitchParams
from connectome.core.progress import Progress, ignore_progress
from connectome.core.volume import Transforms, has_thin_sections
from connectome.io import paths
from connectome.io.run_folder import ProofreadSections, RunFolder
from connectome.stitch import constraints

SECOND_MAP_WEIGHT = 1 / 3  # share of a second map in the supervoxels of thick sections


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmentation and the agglomeration that produced it.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids; ids given by a person in proofread sections hold throughout the stack.
    supervoxels : ndarray of int32, shape (Z, Y, X)
        Supervoxel ids.
    agglomeration : Agglomeration
        Contacts between supervoxels and the joins that were made; it numbers neurites by itself
        where sections are proofread.
    """

    labels: np.ndarray
    supervoxels: np.ndarray
    agglomeration: stitch.Agglomeration


def predict_aligned_probability(
    preprocessed: np.ndarray,
    aligned: np.ndarray,
    *,
    tissue: np.ndarray,
    voxel_size: tuple[float, float, float],
    transforms: Transforms,
    damaged_sections: Sequence[int] = (),
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> np.ndarray:
    """Predict neurite probability in the aligned frame, without any training data.

    Thin sections (at most 20 nm) are predicted in 3D after alignment. Thick sections are predicted
    in 2D before it, because sub-pixel interpolation blurs membranes; the map is then moved to the
    nearest pixel, as ground truth is.

    Parameters
    ----------
    preprocessed, aligned : ndarray of float, shape (Z, Y, X)
        EM before and after alignment, in [0, 1]; 0 outside the tissue.
    tissue : ndarray of bool, shape (Z, Y, X)
        Mask of the tissue in ``aligned``.
    voxel_size : tuple of float
        (z, y, x) in nm.
    transforms : Transforms
        Transforms that were applied to the sections.
    damaged_sections : sequence of int
        Sections whose content is not used.
    threads : int
        Number of sections processed in parallel.
    progress : callable
        Called with the number of sections just finished.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Neurite probability in [0, 1].
    """
    if has_thin_sections(voxel_size):
        return membranes.predict_neurite_probability(
            aligned,
            tissue,
            voxel_size,
            damaged_sections=damaged_sections,
            threads=threads,
            progress=progress,
        )
    probability = membranes.predict_neurite_probability(
        preprocessed,
        preprocessed > 0,
        voxel_size,
        damaged_sections=damaged_sections,
        threads=threads,
        progress=progress,
    )
    return align.apply_transforms(probability, transforms, order=0) * tissue


def baseline_probability(draft: RunFolder, threads: int = 1) -> np.ndarray:
    """Return the untrained neurite probability of a finished run.

    Parameters
    ----------
    draft : RunFolder
        The run; the map is computed again if the run did not save it.
    threads : int
        Number of sections processed in parallel.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Where the run kept no preprocessed stack either, thick sections are predicted after
        alignment.

    Raises
    ------
    DataError
        If the arrays are damaged, or belong to another cutout.
    """
    stored = draft.probability
    if stored is not None:
        return stored
    aligned = draft.aligned
    if draft.has(paths.PREPROCESSED):
        probability = predict_aligned_probability(
            draft.preprocessed,
            aligned.data,
            tissue=draft.tissue,
            voxel_size=aligned.voxel_size,
            transforms=draft.transforms,
            damaged_sections=draft.damaged_sections,
            threads=threads,
        )
    else:
        probability = membranes.predict_neurite_probability(
            aligned.data,
            draft.tissue,
            aligned.voxel_size,
            damaged_sections=draft.damaged_sections,
            threads=threads,
        )
    return probability.astype(np.float16).astype(np.float32)


def segment_neurites(
    probability: np.ndarray,
    em: np.ndarray,
    *,
    tissue: np.ndarray,
    voxel_size: tuple[float, float, float],
    damaged_sections: Sequence[int] = (),
    reporter: Reporter | None = None,
    proofread: ProofreadSections | None = None,
    second_probability: np.ndarray | None = None,
    segment_params: SegmentParams | None = None,
    stitch_params: StitchParams | None = None,
) -> Segmentation:
    """Divide the tissue into supervoxels and agglomerate them into neurites.

    Parameters
    ----------
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability in [0, 1].
    em : ndarray of float, shape (Z, Y, X)
        Preprocessed and aligned EM.
    tissue : ndarray of bool, shape (Z, Y, X)
        Mask of the voxels to segment.
    voxel_size : tuple of float
        (z, y, x) in nm.
    damaged_sections : sequence of int
        Sections whose content is not used, except where they are proofread.
    reporter : Reporter, optional
        Receives the stages "segment" and "stitch".
    proofread : ProofreadSections, optional
        Sections kept as a person left them: equal ids there are one neurite in the whole stack,
        and different ids are never joined.
    second_probability : ndarray of float, shape (Z, Y, X), optional
        Neurite probability from another predictor: it votes on joins and, in thick sections, has
        a smaller share in the supervoxels.
    segment_params : SegmentParams, optional
        Parameters of the supervoxels.
    stitch_params : StitchParams, optional
        Parameters of the agglomeration.

    Returns
    -------
    Segmentation
    """
    reporter = reporter or Reporter(quiet=True)
    known = None
    with reporter.stage("segment") as stage:
        supervoxels = segment.segment_supervoxels(
            _combine_maps(probability, second_probability, voxel_size),
            tissue,
            voxel_size,
            segment_params or SegmentParams(),
        )
        if proofread:
            supervoxels, known = constraints.constrain_supervoxels(
                supervoxels, proofread.labels, proofread.sections, voxel_size
            )
            damaged_sections = [z for z in damaged_sections if z not in proofread.sections]
        stage.counts["supervoxels"] = int(supervoxels.max())
    with reporter.stage("stitch") as stage:
        agglomeration = stitch.agglomerate(
            supervoxels,
            probability,
            voxel_size=voxel_size,
            damaged_sections=damaged_sections,
            params=stitch_params,
            constraints=known,
            second_probability=second_probability,
            em=em,
        )
        labels = agglomeration.labels
        if proofread:
            labels = constraints.restore_proofread_ids(labels, proofread.labels, proofread.sections)
        stage.counts["neurites"] = int(agglomeration.labels.max())
    return Segmentation(labels, supervoxels, agglomeration)


def _combine_maps(
    probability: np.ndarray,
    second_probability: np.ndarray | None,
    voxel_size: tuple[float, float, float],
) -> np.ndarray:
    """Return the map that supervoxels are made from.

    In thin sections, supervoxels from the mean of two maps were worse than from the first alone.
    """
    if second_probability is None or has_thin_sections(voxel_size):
        return probability
    return probability + SECOND_MAP_WEIGHT * (second_probability - probability)
