"""Rebuild synapses, graph and figures from refined or corrected neurites."""

from __future__ import annotations

from collections.abc import Sequence

from connectome.cli import arguments

EXAMPLES = """\
examples:
  from the most recent labels
    %(prog)s
  from the labels of the random forest
    %(prog)s --labels rf
  from labels of your own
    %(prog)s --labels my_labels.npy

reviewed synapses (tables/synapses_reviewed.csv) take precedence over detected ones
"""


def main(argv: Sequence[str] | None = None, prog: str = "connectome rebuild") -> None:
    """Parse the command line and rebuild."""
    args = build_parser(prog).parse_args(argv)
    from connectome.cli.reporter import Reporter
    from connectome.workflows.rebuild import RebuildConfig, rebuild

    config = RebuildConfig(
        outdir=args.outdir,
        labels=args.labels,
        ground_truth=args.ground_truth,
        threads=args.threads,
        directed=args.directed,
    )
    rebuild(config, Reporter(quiet=args.quiet, prog=prog), [*prog.split(), *(argv or [])])


def build_parser(prog: str = "connectome rebuild") -> arguments.Parser:
    """Return the parser of the command line."""
    parser = arguments.Parser(prog=prog, description=__doc__, epilog=EXAMPLES)
    arguments.add_outdir(parser, "output folder of a run")
    parser.add_argument(
        "--labels",
        default="auto",
        metavar="{auto,baseline,corrected,rf,unet,PATH}",
        help="labels to build from; auto takes the most recent of corrected, unet and rf, or those"
        " of the main job if there are none (default: %(default)s)",
    )
    arguments.add_ground_truth(parser)
    arguments.add_undirected(parser, default=None)
    parser.add_argument(
        "--directed",
        action="store_true",
        default=None,
        help="make connections directed again (default: as in the existing graph)",
    )
    arguments.add_threads(parser)
    arguments.add_quiet(parser)
    return parser
