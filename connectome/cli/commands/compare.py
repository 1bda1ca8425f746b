"""Compare two graphs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from connectome.cli import arguments
from connectome.cli.reporter import Reporter
from connectome.workflows.compare import compare

EXAMPLES = """
Each of A and B is the output folder of a run, a table with a row per connection
(pre_id, post_id, n_synapses or weight) or per synapse and partner (pre, post, as published worm
connectomes come), GraphML, GEXF or node-link JSON.

examples:
  python -m connectome.graph compare outputs Witvliet_dataset8.csv
  python -m connectome.graph compare before/tables/graph.graphml outputs --out before_after
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Compare two graphs from the command line."""
    parser = arguments.Parser(
        prog="python -m connectome.graph",
        description="Compare two graphs: density, reciprocity, degrees, clustering, rich club, "
        "motifs.",
        epilog=EXAMPLES,
    )
    parser.add_argument("command", choices=("compare",), help="what to do")
    parser.add_argument("a", metavar="A", type=Path, help="a graph")
    parser.add_argument("b", metavar="B", type=Path, help="another")
    parser.add_argument(
        "--random",
        type=arguments.index,
        default=100,
        metavar="N",
        help="random graphs of the same degrees that each is compared with; 0: none (default 100)",
    )
    parser.add_argument("--seed", type=arguments.seed, default=0, help="of chance (default 0)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("outputs/graph_comparison"),
        metavar="STEM",
        help="where to write .csv, .pdf and .png (default outputs/graph_comparison)",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    args = parser.parse_args(argv)
    compare((args.a, args.b), args.out, Reporter(quiet=args.quiet), args.random, args.seed)
