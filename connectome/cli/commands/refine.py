"""Refine neurites: retrain on proofread sections and segment the stack again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec

from connectome.cli import arguments
from connectome.core.errors import UsageError
from connectome.core.params import DEFAULT_SEED

RF_DESCRIPTION = "Refine neurites with a random forest trained on proofread sections."
RF_EXAMPLES = """\
examples:
  train on the proofread sections of outputs/
    %(prog)s
  apply a model of one cutout to another
    %(prog)s --outdir other --apply outputs/runs/models/rf_....npz

sections are proofread with napari_proofread.py or any other program: see README.md
"""
# The defaults of refine.forest.ForestParams, which is slow to import.
N_ESTIMATORS, MAX_PIXELS = 40, 40_000

UNET_DESCRIPTION = (
    "Refine neurites with a small U-Net, trained on the labels of a run and on proofread sections."
)
UNET_EXAMPLES = """\
examples:
  five minutes of training in two rounds if sections are proofread; seconds without any
    %(prog)s --outdir outputs
  as long as you like
    %(prog)s --outdir outputs --minutes 30
  a fixed number of steps, which is reproducible
    %(prog)s --outdir outputs --epochs 3
  apply a model of one cutout to another
    %(prog)s --outdir other --apply outputs/runs/models/unet_....npz

interrupted training resumes from its last checkpoint when the command is repeated
"""


def main_rf(argv: Sequence[str] | None = None, prog: str = "connectome refine-rf") -> None:
    """Parse the command line, and train or apply a random forest."""
    args = build_rf_parser(prog).parse_args(argv)
    if args.apply is None:
        _require("sklearn", "scikit-learn", "no forest can be trained without it")
    from connectome.cli.reporter import Reporter
    from connectome.refine.forest import ForestParams
    from connectome.workflows.refine import RefineConfig, refine_with_forest

    config = RefineConfig(
        kind="rf",
        outdir=args.outdir,
        ground_truth=args.ground_truth,
        seed=args.seed,
        threads=args.threads,
        params=ForestParams(args.n_estimators, args.max_pixels, args.apply),
    )
    refine_with_forest(
        config, Reporter(quiet=args.quiet, prog=prog), [*prog.split(), *(argv or [])]
    )


def main_unet(argv: Sequence[str] | None = None, prog: str = "connectome refine-unet") -> None:
    """Parse the command line, and train or apply a U-Net."""
    parser = build_unet_parser(prog)
    args = parser.parse_args(argv)
    if args.apply is not None and (args.minutes or args.epochs or args.restart):
        parser.error("--apply does not train: omit --minutes, --epochs and --restart")
    # OpenMP threads that spin while they wait take the cores from other programs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _require("torch", "PyTorch", "the U-Net cannot run without it")
    from connectome.cli.reporter import Reporter
    from connectome.refine.unet.selftraining import DEFAULT_MINUTES, UnetParams
    from connectome.workflows.refine import RefineConfig, refine_with_unet

    config = RefineConfig(
        kind="unet",
        outdir=args.outdir,
        ground_truth=args.ground_truth,
        seed=args.seed,
        threads=args.threads,
        params=UnetParams(
            minutes=None if args.epochs else args.minutes or DEFAULT_MINUTES,
            epochs=args.epochs,
            rounds=args.rounds,
            device=args.device,
        ),
    )
    refine_with_unet(
        config,
        Reporter(quiet=args.quiet, prog=prog),
        [*prog.split(), *(argv or [])],
        model_path=args.apply,
        train_without_proofreading=bool(args.minutes or args.epochs),
        restart=args.restart,
    )


def _require(module: str, name: str, consequence: str) -> None:
    """Check that an optional library is installed."""
    if find_spec(module) is None:
        raise UsageError(f"{name} is not installed", consequence, "pip install -r requirements.txt")


def build_rf_parser(prog: str = "connectome refine-rf") -> arguments.Parser:
    """Return the parser of the random forest's command line."""
    parser = arguments.Parser(prog=prog, description=RF_DESCRIPTION, epilog=RF_EXAMPLES)
    _add_shared_flags(parser, seed=DEFAULT_SEED)
    training = parser.add_argument_group("training")
    training.add_argument(
        "--n_estimators",
        type=arguments.count,
        default=N_ESTIMATORS,
        metavar="N",
        help="trees (default: %(default)s)",
    )
    training.add_argument(
        "--max_pixels",
        type=arguments.count,
        default=MAX_PIXELS,
        metavar="N",
        help="voxels to train on, half of them on membranes (default: %(default)s)",
    )
    return parser


def build_unet_parser(prog: str = "connectome refine-unet") -> arguments.Parser:
    """Return the parser of the U-Net's command line."""
    parser = arguments.Parser(prog=prog, description=UNET_DESCRIPTION, epilog=UNET_EXAMPLES)
    _add_shared_flags(parser, seed=0)
    training = parser.add_argument_group("training")
    duration = training.add_mutually_exclusive_group()
    duration.add_argument(
        "--minutes",
        type=arguments.length,
        metavar="N",
        help="wall time of all rounds together (default: 5, and 0 if no section is proofread);"
        " segmentation then takes about half a minute",
    )
    duration.add_argument(
        "--epochs",
        type=arguments.count,
        metavar="N",
        help="largest number of passes through the stack in each round; the result then depends"
        " on the seed alone",
    )
    training.add_argument(
        "--rounds",
        type=arguments.count,
        default=2,
        metavar="N",
        help="rounds of self-training; each is kept only if it does not make the labels worse"
        " (default: %(default)s)",
    )
    training.add_argument(
        "--device",
        choices=("cpu", "cuda", "mps", "auto"),
        default="cpu",
        help="where to compute (default: %(default)s)",
    )
    training.add_argument(
        "--restart", action="store_true", help="start training again, ignoring any checkpoint"
    )
    return parser


def _add_shared_flags(parser: arguments.Parser, seed: int) -> None:
    """Add the flags that both refiners have."""
    arguments.add_outdir(parser, "output folder of the run to refine")
    parser.add_argument(
        "--apply",
        type=arguments.path,
        metavar="MODEL",
        help="do not train; apply a model from runs/models/ of this or another cutout",
    )
    arguments.add_ground_truth(parser, "; never used for training")
    arguments.add_seed(parser, seed)
    arguments.add_threads(parser)
    arguments.add_quiet(parser)
