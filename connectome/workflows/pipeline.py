"""The main job: a cutout in, a wiring graph out.

Order, progress, timing, what is saved and the run log live here; the stages know nothing of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from connectome import align, evaluate, fetch, preprocess, runlog
from connectome.cli.reporter import Reporter
from connectome.core.errors import SourceUnreachable, UsageError
from connectome.core.params import DEFAULT_CUTOUT, RunConfig
from connectome.core.progress import Progress, ignore_progress
from connectome.core.volume import GroundTruth, Volume
from connectome.io import paths
from connectome.io.results import Results
from connectome.report.build import write_report
from connectome.segment import baseline
from connectome.triage import uncertainty
from connectome.workflows.connectivity import (
    Connectivity,
    detect_and_connect,
    evaluate_results,
    flatten_scores,
)
from connectome.workflows.figure_workers import FigureWorkers
from connectome.workflows.neurites import predict_aligned_probability, segment_neurites

PHANTOM = "phantom://neuropil"
# Measured peaks, of the run and the processes that draw for it together.
BYTES_PER_VOXEL = 95
BASE_BYTES = 400e6


@dataclass(frozen=True, eq=False)
class AlignedStack:
    """A cutout in register, with what is known and what is wrong about it.

    Parameters
    ----------
    cutout : Volume of uint8
        EM as imaged.
    preprocessed, aligned : ndarray of float32, shape (Z, Y, X)
        EM before and after alignment, in [0, 1].
    tissue : ndarray of bool, shape (Z, Y, X)
        Where ``aligned`` shows tissue.
    alignment : Alignment
        Shifts applied, confidence, damaged sections.
    truth : Truth
        Carried into the aligned frame; its shifts are those that would have been right.
    """

    cutout: Volume
    preprocessed: np.ndarray
    aligned: np.ndarray
    tissue: np.ndarray
    alignment: align.Alignment
    truth: GroundTruth


def plan_run(config: RunConfig, reporter: Reporter) -> tuple[RunConfig, fetch.CutoutPlan]:
    """Decide what will be fetched, from metadata alone.

    Parameters
    ----------
    config : RunConfig
        The request.
    reporter : Reporter
        Told when the phantom steps in.

    Returns
    -------
    config, plan
        The request, changed only when nobody chose the source and BossDB cannot be reached:
        then the phantom of the same size takes its place.

    Raises
    ------
    SourceUnreachable
        If a source that was asked for cannot be reached.
    """
    try:
        plan = fetch.plan_cutout(config.source)
    except SourceUnreachable as error:
        if not config.fall_back_to_phantom:
            raise
        reporter.warn(
            f"{error.problem}. No dataset was asked for, so this run uses the embedded synthetic "
            f"sample ({PHANTOM}) instead: nothing below shows a real worm."
        )
        source = replace(config.source, uri=PHANTOM, origin_xyz=None, resolution=None)
        config = replace(config, source=source)
        plan = fetch.plan_cutout(source)
    _check_memory(plan)
    if config.ground_truth:
        fetch.check_ground_truth(config.ground_truth, plan)
    return config, plan


def describe_plan(config: RunConfig, plan: fetch.CutoutPlan) -> str:
    """Say in words what a run would do: the dry run."""
    z, y, x = plan.field_of_view_um
    sz, sy, sx = plan.voxel_size
    lines = [
        f"source         {plan.uri}",
        f"cutout         {plan.shape[2]} x {plan.shape[1]} x {plan.shape[0]} voxels (X Y Z)"
        f" at {plan.origin[2]} {plan.origin[1]} {plan.origin[0]}",
        f"voxel size     {sz:g} x {sy:g} x {sx:g} nm (Z Y X)"
        + (f", mip {plan.resolution}" if plan.resolution is not None else ""),
        f"field of view  {x:.2f} x {y:.2f} x {z:.2f} µm (X Y Z)",
        f"memory         about {memory_needed(plan.shape) / 1e6:.0f} MB at the peak",
        f"files          under {config.outdir}/",
    ]
    lines += [f"               {name}" for name in files_written(config)]
    lines += [f"note           {note}" for note in plan.notes]
    return "\n".join(lines)


def files_written(config: RunConfig) -> list[str]:
    """List the files a run leaves, relative to the output folder."""
    is_phantom = config.source.uri.startswith("phantom:")
    arrays = [paths.ALIGNED[config.aligned_dtype], paths.LABELS]
    tables = [paths.SEGMENTS, paths.SYNAPSES, paths.NODES, paths.EDGES, paths.ALIGNMENT]
    tables += [paths.CONTACTS, paths.MATRIX, paths.GRAPHML, paths.GEXF, paths.GRAPH_JSON]
    if not config.save_minimal:
        arrays = [paths.CUTOUT, paths.PREPROCESSED, *arrays]
        arrays += [paths.TRUE_LABELS] * bool(config.ground_truth or is_phantom)
    if config.segmentation == "agglomerate":
        arrays += [paths.PROBABILITY] * (not config.save_minimal)
        tables.append(paths.MERGE_LOG)
    tables += [paths.TRUE_SYNAPSES] * is_phantom
    if config.ground_truth or config.simulate_sigma_px or is_phantom:
        tables.append(paths.EVALUATION)
    figures = [f"{stem}.{kind}" for stem in paths.FIGURES.values() for kind in ("pdf", "png")]
    arrays = [name for path in arrays for name in (path, str(paths.sidecar(Path(path))))]
    return [*arrays, *tables, *figures, paths.REPORT, paths.RUN_LOG, "runs/<run_id>_config.json"]


def memory_needed(shape: tuple[int, int, int]) -> float:
    """Estimate the peak memory of a run in bytes, for a cutout of shape (Z, Y, X)."""
    return BASE_BYTES + BYTES_PER_VOXEL * float(np.prod(shape))


def run(config: RunConfig, reporter: Reporter, command: Sequence[str] = ()) -> dict:
    """Do the main job.

    Parameters
    ----------
    config : RunConfig
        What to do.
    reporter : Reporter
        Whom to tell.
    command : sequence of str
        The command line, for the log.

    Returns
    -------
    dict
        The evaluation, as in ``tables/evaluation.json``; empty where no truth is known.
    """
    outdir = Path(config.outdir)
    asked = config.source.cutout_xyz or DEFAULT_CUTOUT
    with runlog.record_run(outdir, asdict(config), config.source.uri, asked, command) as log:
        reporter = reporter.for_run(log)
        job = _PipelineRun(config, reporter, log)
        with paths.staging_folder(outdir, log.run_id) as folder:
            evaluation = job.run(folder)
            files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
            log.log_files(files)
    reporter.report_timings()
    if evaluation:
        reporter.message(evaluate.format_scores(evaluation) + "\n")
    reporter.message(f"results are in {outdir}/ (run {log.run_id}); open {outdir / paths.REPORT}")
    return evaluation


class _PipelineRun:
    """One run: its request, its listeners, and the stages in order."""

    def __init__(self, config: RunConfig, reporter: Reporter, log: runlog.Run):
        self.config = config
        self.reporter = reporter
        self.log = log
        self.reference = "the true place"  # what the alignment is measured from

    def run(self, folder: Path) -> dict:
        """Go through all stages; leave every file in the folder."""
        plan = self.plan()
        with FigureWorkers(folder, parallel=self.config.threads > 1) as press:
            prepared = self.prepare(plan)
            cutout, aligned = prepared.cutout, prepared.aligned
            self.draw_alignment(press, prepared)
            arrays, tables = self.reconstruct(prepared)
            labels = arrays[paths.LABELS]
            press.draw(1, cutout, prepared.preprocessed, aligned, labels)
            press.draw(5, cutout.with_data(aligned), labels)
            press.draw(6, labels, cutout.voxel_size, cutout.source)
            wiring = self.detect_and_connect(prepared, labels)
            candidates, directed = wiring.candidates, wiring.directed
            press.draw(2, aligned, labels, candidates, cutout.voxel_size, cutout.source, directed)
            press.draw(3, wiring.diagram, cutout.source)
            press.draw(7, cutout.with_data(aligned), labels, candidates, directed)
            tables |= wiring.tables
            if prepared.truth.synapses is not None:
                tables[paths.TRUE_SYNAPSES] = prepared.truth.synapses
            evaluation = self.evaluate(prepared, labels, candidates)
            counted = (wiring.nodes, wiring.edges, candidates)
            press.draw(8, *counted, evaluation, cutout.source, directed)
            with self.log.stage("save"):
                self.save_arrays(folder, prepared, arrays)
                self.save_tables(folder, prepared, tables)
                wiring.export(folder, cutout.source)
                if evaluation:
                    paths.write_json(folder / paths.EVALUATION, evaluation)
            with self.log.stage("figures"):
                press.finish()
        with self.log.stage("report"):
            write_report(folder / paths.REPORT, Results(folder), Path(self.config.outdir))
        return evaluation

    def plan(self) -> fetch.CutoutPlan:
        """Find out what will be fetched, and say so."""
        with self.log.stage("plan"):
            self.config, plan = plan_run(self.config, self.reporter)
            self.log.update_source(plan.uri, plan.shape[::-1])
        z, y, x = plan.field_of_view_um
        voxel = " x ".join(f"{v:g}" for v in plan.voxel_size)
        self.reporter.message(f"source      {plan.uri}")
        self.reporter.message(
            f"cutout      {plan.shape[2]} x {plan.shape[1]} x {plan.shape[0]} voxels, "
            f"{x:.2f} x {y:.2f} x {z:.2f} µm (X Y Z); voxel {voxel} nm (Z Y X)"
        )
        return plan

    def prepare(self, plan: fetch.CutoutPlan) -> AlignedStack:
        """Fetch, preprocess and align."""
        cutout, truth = self.fetch(plan)
        threads = self.config.threads
        with self.log.stage("preprocess") as counts, self.bar("preprocess", cutout) as tell:
            tissue, blank, preprocessed = self.preprocess(cutout, tell)
            counts |= {"sections": len(tissue), "blank": len(blank)}
        with self.log.stage("align") as counts, self.bar("align", cutout) as tell:
            found = self.estimate(preprocessed, cutout, blank, tell)
            if not self.config.align:
                found = replace(found, shifts=np.zeros_like(found.shifts), matrices=None)
            moves = {"shifts": found.shifts, "matrices": found.matrices}
            aligned = align.apply_transforms(preprocessed, **moves, threads=threads)
            # All that follows can then be done again from the file, and comes out the same.
            aligned = aligned.astype(self.config.aligned_dtype).astype(np.float32)
            tissue = align.apply_transforms(tissue.astype(np.uint8), **moves, order=0) > 0
            aligned[~tissue] = 0  # splines ring beyond its edge
            truth = _transform_truth(truth, **moves, shape=tissue.shape[1:])
            counts["damaged"] = len(found.damaged_sections)
        self.tell_alignment(found, tissue.shape[1:])
        return AlignedStack(cutout, preprocessed, aligned, tissue, found, truth)

    def preprocess(self, cutout: Volume, tell: Progress = ignore_progress):
        """Return tissue, blank sections and even EM."""
        tissue = preprocess.find_tissue(cutout.data)
        blank = preprocess.find_blank_sections(cutout.data, tissue)
        params, threads = self.config.preprocess_params, self.config.threads
        even = preprocess.preprocess(cutout.data, tissue, cutout.voxel_size, params, threads, tell)
        return tissue, blank, even

    def estimate(
        self, even, cutout: Volume, blank, tell: Progress = ignore_progress
    ) -> align.Alignment:
        """Find where each section belongs."""
        params, threads = self.config.align_params, self.config.threads
        return align.estimate_alignment(even, cutout.voxel_size, blank, params, threads, tell)

    def fetch(self, plan: fetch.CutoutPlan) -> tuple[Volume, GroundTruth]:
        """Bring the cutout and what is known to be true about it."""
        with self.log.stage("fetch") as counts:
            with self.reporter.progress_bar("fetch", plan.steps) as tell:
                fetched = fetch.fetch_cutout(plan, tell)
            for note in fetched.notes:
                self.reporter.warn(note)
            truth = fetched.ground_truth or GroundTruth()
            if self.config.ground_truth:
                labels = fetch.read_ground_truth(self.config.ground_truth, plan)
                truth = replace(truth, labels=labels)
            counts["voxels"] = fetched.volume.data.size
        if not self.config.simulate_sigma_px:
            return fetched.volume, truth
        with self.log.stage("misalign"):
            return self.misalign(fetched.volume, truth)

    def misalign(self, cutout: Volume, truth: GroundTruth) -> tuple[Volume, GroundTruth]:
        """Displace every section at random, and keep what would put it back."""
        moves = align.simulate_shifts(
            len(cutout.data), self.config.simulate_sigma_px, self.config.source.seed
        )
        if truth.shifts is None:
            # Real sections are not in register to begin with. How they lie by themselves is the
            # zero that the simulated error is measured from.
            _, blank, even = self.preprocess(cutout)
            truth = replace(truth, shifts=self.estimate(even, cutout, blank).shifts)
            self.reference = "where sections lay before"
        truth = replace(_transform_truth(truth, moves), shifts=truth.shifts - moves)
        moved = align.apply_transforms(cutout.data, moves, order=1)
        self.reporter.message(
            f"misaligned  on purpose, {self.config.simulate_sigma_px:g} px per section"
        )
        return cutout.with_data(moved), truth

    def reconstruct(self, prepared: AlignedStack) -> tuple[dict, dict[str, pd.DataFrame]]:
        """Take the aligned stack to neurite ids and what there is to tell of them, by name."""
        roads = {"agglomerate": self.agglomerate, "watershed": self.watershed}
        return roads[self.config.segmentation](prepared)

    def watershed(self, prepared: AlignedStack) -> tuple[dict, dict[str, pd.DataFrame]]:
        """Outline profiles and join them by overlap: the published baseline."""
        voxel_size, params = prepared.cutout.voxel_size, self.config.watershed_params
        with self.log.stage("segment") as counts, self.bar("segment", prepared.cutout) as tell:
            profiles = baseline.segment_profiles(
                prepared.aligned, prepared.tissue, voxel_size, params, self.config.threads, tell
            )
            counts["pieces"] = n_profiles = int(profiles.max(axis=(1, 2)).sum())
        with self.log.stage("stitch") as counts:
            labels = baseline.link_profiles(profiles, voxel_size, params)
            counts["neurites"] = int(labels.max())
        self.reporter.message(
            f"neurites    {labels.max()} ids from {n_profiles} profiles (watershed)"
        )
        table = uncertainty.segment_table(labels, voxel_size)
        return {paths.LABELS: labels}, {paths.SEGMENTS: table}

    def agglomerate(self, prepared: AlignedStack) -> tuple[dict, dict[str, pd.DataFrame]]:
        """Rate membranes, and join small pieces by how their boundaries look and overlap."""
        voxel_size, damaged = prepared.cutout.voxel_size, prepared.alignment.damaged_sections
        with self.log.stage("evidence"), self.bar("evidence", prepared.cutout) as tell:
            probability = predict_aligned_probability(
                prepared.preprocessed,
                prepared.aligned,
                prepared.tissue,
                voxel_size,
                (prepared.alignment.shifts, prepared.alignment.matrices),
                damaged,
                self.config.threads,
                tell,
            )
            # As it is saved, so that refiners and proofreaders see what made the draft.
            probability = probability.astype(np.float16).astype(np.float32)
        found = segment_neurites(
            probability,
            prepared.aligned,
            prepared.tissue,
            voxel_size,
            damaged,
            self.log.stage,
            params=(self.config.segment_params, self.config.stitch_params),
        )
        with self.log.stage("doubt"):
            log = uncertainty.merge_log(found.stitched, found.supervoxels, voxel_size)
            table = uncertainty.segment_table(found.labels, voxel_size, found.stitched, log)
        n_neurites, n_pieces = found.labels.max(), found.supervoxels.max()
        self.reporter.message(f"neurites    {n_neurites} ids from {n_pieces} pieces")
        arrays = {paths.LABELS: found.labels, paths.PROBABILITY: probability.astype(np.float16)}
        return arrays, {paths.SEGMENTS: table, paths.MERGE_LOG: log}

    def detect_and_connect(self, prepared: AlignedStack, labels: np.ndarray) -> Connectivity:
        """Find synapse candidates and sum them into the wiring graph."""
        return detect_and_connect(
            prepared.cutout.with_data(prepared.aligned),
            labels,
            prepared.alignment.damaged_sections,
            self.reporter,
            self.log,
            self.config.threads,
            (self.config.synapse_params, self.config.graph_params),
        )

    def evaluate(self, prepared: AlignedStack, labels, candidates) -> dict:
        """Score whatever truth is known."""
        truth = prepared.truth
        with self.log.stage("evaluate"):
            evaluation = evaluate_results(labels, candidates, truth, prepared.cutout.voxel_size)
            if truth.shifts is not None:
                evaluation["alignment"] = {
                    "rms_px": evaluate.alignment_rms(prepared.alignment.shifts, truth.shifts),
                    "reference": self.reference,
                }
        for name, value in flatten_scores(evaluation):
            self.log.log_metric(name, value)
        return evaluation and evaluation | {"source": prepared.cutout.source}

    def save_arrays(self, folder: Path, prepared: AlignedStack, found: dict) -> None:
        """Write the stacks, each with its place in the world."""
        cutout, dtype = prepared.cutout, self.config.aligned_dtype
        arrays = {paths.ALIGNED[dtype]: prepared.aligned.astype(dtype)}
        if self.config.save_minimal:
            arrays[paths.LABELS] = found[paths.LABELS]
        else:
            arrays |= {paths.CUTOUT: cutout.data, paths.PREPROCESSED: prepared.preprocessed}
            arrays |= found
            if prepared.truth.labels is not None:
                arrays[paths.TRUE_LABELS] = prepared.truth.labels.astype(np.int32)
        for name, data in arrays.items():
            paths.write_volume(folder / name, cutout.with_data(data))

    def save_tables(self, folder: Path, prepared: AlignedStack, tables: dict) -> None:
        """Write all tables by their names, and the shifts."""
        for name, table in tables.items():
            with paths.atomic_path(folder / name) as path:
                # A table is passed on by itself: it says what it is about.
                table.assign(source=prepared.cutout.source).to_csv(path, index=False)
        found = prepared.alignment
        content = {
            "shifts": found.shifts.tolist(),
            "unit": "px",
            "axes": ["dy", "dx"],
            "pixel_size_nm": list(prepared.cutout.voxel_size[1:]),
            "applied": self.config.align,
            "confidence": found.confidence.tolist(),
            "damaged_sections": list(found.damaged_sections),
            "trend": found.drift.tolist(),
            "source": prepared.cutout.source,
        }
        if found.matrices is not None:
            content["matrices"] = found.matrices.tolist()
        if prepared.truth.shifts is not None:
            content["true_shifts"] = np.asarray(prepared.truth.shifts).tolist()
        paths.write_json(folder / paths.ALIGNMENT, content)

    def draw_alignment(self, press: FigureWorkers, prepared: AlignedStack) -> None:
        """Draw Figure 4 from the shifts."""
        found, cutout = prepared.alignment, prepared.cutout
        true_shifts = prepared.truth.shifts
        press.draw(
            4,
            *(found.shifts, cutout.voxel_size, cutout.source),
            *(true_shifts, found.damaged_sections, found.confidence, found.drift, found.matrices),
        )

    def bar(self, name: str, volume: Volume):
        """Show how many sections are done."""
        return self.reporter.progress_bar(name, len(volume.data))

    def tell_alignment(self, found: align.Alignment, shape: tuple[int, int]) -> None:
        """Say how far sections were moved, and which could not be used."""
        if self.config.align:
            said = f"sections moved by up to {np.abs(found.shifts).max():.1f} px"
            if found.matrices is not None:
                corner = np.array(shape) / 2
                bent = np.abs((found.matrices - np.eye(2)) @ corner).max()
                said += f", their corners by up to {bent:.1f} px more"
            if found.drift.any():
                said += f"; a slow trend of {np.abs(found.drift).max():.1f} px is the tissue's"
        else:
            said = "not asked for"
        self.reporter.message(f"aligned     {said}")
        if found.damaged_sections:
            listed = ", ".join(map(str, found.damaged_sections))
            self.reporter.warn(
                f"section {listed}: blank, or unlike the sections around; bridged, not followed"
            )
        if found.rotated_sections and self.config.align:
            listed = ", ".join(map(str, found.rotated_sections))
            self.reporter.warn(
                f"section {listed}: fits the sections around once it is turned; --align-model auto"
                " turns sections back"
            )
        fits = found.confidence >= align.MIN_CORRELATION
        lost = [z for z in np.flatnonzero(~fits) if z not in set(found.damaged_sections)]
        if lost and fits.any():
            self.reporter.warn(
                f"section {', '.join(map(str, lost))}: unlike the sections around, and too many in"
                " a row to be bridged; what is found there means nothing"
            )


def _transform_truth(
    truth: GroundTruth,
    shifts: np.ndarray,
    matrices: np.ndarray | None = None,
    shape: tuple[int, int] | None = None,
) -> GroundTruth:
    """Carry true labels and synapses to where their sections were moved."""
    labels, table = truth.labels, truth.synapses
    if labels is not None:
        labels = align.apply_transforms(labels, shifts, order=0, matrices=matrices)
    if table is not None:
        table = table.copy()
        places = table[["z", "y", "x"]].to_numpy(float)
        table[["z", "y", "x"]] = align.transform_points(places, shifts, matrices, shape)
    return GroundTruth(labels, table, truth.shifts)


def _check_memory(plan: fetch.CutoutPlan) -> None:
    """Refuse what cannot fit, before hours are spent on it."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # not every system tells
        return
    needed = memory_needed(plan.shape)
    if needed > total:
        raise UsageError(
            f"a cutout of {plan.shape[2]} x {plan.shape[1]} x {plan.shape[0]} voxels needs about "
            f"{needed / 1e9:.0f} GB, and this machine has {total / 1e9:.0f} GB",
            "the run would end without a result",
            "--preset medium, or a smaller --cutout X Y Z",
        )
