"""Train a small U-Net on a run's own labels and on proofread sections; refine its neurites."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from connectome.cli import arguments

EXAMPLES = """\
examples:
  train_unet2d_selftrain.py --outdir outputs                five minutes, in two rounds, on
                                                            proofread sections; seconds without any
  train_unet2d_selftrain.py --outdir outputs --minutes 30   as long as you like
  train_unet2d_selftrain.py --outdir outputs --epochs 3     a fixed number of steps: repeatable
  train_unet2d_selftrain.py --outdir other --apply outputs/runs/models/unet_RUN.npz

interrupted training goes on from its last checkpoint when the same command is given again
"""
# Weights learned on phantoms (benchmarks/learn_unet.py) of thick sections, and of thin ones.
STARTS = {False: "unet_thick.npz", True: "unet_thin.npz"}
CHECKPOINT = "unet_checkpoint.npz"
EMPTY = "are damaged or without any id"
GOES_ON = "earlier results are as they were; the same command{} goes on from the last checkpoint"
EXPECT = (
    "no section is proofread, so the U-Net has no more than a vote on the draft's joins: expect"
    " some mended, and some mistakes kept; a few proofread sections help more than any number of"
    " minutes"
)
UNTAUGHT = (
    "it is adapted to this stack and not trained: learning from the draft has gained nothing on"
    " average (--minutes N or --epochs N does so all the same)"
)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, train, and refine."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.apply is not None and (args.minutes or args.epochs or args.restart):
        parser.error("--apply trains nothing: leave --minutes, --epochs and --restart out")
    # Threads that wait for others in a spin starve whatever else the machine does.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if find_spec("torch") is None:
        from connectome.core.errors import UsageError

        raise UsageError(
            "PyTorch is not installed", "there is no U-Net without it", "pip install torch"
        )
    _refine(args, ["train_unet2d_selftrain.py", *(argv or [])])


def _refine(args, command: Sequence[str]) -> None:
    """Train as told, and take what comes of it to neurites."""
    from connectome.cli.reporter import Reporter
    from connectome.io import paths
    from connectome.refine import unet
    from connectome.refine.selftrain import DEFAULT_MINUTES, UnetParams
    from connectome.workflows.refine import RefineConfig, refine

    minutes = None if args.epochs else args.minutes or DEFAULT_MINUTES
    params = UnetParams(minutes, args.epochs, args.rounds, args.device)
    outdir = Path(args.outdir)
    checkpoint = outdir / paths.MODELS / CHECKPOINT
    unet.chosen_device(args.device)  # say at once if there is none
    unet.use_threads(args.threads)
    config = RefineConfig("unet", str(outdir), args.ground_truth, args.seed, args.threads, params)

    def train(material, config, reporter):
        asked = material.proofread or args.minutes or args.epochs
        told = params if asked else replace(params, rounds=0)
        return _train(material, replace(config, params=told), reporter, checkpoint, args.restart)

    check, learn = _check_proofread, train
    if args.apply is not None:
        check, learn = _applying(Path(args.apply))
    try:
        refine(config, learn, Reporter(quiet=args.quiet), command, check)
    except KeyboardInterrupt:
        if args.apply is not None or not checkpoint.exists():
            raise
        going_on = " without --restart" if args.restart else ""
        raise KeyboardInterrupt(GOES_ON.format(going_on)) from None
    if args.apply is None:  # a model that is applied leaves training where it was
        checkpoint.unlink(missing_ok=True)


def _train(material, config, reporter, checkpoint: Path, anew: bool):
    """Train on a stack, from the weights that ship or from where training was left.

    Training that begins anew leaves an old checkpoint where it is until it has one of its own.
    """
    from connectome import evaluate
    from connectome.core.volume import has_thin_sections
    from connectome.io import model_files
    from connectome.refine import selftrain
    from connectome.refine.data import usable
    from connectome.weights import weights_path

    def voi(found, reference):
        return evaluate.score_segmentation(found, reference)["voi"]

    def keep(meta, arrays):
        model_files.write_model(checkpoint, meta | {"kind": CHECKPOINT}, arrays)

    if material.proofread is None:
        reporter.message(EXPECT)
        if not config.params.rounds:
            reporter.message(UNTAUGHT)
    else:
        known = usable(material.proofread, material.damaged)
        if unusable := [z for z in material.proofread.sections if z not in known]:
            which = " ".join(map(str, unusable))
            reporter.message(f"nothing is learned from proofread sections that {EMPTY}: {which}")
    going_on = checkpoint.exists() and not anew
    kept = _kept(checkpoint) if going_on else None
    start = weights_path(STARTS[has_thin_sections(material.voxel_size)])
    weights = model_files.read_model(start, config.kind)[1]
    company = selftrain.Company(voi, reporter.message, reporter.progress_bar, keep, kept)
    training = selftrain.SelfTraining(material, config.params, config.seed, weights, company)
    learned = training.run()
    if not learned.arrays:
        reporter.warn("nothing learned was kept: the neurites are made from the untrained evidence")
    return learned


def _applying(path: Path):
    """Return what checks, and what does it, to judge a stack with a model of another one."""
    from connectome.io import model_files
    from connectome.refine import selftrain, unet

    model = model_files.read_model(path, unet.KIND)

    def check(draft, proofread):
        model_files.check_model(model[0], unet.CHANNELS, draft.aligned.voxel_size, path.name)

    def learn(material, config, reporter):
        return selftrain.applied(material, model, config.params.device, reporter.progress_bar)

    return check, learn


def _check_proofread(draft, proofread) -> None:
    """Refuse proofread sections if there is nothing in any of them to learn from."""
    from connectome.core.errors import DataError
    from connectome.io import paths
    from connectome.refine.data import usable

    if proofread and not usable(proofread, draft.damaged):
        which = " ".join(map(str, proofread.sections))
        raise DataError(
            f"all proofread sections {EMPTY}: {which} of {draft.outdir / paths.CORRECTED_LABELS}",
            "the U-Net cannot learn from them, nor be judged by them",
            f"napari_proofread.py, and mark another section as proofread; or take these out of"
            f" {draft.outdir / paths.PROOFREAD_SECTIONS}",
        )


def _kept(checkpoint: Path):
    """Read where training was left."""
    from connectome.core.errors import DataError
    from connectome.io import model_files

    try:
        return model_files.read_model(checkpoint, CHECKPOINT)
    except DataError as error:
        raise DataError(
            f"the checkpoint {checkpoint} cannot be read: it is damaged, or none",
            "training cannot go on from it",
            "--restart to begin anew",
        ) from error


def _parser() -> arguments.Parser:
    parser = arguments.Parser(
        prog="train_unet2d_selftrain.py", description=__doc__, epilog=EXAMPLES
    )
    arguments.add_outdir(parser, "a run to refine")
    parser.add_argument(
        "--ground_truth",
        type=arguments.path,
        metavar="PATH",
        help="labels of the source or the cutout, to score against; nothing is learned from them",
    )
    train = parser.add_argument_group("training")
    length = train.add_mutually_exclusive_group()
    length.add_argument(
        "--minutes",
        type=arguments.length,
        metavar="N",
        help="wall time of training, all rounds together (default: 5, and 0 where no section is"
        " proofread); what follows takes about half a minute more",
    )
    length.add_argument(
        "--epochs",
        type=arguments.count,
        metavar="N",
        help="times each round goes through the stack at most: the same seed then gives the same"
        " result",
    )
    train.add_argument(
        "--rounds",
        type=arguments.count,
        default=2,
        metavar="N",
        help="of self-training; each is kept only if it does no harm (default: %(default)s)",
    )
    train.add_argument(
        "--device",
        choices=("cpu", "cuda", "mps", "auto"),
        default="cpu",
        help="where to compute (default: %(default)s)",
    )
    train.add_argument(
        "--seed",
        type=arguments.seed,
        default=0,
        help="of every random choice (default: %(default)s)",
    )
    arguments.add_threads(train)
    train.add_argument(
        "--restart", action="store_true", help="begin anew, whatever checkpoint there is"
    )
    train.add_argument(
        "--apply",
        type=arguments.path,
        metavar="MODEL",
        help="train nothing: use a model of runs/models/",
    )
    parser.add_argument("--quiet", action="store_true", help="print only warnings and errors")
    return parser


if __name__ == "__main__":
    arguments.run(main, sys.argv[1:])
