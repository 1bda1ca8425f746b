"""List the runs logged in an output folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from connectome.cli import arguments

if TYPE_CHECKING:
    from connectome.runlog import PastRun

COLUMNS = {
    "run": "<",
    "began (UTC)": "<",
    "status": "<",
    "seconds": ">",
    "ARE": ">",
    "VOI": ">",
    "corrections": ">",
    "cutout X Y Z": "<",
    "source": "<",
}


def main(argv: Sequence[str] | None = None, prog: str = "connectome runs") -> None:
    """Print the runs of an output folder as a table."""
    args = build_parser(prog).parse_args(argv)
    from pathlib import Path

    from connectome.runlog import read_history

    print(format_runs(read_history(Path(args.outdir))))


def build_parser(prog: str = "connectome runs") -> arguments.Parser:
    """Return the parser of the command line."""
    parser = arguments.Parser(prog=prog, description=__doc__)
    parser.add_argument(
        "outdir",
        nargs="?",
        type=arguments.path,
        default="outputs",
        metavar="OUTDIR",
        help="output folder of the runs (default: %(default)s)",
    )
    return parser


def format_runs(runs: Sequence[PastRun]) -> str:
    """Format runs as a table; the reason why a run did not finish is on a line of its own."""
    rows = [
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
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    template = "  ".join(
        f"{{:{side}{width}}}" for side, width in zip(COLUMNS.values(), widths, strict=True)
    )
    lines = [template.format(*COLUMNS).rstrip()]
    for run, row in zip(runs, rows, strict=True):
        lines.append(template.format(*row).rstrip())
        if run.error:
            lines.append(f"    {run.error.splitlines()[0]}")
    return "\n".join(lines)


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
