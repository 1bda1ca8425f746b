"""Build synapses, graph and figures again, from refined or corrected neurites."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from connectome.cli import arguments

EXAMPLES = """\
examples:
  rebuild_graph_and_figures.py                              from what was made last
  rebuild_graph_and_figures.py --labels rf                  from the forest's neurites
  rebuild_graph_and_figures.py --labels my_labels.npy       from labels of your own

reviewed synapses (tables/synapses_reviewed.csv) override detected ones
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and rebuild."""
    args = _parser().parse_args(argv)
    from connectome.cli.reporter import Reporter
    from connectome.workflows.rebuild import RebuildConfig, rebuild

    told = (args.outdir, args.labels, args.ground_truth, args.threads, args.directed)
    config = RebuildConfig(*told)
    rebuild(config, Reporter(quiet=args.quiet), ["rebuild_graph_and_figures.py", *(argv or [])])


def _parser() -> arguments.Parser:
    parser = arguments.Parser(
        prog="rebuild_graph_and_figures.py", description=__doc__, epilog=EXAMPLES
    )
    arguments.add_outdir(parser, "of the run")
    parser.add_argument(
        "--labels",
        default="auto",
        metavar="{auto,baseline,corrected,rf,unet,PATH}",
        help="which neurites; auto takes what was made last of corrected, unet and rf, and else the"
        " main job's (default: %(default)s)",
    )
    parser.add_argument(
        "--ground_truth",
        type=arguments.path,
        metavar="PATH",
        help="labels of the source or the cutout, to score against",
    )
    arguments.add_undirected(parser, default=None)
    parser.add_argument(
        "--directed",
        action="store_true",
        default=None,
        help="give them their directions back (default: as in the graph that is there)",
    )
    arguments.add_threads(parser)
    parser.add_argument("--quiet", action="store_true", help="print only warnings and errors")
    return parser


if __name__ == "__main__":
    arguments.run(main, sys.argv[1:])
