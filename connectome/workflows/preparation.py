"""Prepare a cutout for segmentation: fetch, preprocess and align it, and its ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from connectome import align, fetch, preprocess
from connectome.cli.reporter import Reporter
from connectome.core.params import RunConfig
from connectome.core.progress import Progress, ignore_progress
from connectome.core.volume import GroundTruth, Transforms, Volume

TRUE_POSITION = "the true position"
ORIGINAL_POSITION = "the position before displacement"


@dataclass(frozen=True, eq=False)
class AlignedStack:
    """A cutout before and after alignment, with its ground truth.

    Parameters
    ----------
    cutout : Volume of uint8
        EM as imaged.
    preprocessed, aligned : ndarray of float32, shape (Z, Y, X)
        EM before and after alignment, in [0, 1].
    tissue : ndarray of bool, shape (Z, Y, X)
        Mask of the tissue in ``aligned``.
    alignment : Alignment
        Transforms, confidence and damaged sections.
    ground_truth : GroundTruth
        In the aligned frame; its shifts are those that would have been right.
    reference : str
        What its shifts are measured from, in words.
    """

    cutout: Volume
    preprocessed: np.ndarray
    aligned: np.ndarray
    tissue: np.ndarray
    alignment: align.Alignment
    ground_truth: GroundTruth
    reference: str

    @property
    def volume(self) -> Volume:
        """Aligned EM with its voxel size, origin and source."""
        return self.cutout.with_data(self.aligned)


def prepare_stack(plan: fetch.CutoutPlan, config: RunConfig, reporter: Reporter) -> AlignedStack:
    """Fetch, preprocess and align a cutout.

    Parameters
    ----------
    plan : CutoutPlan
        The cutout to fetch.
    config : RunConfig
        Parameters of the stages.
    reporter : Reporter
        Receives progress and messages.
    """
    cutout, ground_truth = _fetch(plan, config, reporter)
    reference = TRUE_POSITION
    if config.simulate_sigma_px:
        if ground_truth.shifts is None:
            reference = ORIGINAL_POSITION
        with reporter.stage("misalign"):
            cutout, ground_truth = _displace_sections(cutout, ground_truth, config)
        reporter.message(
            f"misaligned  by simulated shifts of {config.simulate_sigma_px:g} px RMS per axis"
        )
    n_sections = len(cutout.data)
    with reporter.stage("preprocess", n_sections) as stage:
        tissue, blank, preprocessed = _preprocess(cutout, config, stage.progress)
        stage.counts.update(sections=n_sections, blank=len(blank))
    with reporter.stage("align", n_sections) as stage:
        alignment = _estimate_alignment(preprocessed, cutout, blank, config, stage.progress)
        if not config.align:
            unmoved = Transforms(np.zeros_like(alignment.transforms.shifts))
            alignment = replace(alignment, transforms=unmoved)
        aligned, tissue = _apply_alignment(preprocessed, tissue, alignment, config)
        ground_truth = _transform_ground_truth(ground_truth, alignment.transforms, tissue.shape[1:])
        stage.counts["damaged"] = len(alignment.damaged_sections)
    _report_alignment(alignment, tissue.shape[1:], config, reporter)
    return AlignedStack(cutout, preprocessed, aligned, tissue, alignment, ground_truth, reference)


def _fetch(
    plan: fetch.CutoutPlan, config: RunConfig, reporter: Reporter
) -> tuple[Volume, GroundTruth]:
    """Fetch the cutout and the ground truth of its source."""
    with reporter.stage("fetch", plan.steps) as stage:
        fetched = fetch.fetch_cutout(plan, stage.progress)
        for note in fetched.notes:
            reporter.warn(note)
        ground_truth = fetched.ground_truth or GroundTruth()
        if config.ground_truth:
            labels = fetch.read_ground_truth(config.ground_truth, plan)
            ground_truth = replace(ground_truth, labels=labels)
        stage.counts["voxels"] = fetched.volume.data.size
    return fetched.volume, ground_truth


def _displace_sections(
    cutout: Volume, ground_truth: GroundTruth, config: RunConfig
) -> tuple[Volume, GroundTruth]:
    """Shift every section at random; return with it the shifts that undo this."""
    shifts = align.simulate_shifts(len(cutout.data), config.simulate_sigma_px, config.source.seed)
    simulated = Transforms(shifts)
    if ground_truth.shifts is None:
        # Real sections are not in register to begin with: the simulated error is measured from
        # where alignment puts the sections as imaged.
        _, blank, preprocessed = _preprocess(cutout, config)
        original = _estimate_alignment(preprocessed, cutout, blank, config)
        ground_truth = replace(ground_truth, shifts=original.transforms.shifts)
    undone = ground_truth.shifts - shifts
    ground_truth = replace(_transform_ground_truth(ground_truth, simulated), shifts=undone)
    displaced = align.apply_transforms(cutout.data, simulated, order=1)
    return cutout.with_data(displaced), ground_truth


def _preprocess(
    cutout: Volume, config: RunConfig, progress: Progress = ignore_progress
) -> tuple[np.ndarray, Sequence[int], np.ndarray]:
    """Return the tissue mask, the blank sections and the preprocessed EM."""
    tissue = preprocess.find_tissue(cutout.data)
    blank = preprocess.find_blank_sections(cutout.data, tissue)
    preprocessed = preprocess.preprocess(
        cutout.data,
        tissue,
        cutout.voxel_size,
        params=config.preprocess_params,
        threads=config.threads,
        progress=progress,
    )
    return tissue, blank, preprocessed


def _estimate_alignment(
    preprocessed: np.ndarray,
    cutout: Volume,
    blank_sections: Sequence[int],
    config: RunConfig,
    progress: Progress = ignore_progress,
) -> align.Alignment:
    return align.estimate_alignment(
        preprocessed,
        cutout.voxel_size,
        blank_sections=blank_sections,
        params=config.align_params,
        threads=config.threads,
        progress=progress,
    )


def _apply_alignment(
    preprocessed: np.ndarray, tissue: np.ndarray, alignment: align.Alignment, config: RunConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return the aligned EM, float32, and its tissue mask."""
    transforms = alignment.transforms
    aligned = align.apply_transforms(preprocessed, transforms, threads=config.threads)
    # At the precision that is saved, so that later stages give the same result from the file.
    aligned = aligned.astype(config.aligned_dtype).astype(np.float32)
    tissue = align.apply_transforms(tissue.astype(np.uint8), transforms, order=0) > 0
    aligned[~tissue] = 0  # splines overshoot beyond the edge of the tissue
    return aligned, tissue


