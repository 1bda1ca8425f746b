"""Draw the figures again from the files of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from connectome.cli import arguments
from connectome.cli.reporter import Reporter
from connectome.workflows.redraw import NAMES, redraw

EXAMPLES = """
examples:
  python -m connectome.figures outputs
  python -m connectome.figures outputs --only Figure3 Figure5
  python -m connectome.figures outputs --only report
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Redraw from the command line."""
    parser = arguments.Parser(
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
    arguments.add_threads(parser)
    args = parser.parse_args(argv)
    wanted = {NAMES[name] for name in args.only or NAMES}
    redraw(Path(args.outdir), wanted, Reporter(quiet=args.quiet), args.threads)
