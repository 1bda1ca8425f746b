"""Redraw the figures and the report of a run from its files."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from connectome.cli.reporter import Reporter
from connectome.core.errors import UsageError
from connectome.figures import FIGURES, FigureSpec
from connectome.io import paths
from connectome.io.files import staging_folder
from connectome.io.run_folder import RunFolder
from connectome.report import write_report
from connectome.workflows.drawing.figure_workers import FigureWorkers

REPORT = "report"
NAMES = (*FIGURES, REPORT)
# Data that runs with --save_minimal leave out.
OPTIONAL_FILES = {"cutout": paths.CUTOUT, "preprocessed": paths.PREPROCESSED}


def redraw(outdir: Path, names: Collection[str], reporter: Reporter, threads: int = 1) -> None:
    """Draw figures from the files of a run, and write its report.

    Parameters
    ----------
    outdir : Path
        Output folder of a run.
    names : collection of str
        Names of figures, and ``report``: any of `NAMES`.
    reporter : Reporter
        Receives messages.
    threads : int
        Above 1, figures are drawn in background processes.

    Raises
    ------
    UsageError, DataError
        If there is no run, or files are missing or damaged. No file is changed then.
    """
    if not outdir.is_dir():
        raise UsageError(f"there is no folder {outdir}", "", f"run_pipeline.py --outdir {outdir}")
    run = RunFolder(outdir)
    wanted = [figure for name, figure in FIGURES.items() if name in names]
    figures = _select_drawable(wanted, run, reporter)
    # Everything is read before anything is drawn, so that damaged files leave all figures as they
    # were. Files that no figure needs are not read.
    data = {name: _read(run, name) for figure in figures for name in figure.needs}
    with (
        staging_folder(outdir, f"redraw-{os.getpid()}", owned=()) as folder,
        FigureWorkers(folder, threads > 1 and len(figures) > 1, figures) as workers,
    ):
        workers.provide(**data)
        workers.finish()
        for figure in figures:
            reporter.message(f"figure      {figure.stem}")
        if REPORT in names:
            write_report(
                folder / paths.REPORT,
                RunFolder(folder, outdir),
                log_folder=outdir,
                figures=list(FIGURES.values()),
            )
            reporter.message(f"report      {paths.REPORT}")
    reporter.message(f"results are in {outdir}/")


def _select_drawable(
    figures: Collection[FigureSpec], run: RunFolder, reporter: Reporter
) -> list[FigureSpec]:
    """Return the figures whose data was saved, and warn of the others."""
    missing = {name for name, path in OPTIONAL_FILES.items() if not run.has(path)}
    for figure in figures:
        if missing & set(figure.needs):
            reporter.warn(
                f"{figure.title} was not redrawn: it needs the arrays that --save_minimal leaves"
                " out"
            )
    return [figure for figure in figures if not missing & set(figure.needs)]


def _read(run: RunFolder, name: str) -> Any:
    """Read data by the name that figures use; labels are those that the graph was made from."""
    return run.graph_labels if name == "labels" else getattr(run, name)
