"""Refine neurites by a random forest that learns from proofread sections."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from connectome.cli import arguments
from connectome.core.params import DEFAULT_SEED

EXAMPLES = """\
examples:
  train_refine_rf.py                                        learn from the proofread sections
  train_refine_rf.py --outdir other --apply outputs/runs/models/rf_....npz
                                                            use on one cutout what was learned on
                                                            another

sections are proofread with napari_proofread.py, or written by any program: README.md says how
"""
N_ESTIMATORS, MAX_PIXELS = 40, 40_000


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, and learn or apply what was learned."""
    args = _parser().parse_args(argv)
    from functools import partial
    from pathlib import Path

    from connectome.cli.reporter import Reporter
    from connectome.io import model_files
    from connectome.refine import forest
    from connectome.workflows.refine import RefineConfig, refine

    learn = forest.train
    if args.apply is not None:
        learn = partial(forest.apply, model_files.read_model(Path(args.apply), forest.KIND))
    params = forest.ForestParams(args.n_estimators, args.max_pixels, args.apply)
    config = RefineConfig(
        forest.KIND, args.outdir, args.ground_truth, args.seed, args.threads, params
    )
    refine(config, learn, Reporter(quiet=args.quiet), ["train_refine_rf.py", *(argv or [])])


def _parser() -> arguments.Parser:
    parser = arguments.Parser(prog="train_refine_rf.py", description=__doc__, epilog=EXAMPLES)
    arguments.add_outdir(parser, "of the run")
    parser.add_argument(
        "--n_estimators",
        type=arguments.count,
        default=N_ESTIMATORS,
        metavar="N",
        help="trees (default: %(default)s)",
    )
    parser.add_argument(
        "--max_pixels",
        type=arguments.count,
        default=MAX_PIXELS,
        metavar="N",
        help="voxels to learn from, half of them on membranes (default: %(default)s)",
    )
    parser.add_argument(
        "--apply",
        type=arguments.path,
        metavar="MODEL",
        help="learn nothing; apply a model of runs/models/ of this or another cutout",
    )
    parser.add_argument(
        "--ground_truth",
        type=arguments.path,
        metavar="PATH",
        help="labels of the source or the cutout, to score against",
    )
    parser.add_argument(
        "--seed",
        type=arguments.seed,
        default=DEFAULT_SEED,
        help="of every random choice (default: %(default)s)",
    )
    arguments.add_threads(parser)
    parser.add_argument("--quiet", action="store_true", help="print only warnings and errors")
    return parser


if __name__ == "__main__":
    arguments.run(main, sys.argv[1:])
