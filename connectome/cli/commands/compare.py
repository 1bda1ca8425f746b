"""Compare the topology of two graphs."""

from __future__ import annotations

from collections.abc import Sequence

from connectome.cli import arguments

DESCRIPTION = (
    "Compare two graphs: density, reciprocity, degrees, clustering, rich club, triad motifs."
)
EXAMPLES = """\
A and B are each the output folder of a run, a table with one row per connection
(pre_id, post_id, n_synapses or weight) or one row per synapse and partner (pre, post, as
published worm connectomes are distributed), GraphML, GEXF or node-link JSON.

examples:
  %(prog)s outputs Witvliet_dataset8.csv
  %(prog)s before/tables/graph.graphml outputs --out before_after
"""


def main(argv: Sequence[str] | None = None, prog: str = "connectome compare") -> None:
    """Compare the two graphs that the command line names."""
    args = build_parser(prog).parse_args(argv)
    from pathlib import Path

    from connectome.cli.reporter import Reporter
    from connectome.workflows.compare import compare

    reporter = Reporter(quiet=args.quiet, prog=prog)
    compare(
        Path(args.a),
        Path(args.b),
        Path(args.out),
        reporter,
        n_random=args.random,
        seed=args.seed,
    )


def build_parser(prog: str = "connectome compare") -> arguments.Parser:
    """Return the parser of the command line."""
    parser = arguments.Parser(prog=prog, description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument("a", metavar="A", type=arguments.path, help="a graph")
    parser.add_argument("b", metavar="B", type=arguments.path, help="another graph")
    parser.add_argument(
        "--random",
        type=arguments.index,
        default=100,
        metavar="N",
        help="random graphs with the same degrees to compare each with; 0: none (default:"
        " %(default)s)",
    )
    arguments.add_seed(parser, default=0)
    parser.add_argument(
        "--out",
        type=arguments.path,
        default="outputs/graph_comparison",
        metavar="STEM",
        help="where to write .csv, .pdf and .png (default: %(default)s)",
    )
    arguments.add_quiet(parser)
    return parser
