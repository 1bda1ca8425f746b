"""Redraw the figures and the report of a run from its files."""

from __future__ import annotations

from collections.abc import Sequence

from connectome.cli import arguments

DESCRIPTION = "Redraw the figures and the report of a run from its files, computing nothing anew."
EXAMPLES = """\
examples:
  %(prog)s outputs
  %(prog)s outputs --only Figure3 Figure5
  %(prog)s outputs --only report
"""


def main(argv: Sequence[str] | None = None, prog: str = "connectome redraw") -> None:
    """Redraw what the command line names."""
    parser = build_parser(prog)
    args = parser.parse_args(argv)
    from pathlib import Path

    from connectome.cli.reporter import Reporter
    from connectome.workflows.drawing.redraw import NAMES, redraw

    for name in args.only or ():
        if name not in NAMES:
            hint = arguments.suggest(name, NAMES)
            parser.error(f"--only {name}: there is no such figure ({', '.join(NAMES)}){hint}")
    redraw(
        Path(args.outdir), args.only or NAMES, Reporter(quiet=args.quiet, prog=prog), args.threads
    )


def build_parser(prog: str = "connectome redraw") -> arguments.Parser:
    """Return the parser of the command line."""
    parser = arguments.Parser(prog=prog, description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument(
        "outdir",
        nargs="?",
        type=arguments.path,
        default="outputs",
        metavar="OUTDIR",
        help="output folder of the run (default: %(default)s)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="redraw only these: Figure1, Figure2, ..., report",
    )
    arguments.add_threads(parser)
    arguments.add_quiet(parser)
    return parser
