"""Draw the figures again from a run's files: ``python -m connectome.figures outputs``."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np

from connectome.cli.reporter import Reporter
from connectome.core.errors import DataError, UsageError
from connectome.io import paths
from connectome.io.run_folder import RunFolder
from connectome.report.build import write_report
from connectome.workflows.figure_workers import FigureWorkers

NAMES = {f"Figure{number}": number for number in paths.FIGURES} | {"report": 0}


def redraw(outdir: Path, wanted: Collection[int], reporter: Reporter, threads: int = 1) -> None:
    """Draw figures from files, and write the report.

    Parameters
    ----------
    outdir : Path
        Output folder of a run.
    wanted : collection of int
        Numbers of figures; 0 is the report.
    reporter : Reporter
        Whom to tell.
    threads : int
        More than one: figures are drawn side by side.

    Raises
    ------
    UsageError, DataError
        If there is no run, or files are missing or damaged. Then nothing is changed.
    """
    if not outdir.is_dir():
        raise UsageError(f"there is no folder {outdir}", "", f"run_pipeline.py --outdir {outdir}")
    results = RunFolder(outdir)
    numbers = sorted(set(wanted) - {0})
    if 1 in numbers and not results.has(paths.CUTOUT, paths.PREPROCESSED):
        reporter.warn("Figure 1 stays as it is: it needs what --save_minimal left out")
        numbers.remove(1)
    # All is read first: what is damaged shows before anything is drawn.
    contents = {number: _contents(results, number) for number in numbers}
    with (
        paths.staging_folder(outdir, f"redraw-{os.getpid()}", owned=()) as folder,
        FigureWorkers(folder, parallel=threads > 1 and len(numbers) > 1) as press,
    ):
        for number in numbers:
            press.draw(number, *contents[number])
            reporter.message(f"figure      {paths.FIGURES[number]}")
        press.finish()
        if 0 in wanted:
            write_report(folder / paths.REPORT, RunFolder(folder, outdir), outdir)
            reporter.message(f"report      {paths.REPORT}")
    reporter.message(f"results are in {outdir}/")


def _contents(results: RunFolder, number: int) -> tuple:
    """Gather what a figure takes; each reads no file that it does not show."""
    contents = {
        1: lambda r: (r.cutout, r.preprocessed, r.aligned.data, r.graph_labels),
        2: lambda r: (
            *(r.aligned.data, r.graph_labels, r.synapses, r.aligned.voxel_size, r.source),
            r.directed,
        ),
        3: lambda r: (r.graph, r.source),
        4: _alignment,
        5: lambda r: (r.aligned, r.graph_labels),
        6: lambda r: (r.graph_labels, r.aligned.voxel_size, r.source),
        7: lambda r: (r.aligned, r.graph_labels, r.synapses, r.directed),
        8: lambda r: (r.nodes, r.edges, r.synapses, r.evaluation, r.source, r.directed),
    }
    return contents[number](results)


def _alignment(results: RunFolder) -> tuple:
    told = results.alignment
    names = ("shifts", "true_shifts", "confidence", "trend", "matrices")
    shifts, true_shifts, confidence, trend, matrices = (
        np.asarray(told[name], float) if name in told else None for name in names
    )
    if shifts is None:
        raise DataError(f"{results.path(paths.ALIGNMENT)} has no shifts", "they cannot be drawn")
    damaged = tuple(told.get("damaged_sections", ()))
    place = (results.aligned.voxel_size, results.source)
    return shifts, *place, true_shifts, damaged, confidence, trend, matrices
