"""Score a segmentation against ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from connectome.cli.arguments import Parser, length
from connectome.evaluate import format_scores, score_segmentation
from connectome.io.paths import write_json
from connectome.io.stacks import LABELS, open_stack


def main(argv: Sequence[str] | None = None) -> None:
    """Score one label volume against another from the command line."""
    parser = Parser(
        prog="python -m connectome.evaluate",
        description="Score a segmentation against ground truth: VOI (bits) and adapted Rand error.",
    )
    parser.add_argument("segmentation", metavar="SEG", help="labels: .npy, .npz:key, TIFF, .h5:/x")
    parser.add_argument(
        "truth", metavar="GT", help="true labels of the same shape; 0 is not scored"
    )
    parser.add_argument(
        "--voxel_size", nargs=3, type=length, metavar=("Z", "Y", "X"), help="nm, kept in the JSON"
    )
    parser.add_argument("--json", metavar="FILE", help="where to write it (default: SEG's name)")
    args = parser.parse_args(argv)
    stacks = [open_stack(path, LABELS) for path in (args.segmentation, args.truth)]
    scores = score_segmentation(*(stack.read((0, 0, 0), stack.shape) for stack in stacks))
    evaluation = {"segmentation": scores}
    print(format_scores(evaluation))
    stem = args.segmentation.partition(":")[0]
    target = Path(args.json or f"{Path(stem).with_suffix('')}_evaluation.json")
    write_json(
        target,
        {**evaluation, "labels": args.segmentation, "truth": args.truth}
        | ({"voxel_size_nm": args.voxel_size} if args.voxel_size else {}),
    )
    print(f"written to {target}")
