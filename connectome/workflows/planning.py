"""Plan a run from metadata alone: the cutout, the memory it takes, the files it writes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from connectome import fetch
from connectome.cli.reporter import Reporter
from connectome.core.errors import SourceUnreachable, UsageError
from connectome.core.params import RunConfig
from connectome.figures import FIGURES
from connectome.io import paths

PHANTOM = "phantom://neuropil"
# Measured peaks of the run together with the processes that draw its figures.
BYTES_PER_VOXEL = 95
BASE_BYTES = 400e6


def plan_run(config: RunConfig, reporter: Reporter) -> tuple[RunConfig, fetch.CutoutPlan]:
    """Plan the cutout to fetch.

    Parameters
    ----------
    config : RunConfig
        The run as requested.
    reporter : Reporter
        Receives a warning if the phantom replaces BossDB.

    Returns
    -------
    config : RunConfig
        As given, except that a phantom of the same size replaces the default dataset when BossDB
        cannot be reached.
    plan : CutoutPlan
        The cutout that will be fetched.

    Raises
    ------
    SourceUnreachable
        If a source that the user named cannot be reached.
    UsageError
        If the cutout does not fit into memory, or the ground truth does not fit the cutout.
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
    """Return the text of a dry run: source, cutout, memory and files.

    Parameters
    ----------
    config : RunConfig
        The run as requested.
    plan : CutoutPlan
        Its cutout.
    """
    z, y, x = plan.field_of_view_um
    sz, sy, sx = plan.voxel_size
    lines = [
        f"source         {plan.uri}",
        f"cutout         {plan.shape[2]} x {plan.shape[1]} x {plan.shape[0]} voxels (X Y Z)"
        f" at {plan.origin[2]} {plan.origin[1]} {plan.origin[0]}",
        f"voxel size     {sz:g} x {sy:g} x {sx:g} nm (Z Y X)"
        + (f", mip {plan.resolution}" if plan.resolution is not None else ""),
        f"field of view  {x:.2f} x {y:.2f} x {z:.2f} µm (X Y Z)",
        f"memory         about {estimate_memory(plan.shape) / 1e6:.0f} MB at the peak",
        f"files          under {config.outdir}/",
    ]
    lines += [f"               {name}" for name in list_output_files(config)]
    lines += [f"note           {note}" for note in plan.notes]
    return "\n".join(lines)


def list_output_files(config: RunConfig) -> list[str]:
    """Return the paths of the files a run writes, relative to the output folder."""
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
    figures = [file for figure in FIGURES.values() for file in figure.files]
    arrays = [name for path in arrays for name in (path, str(paths.sidecar_path(Path(path))))]
    return [*arrays, *tables, *figures, paths.REPORT, paths.RUN_LOG, "runs/<run_id>_config.json"]


def estimate_memory(shape: tuple[int, int, int]) -> float:
    """Estimate the peak memory of a run in bytes, for a cutout of shape (Z, Y, X)."""
    return BASE_BYTES + BYTES_PER_VOXEL * float(np.prod(shape))


def _check_memory(plan: fetch.CutoutPlan) -> None:
    """Raise UsageError if the estimated peak exceeds the memory of this machine."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # not available on every system
        return
    needed = estimate_memory(plan.shape)
    if needed > total:
        raise UsageError(
            f"a cutout of {plan.shape[2]} x {plan.shape[1]} x {plan.shape[0]} voxels needs about "
            f"{needed / 1e9:.0f} GB, and this machine has {total / 1e9:.0f} GB",
            "the run would end without a result",
            "--preset medium, or a smaller --cutout X Y Z",
        )
