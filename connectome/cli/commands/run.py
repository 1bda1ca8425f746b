"""Turn a small volume-EM cutout of C. elegans into a draft connectivity graph."""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Sequence

from connectome.cli import arguments
from connectome.core.params import (
    DEFAULT_CUTOUT,
    DEFAULT_DATASET,
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
  a synthetic volume with known truth; needs no network
    %(prog)s --preset safe8gb --dataset phantom://neuropil
  a real worm, from BossDB
    %(prog)s --preset safe8gb
  a file of your own
    %(prog)s --dataset my_stack.tif --voxel_size 50 4 4
  scored against ground truth
    %(prog)s --dataset a.npz:raw --ground_truth a.npz:labels

flags may be written with _ or with -; results are written to outputs/
"""
AXES = ("X", "Y", "Z")


def main(argv: Sequence[str] | None = None, prog: str = "connectome run") -> None:
    """Parse the command line and run the pipeline."""
    args = build_parser(prog).parse_args(argv)
    config = make_config(args)
    # Sections are processed in parallel; threads of the numerical libraries would compete.
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")

    # Imported modules are never freed. Scanning them for garbage takes 5% of a short run.
    gc.disable()
    from connectome.cli.reporter import Reporter
    from connectome.workflows import pipeline, planning

    gc.freeze()
    gc.enable()
    reporter = Reporter(quiet=args.quiet, prog=prog)
    if args.dry_run:
        print(planning.describe_plan(*planning.plan_run(config, reporter)))
    else:
        pipeline.run(config, reporter, [*prog.split(), *(argv or [])])


def build_parser(prog: str = "connectome run") -> arguments.Parser:
    """Return the parser of the command line."""
    parser = arguments.Parser(prog=prog, description=__doc__, epilog=EXAMPLES)
    _add_source_flags(parser.add_argument_group("source"))
    _add_processing_flags(parser.add_argument_group("processing"))
    _add_output_flags(parser.add_argument_group("output"))
    return parser


def _add_source_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--dataset",
        metavar="URI",
        help="bossdb://collection/experiment/channel[/mip], phantom://neuropil[?seed=N], or a path:"
        f" .npy .npz TIFF folder file.h5:/dataset (default: {DEFAULT_DATASET}; if BossDB cannot"
        " be reached, the phantom)",
    )
    group.add_argument(
        "--preset",
        choices=PRESETS,
        default="none",
        help="size of the cutout: safe8gb 192 192 48, medium 256 256 48",
    )
    group.add_argument(
        "--cutout",
        nargs=3,
        type=arguments.count,
        metavar=AXES,
        help="size in voxels; --preset takes precedence (default:"
        f" {' '.join(map(str, DEFAULT_CUTOUT))}; the whole of a local file)",
    )
    group.add_argument(
        "--origin",
        nargs=3,
        type=arguments.index,
        metavar=AXES,
        help="exact corner in voxels (default: near the centre, varied by --seed)",
    )
    group.add_argument(
        "--resolution",
        type=arguments.index,
        metavar="MIP",
        help="BossDB mip level (default: the one nearest 8 nm in plane)",
    )
    group.add_argument(
        "--voxel_size",
        nargs=3,
        type=arguments.length,
        metavar=("Z", "Y", "X"),
        help="voxel size in nm, for files that have none",
    )
    arguments.add_seed(group)
    group.add_argument(
        "--boss_host", default=PUBLIC_BOSS_HOST, metavar="URL", help="default: %(default)s"
    )
    group.add_argument(
        "--boss_token", default=PUBLIC_BOSS_TOKEN, metavar="TOKEN", help="default: %(default)s"
    )


def _add_processing_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--simulate_misalignment",
        nargs="?",
        type=arguments.length,
        const=DEFAULT_SIGMA_PX,
        default=0.0,
        metavar="SIGMA_PX",
        help="displace sections at random before alignment, to measure how well it recovers"
        f" (standard deviation if no number is given: {DEFAULT_SIGMA_PX:g} px)",
    )
    group.add_argument(
        "--no-sim-misalignment",
        dest="simulate_misalignment",
        action="store_const",
        const=0.0,
        help="do not displace sections (default)",
    )
    group.add_argument(
        "--no-align", action="store_true", help="skip alignment: the stack is already aligned"
    )
    group.add_argument(
        "--align-model",
        choices=("translation", "rigid", "affine", "auto"),
        default=AlignParams.model,
        help="transform of each section: a shift, also a rotation, or any affine transform; auto"
        " uses the simplest model unless a richer one clearly improves the match of neighbouring"
        " sections (default: %(default)s)",
    )
    group.add_argument(
        "--straighten",
        action="store_true",
        help="also remove slow drift across sections, for stacks in which it comes from the"
        " microscope and not from oblique tissue",
    )
    group.add_argument(
        "--segmentation",
        choices=("agglomerate", "watershed"),
        default="agglomerate",
        help="how to segment neurites; watershed is the published baseline, without membrane"
        " prediction or agglomeration (default: %(default)s)",
    )
    arguments.add_ground_truth(group)
    arguments.add_undirected(group)
    arguments.add_threads(group)
    group.add_argument(
        "--dry_run", action="store_true", help="print the plan without fetching any voxels"
    )


def _add_output_flags(group: argparse._ArgumentGroup) -> None:
    arguments.add_outdir(group)
    group.add_argument(
        "--save_minimal",
        action="store_true",
        help="of the arrays, save only the aligned stack and the labels",
    )
    group.add_argument(
        "--aligned_dtype",
        choices=("float16", "float32"),
        default=RunConfig.aligned_dtype,
        help="type of the saved aligned stack; float16 for small machines (default: %(default)s)",
    )
    arguments.add_quiet(group)


def make_config(args: argparse.Namespace) -> RunConfig:
    """Return the configuration of a run from its parsed command line."""
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