def _transform_ground_truth(
    ground_truth: GroundTruth,
    transforms: Transforms,
    shape: tuple[int, int] | None = None,
) -> GroundTruth:
    """Transform true labels and synapse positions as the sections were."""
    labels, synapses = ground_truth.labels, ground_truth.synapses
    if labels is not None:
        labels = align.apply_transforms(labels, transforms, order=0)
    if synapses is not None:
        synapses = synapses.copy()
        positions = synapses[["z", "y", "x"]].to_numpy(float)
        synapses[["z", "y", "x"]] = align.transform_points(positions, transforms, shape)
    return GroundTruth(labels, synapses, ground_truth.shifts)


def _report_alignment(
    alignment: align.Alignment, shape: tuple[int, int], config: RunConfig, reporter: Reporter
) -> None:
    """Report how far sections were moved, and which could not be aligned."""
    reporter.message(f"aligned     {_describe_alignment(alignment, shape, config)}")
    if alignment.damaged_sections:
        reporter.warn(
            f"{_sections(alignment.damaged_sections)} blank or damaged: excluded from alignment,"
            " filled from neighbouring sections"
        )
    if alignment.rotated_sections and config.align:
        reporter.warn(
            f"{_sections(alignment.rotated_sections)} rotated against the neighbouring sections;"
            " --align-model auto corrects rotations"
        )
    aligned = alignment.confidence >= align.MIN_CORRELATION
    lost = sorted(set(np.flatnonzero(~aligned).tolist()) - set(alignment.damaged_sections))
    if lost and aligned.any():
        reporter.warn(
            f"{_sections(lost)} unlike the neighbouring sections, and too many in a row to be"
            " filled from neighbours: neurites found there are not reliable"
        )


def _describe_alignment(
    alignment: align.Alignment, shape: tuple[int, int], config: RunConfig
) -> str:
    if not config.align:
        return "no (--no-align)"
    shifts, matrices = alignment.transforms.shifts, alignment.transforms.matrices
    text = f"sections moved by up to {np.abs(shifts).max():.1f} px"
    if matrices is not None:
        corner = np.array(shape) / 2
        displacement = np.abs((matrices - np.eye(2)) @ corner).max()
        text += f", their corners by up to {displacement:.1f} px more"
    if alignment.drift.any():
        text += (
            f"; kept a slow drift of {np.abs(alignment.drift).max():.1f} px as tissue orientation"
            " (--straighten removes it)"
        )
    return text


def _sections(sections: Sequence[int]) -> str:
    """Return the subject of a sentence about one or more sections."""
    listed = ", ".join(map(str, sections))
    return f"section {listed} is" if len(sections) == 1 else f"sections {listed} are"
