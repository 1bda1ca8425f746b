"""The main job: from a cutout of volume EM to a connectivity graph, figures and a report.

This module orders the stages and saves what they return; the stages themselves open no file and
print nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from connectome import evaluate, runlog
from connectome.cli.reporter import Reporter
from connectome.core.params import DEFAULT_CUTOUT, RunConfig
from connectome.evaluate.results import evaluate_results, flatten_scores
from connectome.fetch import CutoutPlan
from connectome.figures import FIGURES
from connectome.io import paths
from connectome.io.files import atomic_path, list_files, staging_folder, write_json
from connectome.io.run_folder import RunFolder
from connectome.io.volumes import write_volume
from connectome.report import write_report
from connectome.segment import baseline
from connectome.triage import uncertainty
from connectome.workflows.connectivity import Connectivity, detect_and_connect
from connectome.workflows.drawing.figure_workers import FigureWorkers
from connectome.workflows.neurites import predict_aligned_probability, segment_neurites
from connectome.workflows.planning import plan_run
from connectome.workflows.preparation import AlignedStack, prepare_stack


@dataclass(frozen=True, eq=False)
class DraftSegmentation:
    """Neurites of a run and how they were found.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids.
    segments : DataFrame
        One row per neurite, the most uncertain first.
    merge_log : DataFrame or None
        One row per join; None for the watershed baseline.
    probability : ndarray of float16, shape (Z, Y, X), or None
        Neurite probability; None for the watershed baseline.
    """

    labels: np.ndarray
    segments: pd.DataFrame
    merge_log: pd.DataFrame | None = None
    probability: np.ndarray | None = None


def run(config: RunConfig, reporter: Reporter, command: Sequence[str] = ()) -> dict:
    """Do the main job.

    Parameters
    ----------
    config : RunConfig
        What to run on what.
    reporter : Reporter
        Receives progress and messages.
    command : sequence of str
        The command line, for the run log.

    Returns
    -------
    dict
        The scores, as in ``tables/evaluation.json``; empty without ground truth.
    """
    outdir = Path(config.outdir)
    size = config.source.cutout_xyz or DEFAULT_CUTOUT
    with runlog.record_run(outdir, asdict(config), config.source.uri, size, command) as log:
        reporter = reporter.for_run(log)
        with staging_folder(outdir, log.run_id, owned_files()) as folder:
            config, plan = _plan(config, reporter, log)
            evaluation = _run_stages(config, plan, folder, reporter)
            log.log_files(list_files(folder))
    reporter.report_timings()
    if evaluation:
        reporter.message(evaluate.format_scores(evaluation) + "\n")
    reporter.message(f"results are in {outdir}/ (run {log.run_id}); open {outdir / paths.REPORT}")
    return evaluation


def owned_files() -> list[str]:
    """List all files of the main job: those that a run does not make again are removed."""
    figures = [file for figure in FIGURES.values() for file in figure.files]
    return [*paths.MAIN_JOB_FILES, *figures]


def _plan(config: RunConfig, reporter: Reporter, log: runlog.Run) -> tuple[RunConfig, CutoutPlan]:
    """Plan the cutout and report it."""
    with reporter.stage("plan"):
        config, plan = plan_run(config, reporter)
        log.update_source(plan.uri, plan.shape[::-1])
    z, y, x = plan.field_of_view_um
    voxel = " x ".join(f"{v:g}" for v in plan.voxel_size)
    reporter.message(f"source      {plan.uri}")
    reporter.message(
        f"cutout      {plan.shape[2]} x {plan.shape[1]} x {plan.shape[0]} voxels, "
        f"{x:.2f} x {y:.2f} x {z:.2f} µm (X Y Z); voxel {voxel} nm (Z Y X)"
    )
    return config, plan


def _run_stages(config: RunConfig, plan: CutoutPlan, folder: Path, reporter: Reporter) -> dict:
    """Run all stages, and write every file into a folder; return the scores."""
    with FigureWorkers(folder, parallel=config.threads > 1) as figures:
        stack = prepare_stack(plan, config, reporter)
        alignment = _alignment_record(stack, applied=config.align)
        figures.provide(
            alignment=alignment, voxel_size=stack.cutout.voxel_size, source=stack.cutout.source
        )
        segment = {"agglomerate": _agglomerate, "watershed": _watershed}[config.segmentation]
        draft = segment(stack, config, reporter)
        labels = draft.labels
        figures.provide(
            cutout=stack.cutout,
            preprocessed=stack.preprocessed,
            aligned=stack.volume,
            labels=labels,
        )
        connectivity = detect_and_connect(
            stack.volume,
            labels,
            segments=draft.segments,
            damaged_sections=stack.alignment.damaged_sections,
            synapse_params=config.synapse_params,
            graph_params=config.graph_params,
            threads=config.threads,
            reporter=reporter,
        )
        figures.provide(
            synapses=connectivity.synapses,
            graph=connectivity.graph,
            nodes=connectivity.nodes,
            edges=connectivity.edges,
            directed=connectivity.directed,
        )
        evaluation = _evaluate(stack, labels, connectivity.synapses, reporter)
        figures.provide(evaluation=evaluation)
        with reporter.stage("save"):
            _save_arrays(folder, stack, draft, config)
            _save_tables(folder, stack, draft, connectivity)
            write_json(folder / paths.ALIGNMENT, alignment)
            connectivity.export(folder, stack.cutout.source)
            if evaluation:
                write_json(folder / paths.EVALUATION, evaluation)
        with reporter.stage("figures"):
            for figure in figures.draw_from_files(RunFolder(folder)):
                reporter.warn(f"{figure.title} was not drawn: the run did not save what it needs")
            figures.finish()
    with reporter.stage("report"):
        # Without the files of an earlier run that is still in the output folder.
        write_report(
            folder / paths.REPORT,
            RunFolder(folder),
            log_folder=Path(config.outdir),
            figures=list(FIGURES.values()),
        )
    return evaluation


def _watershed(stack: AlignedStack, config: RunConfig, reporter: Reporter) -> DraftSegmentation:
    """Segment by the published baseline: a watershed per section, joined by overlap."""
    voxel_size = stack.cutout.voxel_size
    with reporter.stage("segment", len(stack.aligned)) as stage:
        profiles = baseline.segment_profiles(
            stack.aligned,
            stack.tissue,
            voxel_size,
            config.watershed_params,
            config.threads,
            stage.progress,
        )
        n_profiles = int(profiles.max(axis=(1, 2)).sum())
        stage.counts["profiles"] = n_profiles
    with reporter.stage("stitch") as stage:
        labels = baseline.link_profiles(profiles, voxel_size, config.watershed_params)
        stage.counts["neurites"] = int(labels.max())
    reporter.message(f"neurites    {labels.max():,} (watershed, from {n_profiles:,} profiles)")
    return DraftSegmentation(labels, uncertainty.segment_table(labels, voxel_size))


def _agglomerate(stack: AlignedStack, config: RunConfig, reporter: Reporter) -> DraftSegmentation:
    """Segment by predicted membranes: supervoxels, joined into neurites by agglomeration."""
    voxel_size, damaged_sections = stack.cutout.voxel_size, stack.alignment.damaged_sections
    with reporter.stage("membranes", len(stack.aligned)) as stage:
        probability = predict_aligned_probability(
            stack.preprocessed,
            stack.aligned,
            tissue=stack.tissue,
            voxel_size=voxel_size,
            transforms=stack.alignment.transforms,
            damaged_sections=damaged_sections,
            threads=config.threads,
            progress=stage.progress,
        )
        # At the precision that is saved, so that refiners and proofreaders see the same map.
        saved = probability.astype(np.float16)
    segmentation = segment_neurites(
        saved.astype(np.float32),
        stack.aligned,
        tissue=stack.tissue,
        voxel_size=voxel_size,
        damaged_sections=damaged_sections,
        segment_params=config.segment_params,
        stitch_params=config.stitch_params,
        reporter=reporter,
    )
    labels, supervoxels = segmentation.labels, segmentation.supervoxels
    with reporter.stage("uncertainty"):
        log = uncertainty.merge_log(segmentation.agglomeration, supervoxels, voxel_size)
        segments = uncertainty.segment_table(labels, voxel_size, segmentation.agglomeration, log)
    reporter.message(f"neurites    {labels.max():,} (from {supervoxels.max():,} supervoxels)")
    return DraftSegmentation(labels, segments, log, saved)


def _evaluate(
    stack: AlignedStack, labels: np.ndarray, synapses: pd.DataFrame, reporter: Reporter
) -> dict:
    """Score neurites, synapses and alignment where there is ground truth."""
    ground_truth = stack.ground_truth
    with reporter.stage("evaluate"):
        evaluation = evaluate_results(labels, synapses, ground_truth, stack.cutout.voxel_size)
        if ground_truth.shifts is not None:
            evaluation["alignment"] = {
                "rms_px": evaluate.alignment_rms(
                    stack.alignment.transforms.shifts, ground_truth.shifts
                ),
                "reference": stack.reference,
            }
    for name, value in flatten_scores(evaluation):
        reporter.metric(name, value)
    return evaluation and evaluation | {"source": stack.cutout.source}


def _save_arrays(
    folder: Path, stack: AlignedStack, draft: DraftSegmentation, config: RunConfig
) -> None:
    """Write the arrays, each with its voxel size, origin and source beside it."""
    dtype = config.aligned_dtype
    arrays = {
        paths.ALIGNED[dtype]: stack.aligned.astype(dtype),
        paths.LABELS: draft.labels,
    }
    if not config.save_minimal:
        arrays |= {paths.CUTOUT: stack.cutout.data, paths.PREPROCESSED: stack.preprocessed}
        if draft.probability is not None:
            arrays[paths.PROBABILITY] = draft.probability
        if stack.ground_truth.labels is not None:
            arrays[paths.TRUE_LABELS] = stack.ground_truth.labels.astype(np.int32)
    for name, data in arrays.items():
        write_volume(folder / name, stack.cutout.with_data(data))


def _save_tables(
    folder: Path, stack: AlignedStack, draft: DraftSegmentation, connectivity: Connectivity
) -> None:
    """Write the tables as CSV."""
    tables = connectivity.tables | {paths.SEGMENTS: draft.segments}
    if draft.merge_log is not None:
        tables[paths.MERGE_LOG] = draft.merge_log
    if stack.ground_truth.synapses is not None:
        tables[paths.TRUE_SYNAPSES] = stack.ground_truth.synapses
    for name, table in tables.items():
        with atomic_path(folder / name) as path:
            # Tables are passed on by themselves, so each names its source.
            table.assign(source=stack.cutout.source).to_csv(path, index=False)


def _alignment_record(stack: AlignedStack, *, applied: bool) -> dict:
    """Return the content of ``tables/alignment_shifts.json``."""
    alignment, cutout = stack.alignment, stack.cutout
    transforms = alignment.transforms
    content = {
        "shifts": transforms.shifts.tolist(),
        "unit": "px",
        "axes": ["dy", "dx"],
        "pixel_size_nm": list(cutout.voxel_size[1:]),
        "applied": applied,
        "confidence": alignment.confidence.tolist(),
        "damaged_sections": list(alignment.damaged_sections),
        "trend": alignment.drift.tolist(),
        "source": cutout.source,
    }
    if transforms.matrices is not None:
        content["matrices"] = transforms.matrices.tolist()
    if stack.ground_truth.shifts is not None:
        content["true_shifts"] = np.asarray(stack.ground_truth.shifts).tolist()
    return content
