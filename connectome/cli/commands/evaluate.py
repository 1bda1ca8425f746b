"""Score a segmentation against ground truth."""

from __future__ import annotations

from collections.abc import Sequence

from connectome.cli import arguments

DESCRIPTION = (
    "Score a segmentation against ground truth: variation of information (bits) and adapted Rand"
    " error."
)


def main(argv: Sequence[str] | None = None, prog: str = "connectome evaluate") -> None:
    """Score one label volume against another; print the scores and write them as JSON."""
    args = build_parser(prog).parse_args(argv)
    from pathlib import Path

    from connectome.evaluate import format_scores, score_segmentation
    from connectome.io.files import write_json
    from connectome.io.stacks import LABELS, open_stack

    stacks = [open_stack(path, LABELS) for path in (args.segmentation, args.truth)]
    segmentation, truth = (stack.read((0, 0, 0), stack.shape) for stack in stacks)
    evaluation = {"segmentation": score_segmentation(segmentation, truth)}
    print(format_scores(evaluation))
    stem = Path(args.segmentation.partition(":")[0]).with_suffix("")
    target = Path(args.json or f"{stem}_evaluation.json")
    content = evaluation | {"labels": args.segmentation, "truth": args.truth}
    if args.voxel_size:
        content["voxel_size_nm"] = args.voxel_size
    write_json(target, content)
    print(f"written to {target}")


def build_parser(prog: str = "connectome evaluate") -> arguments.Parser:
    """Return the parser of the command line."""
    parser = arguments.Parser(prog=prog, description=DESCRIPTION)
    parser.add_argument(
        "segmentation",
        type=arguments.path,
        metavar="SEG",
        help="labels: .npy, .npz:key, TIFF, .h5:/dataset",
    )
    parser.add_argument(
        "truth",
        type=arguments.path,
        metavar="GT",
        help="true labels of the same shape; voxels where they are 0 are not scored",
    )
    parser.add_argument(
        "--voxel_size",
        nargs=3,
        type=arguments.length,
        metavar=("Z", "Y", "X"),
        help="in nm, recorded in the JSON file",
    )
    parser.add_argument(
        "--json",
        type=arguments.path,
        metavar="FILE",
        help="where to write the scores (default: beside SEG)",
    )
    return parser
