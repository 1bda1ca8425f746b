"""List the runs logged in an output folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from connectome.cli import arguments
from connectome.runlog import PastRun, read_history


def main(argv: Sequence[str] | None = None) -> None:
    """Print the history of an output folder as a table."""
    parser = arguments.Parser(
        prog="python -m connectome.runlog", description="Print the runs logged in an output folder."
    )
    parser.add_argument("outdir", nargs="?", default="outputs", help="output folder of the runs")
    print(_table(read_history(Path(parser.parse_args(argv).outdir))))


def _table(runs: Sequence[PastRun]) -> str:
    """Lay out runs as text; why a run did not finish stands on a line of its own."""
    titles = (
        *("run", "began (UTC)", "status", "seconds", "ARE", "VOI", "corrections"),
        *("cutout X Y Z", "source"),
    )
    cells = [
        (
            run.run_id,
            run.created_at[:19].replace("T", " "),
            run.status,
            _number(run.seconds, 1),
            _number(run.metrics.get("segmentation/are"), 3),
            _number(run.metrics.get("segmentation/voi"), 2),
            str(run.n_edits or "-"),
            " ".join(map(str, run.cutout_xyz)),
            run.source,
        )
        for run in runs
    ]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    sides = ("<", "<", "<", ">", ">", ">", ">", "<", "<")
    layouts = [f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True)]
    template = "  ".join(layouts)
    lines = [template.format(*titles).rstrip()]
    for run, row in zip(runs, cells, strict=True):
        lines.append(template.format(*row).rstrip())
        if run.error:
            lines.append(f"    {run.error.splitlines()[0]}")
    return "\n".join(lines)


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
