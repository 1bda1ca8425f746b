"""Draw the figures again from a run's files: ``python -m connectome.figures outputs``."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from connectome import commandline, layout
from connectome.console import Console
from connectome.drawing import FigurePress
from connectome.errors import UsageError
from connectome.report import write_report
from connectome.results import Results

EXAMPLES = """
examples:
  python -m connectome.figures outputs
  python -m connectome.figures outputs --only Figure3 Figure5
  python -m connectome.figures outputs --only report
"""
NAMES = {f"Figure{number}": number for number in layout.FIGURES} | {"report": 0}


def main(argv: Sequence[str] | None = None) -> None:
    """Redraw from the command line."""
    parser = commandline.Parser(
        prog="python -m connectome.figures",
        description="Draw the figures of a run again, and write its report, without computing "
        "anything anew.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "outdir", nargs="?", default="outputs", help="output folder of the run (default outputs)"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(NAMES),
        metavar="NAME",
        help=f"draw these alone: {', '.join(NAMES)}",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    commandline.add_threads(parser)
    args = parser.parse_args(argv)
    wanted = {NAMES[name] for name in args.only or NAMES}
    redraw(Path(args.outdir), wanted, Console(args.quiet), args.threads)


def redraw(outdir: Path, wanted: Collection[int], console: Console, threads: int = 1) -> None:
    """Draw figures from files, and write the report.

    Parameters
    ----------
    outdir : Path
        Output folder of a run.
    wanted : collection of int
        Numbers of figures; 0 is the report.
    console : Console
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
    results = Results(outdir)
    with (
        layout.staged(outdir, f"redraw-{os.getpid()}", owned=()) as folder,
        FigurePress(folder, beside=threads > 1 and len(wanted) > 1) as press,
    ):
        for number in sorted(set(wanted) - {0}):
            if number == 1 and not results.has(layout.CUTOUT, layout.PREPROCESSED):
                console.warn("Figure 1 stays as it is: it needs what --save_minimal left out")
                continue
            press.draw(number, *_contents(results, number))
            console.say(f"figure      {layout.FIGURES[number]}")
        press.finish()
        if 0 in wanted:
            write_report(folder / layout.REPORT, Results(folder, outdir), outdir)
            console.say(f"report      {layout.REPORT}")
    console.say(f"results are in {outdir}/")


def _contents(results: Results, number: int) -> tuple:
    """Gather what a figure shows."""
    if number == 3:
        return results.graph, _source(results)
    if number == 8:
        tables = (results.nodes, results.edges, results.synapses)
        return *tables, results.evaluation, _source(results)
    aligned = results.aligned
    if number == 4:
        return _alignment(results)
    if number == 6:
        return results.labels, aligned.voxel_size, aligned.source
    if number == 1:
        return results.cutout, results.preprocessed, aligned.data, results.labels
    if number == 2:
        place = (aligned.voxel_size, aligned.source)
        return aligned.data, results.labels, results.synapses, *place
    if number == 5:
        return aligned, results.labels
    return aligned, results.labels, results.synapses


def _source(results: Results) -> str:
    """Tell where the EM came from; tables say it too, where there is no stack."""
    return results.aligned.source


def _alignment(results: Results) -> tuple:
    told = results.alignment
    shifts, _ = layout.read_shifts(results.path(layout.SHIFTS).parents[1])
    known = {name: np.asarray(told[name]) for name in ("true_shifts", "confidence", "trend") if name in told}
    return (
        *(shifts, results.aligned.voxel_size, results.aligned.source),
        *(known.get("true_shifts"), tuple(told.get("damaged_sections", ()))),
        *(known.get("confidence"), known.get("trend")),
    )
