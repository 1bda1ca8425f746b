"""Turn a small volume-EM cutout of C. elegans into a draft wiring diagram."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from connectome.cli import arguments
from connectome.core.params import (
    DEFAULT_CUTOUT,
    DEFAULT_DATASET,
    DEFAULT_SEED,
    DEFAULT_SIGMA_PX,
    PRESETS,
    PUBLIC_BOSS_HOST,
    PUBLIC_BOSS_TOKEN,
    AlignParams,
    GraphParams,
    RunConfig,
    Source,
)

EXAMPLES = """\
examples:
  run_pipeline.py --preset safe8gb --dataset phantom://neuropil     the embedded sample, no network
  run_pipeline.py --preset safe8gb                                  a real worm, from BossDB
  run_pipeline.py --dataset my_stack.tif --voxel_size 50 4 4        a file of your own
  run_pipeline.py --dataset a.npz:raw --ground_truth a.npz:labels   scored against truth

flags may be written with _ or with -; results land in outputs/, and README.md explains them
"""
AXES = ("X", "Y", "Z")


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and do the main job."""
    args = _parser().parse_args(argv)
    config = _config(args)
    # Sections are worked on side by side; threads inside each would only compete with them.
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")

    # What is loaded stays for good: looking for garbage among it takes a twentieth of a short run.
    gc.disable()
    from connectome.cli.reporter import Reporter
    from connectome.workflows import pipeline

    gc.freeze()
    gc.enable()
    reporter = Reporter(quiet=args.quiet)
    if args.dry_run:
        print(pipeline.describe_plan(*pipeline.plan_run(config, reporter)))
    else:
        pipeline.run(config, reporter, ["run_pipeline.py", *(argv or [])])


def _parser() -> arguments.Parser:
    parser = arguments.Parser(
        prog="run_pipeline.py", description=__doc__, epilog=EXAMPLES, add_help=True
    )
    source = parser.add_argument_group("what to take")
    source.add_argument(
        "--dataset",
        metavar="URI",
        help="bossdb://collection/experiment/channel[/mip], phantom://neuropil[?seed=N], or a path:"
        f" .npy .npz TIFF folder file.h5:/dataset (default: {DEFAULT_DATASET}; when BossDB cannot"
        " be reached, the phantom)",
    )
    source.add_argument(
        "--preset",
        choices=PRESETS,
        default="none",
        help="a size: safe8gb 192 192 48, medium 256 256 48",
    )
    source.add_argument(
        "--cutout",
        nargs=3,
        type=arguments.count,
        metavar=AXES,
        help=f"size in voxels; a preset wins (default: {' '.join(map(str, DEFAULT_CUTOUT))};"
        " a local file is taken whole)",
    )
    source.add_argument(
        "--origin",
        nargs=3,
        type=arguments.index,
        metavar=AXES,
        help="exact corner in voxels (default: near the centre, varied by --seed)",
    )
    source.add_argument(
        "--resolution",
        type=arguments.index,
        metavar="MIP",
        help="BossDB mip (default: nearest 8 nm in plane)",
    )
    source.add_argument(
        "--voxel_size",
        nargs=3,
        type=arguments.length,
        metavar=("Z", "Y", "X"),
        help="in nm, for files that carry none",
    )
    source.add_argument(
        "--seed",
        type=arguments.seed,
        default=DEFAULT_SEED,
        help="of every random choice (default: %(default)s)",
    )
    source.add_argument(
        "--boss_host", default=PUBLIC_BOSS_HOST, metavar="URL", help="default: %(default)s"
    )
    source.add_argument(
        "--boss_token", default=PUBLIC_BOSS_TOKEN, metavar="TOKEN", help="default: %(default)s"
    )

    work = parser.add_argument_group("what to do")
    work.add_argument(
        "--simulate_misalignment",
        nargs="?",
        type=arguments.length,
        const=DEFAULT_SIGMA_PX,
        default=0.0,
        metavar="SIGMA_PX",
        help="displace sections at random first, to see them brought back (sigma without a number:"
        f" {DEFAULT_SIGMA_PX:g} px)",
    )
    work.add_argument(
        "--no-sim-misalignment",
        dest="simulate_misalignment",
        action="store_const",
        const=0.0,
        help="do not (this is the default)",
    )
    work.add_argument("--no-align", action="store_true", help="the stack is aligned already")
    work.add_argument(
        "--align-model",
        choices=("translation", "rigid", "affine", "auto"),
        default=AlignParams.model,
        help="what each section may be taken through: a shift, a rotation too, or any linear map;"
        " auto takes more only if patches of neighbouring sections then lie clearly closer"
        " (default: %(default)s)",
    )
    work.add_argument(
        "--straighten",
        action="store_true",
        help="take out the slow trend of the sections, too: of a microscope that drifted, over"
        " tissue that does not lean",
    )
    work.add_argument(
        "--segmentation",
        choices=("agglomerate", "watershed"),
        default="agglomerate",
        help="how to find neurites; watershed is the published baseline, without evidence or"
        " agglomeration (default: %(default)s)",
    )
    work.add_argument(
        "--ground_truth",
        type=arguments.path,
        metavar="PATH",
        help="labels of the source or the cutout, to score against",
    )
    arguments.add_undirected(work)
    arguments.add_threads(work)
    work.add_argument("--dry_run", action="store_true", help="print the plan; fetch no voxels")

    out = parser.add_argument_group("what to leave")
    arguments.add_outdir(out)
    out.add_argument(
        "--save_minimal",
        action="store_true",
        help="only the aligned stack and the labels as arrays",
    )
    out.add_argument(
        "--aligned_dtype",
        choices=("float16", "float32"),
        default="float32",
        help="default: %(default)s",
    )
    out.add_argument("--quiet", action="store_true", help="print only warnings and errors")
    return parser


def _config(args) -> RunConfig:
    """Translate the command line into a request."""
    size = PRESETS[args.preset] or (tuple(args.cutout) if args.cutout else None)
    source = Source(
        uri=args.dataset or DEFAULT_DATASET,
        cutout_xyz=size,
        origin_xyz=tuple(args.origin) if args.origin else None,
        resolution=args.resolution,
        voxel_size=tuple(args.voxel_size) if args.voxel_size else None,
        seed=args.seed,
        boss_host=args.boss_host,
        boss_token=args.boss_token,
    )
    return RunConfig(
        source=source,
        outdir=args.outdir,
        fall_back_to_phantom=args.dataset is None,
        simulate_sigma_px=args.simulate_misalignment,
        align=not args.no_align,
        segmentation=args.segmentation,
        ground_truth=args.ground_truth,
        save_minimal=args.save_minimal,
        aligned_dtype=args.aligned_dtype,
        threads=args.threads,
        align_params=AlignParams(model=args.align_model, straighten=args.straighten),
        graph_params=GraphParams(directed=args.directed),
    )


if __name__ == "__main__":
    arguments.run(main, sys.argv[1:])
