"""Correct the neurites and synapses of a run in napari."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from connectome.cli import arguments
from connectome.core.errors import UsageError

EXAMPLES = """\
examples:
  the draft in outputs/, the most uncertain places first
    %(prog)s
  sections of your choice
    %(prog)s --slices 5 13 24
  continue from the labels of the random forest
    %(prog)s --labels rf
  without a window: recreate the saved labels from the log of edits
    %(prog)s --replay

each edit is written to the run log at once; the panel in the window lists the keys
"""
LABELS = ("auto", "baseline", "corrected", "rf", "unet", "PATH")


def main(argv: Sequence[str] | None = None, prog: str = "connectome proofread") -> None:
    """Parse the command line, then open the window or replay the log."""
    args = build_parser(prog).parse_args(argv)
    sections = parse_sections(args.slices)
    outdir = Path(args.outdir)
    if args.replay:
        from connectome.proofread.session import check_replay

        print(check_replay(outdir))
    else:
        _open_window(outdir, args, sections, prog, [*prog.split(), *(argv or [])])


def build_parser(prog: str = "connectome proofread") -> arguments.Parser:
    """Return the parser of the command line."""
    parser = arguments.Parser(prog=prog, description=__doc__, epilog=EXAMPLES)
    arguments.add_outdir(parser, "output folder of a run")
    parser.add_argument(
        "--labels",
        default="auto",
        metavar="{" + ",".join(LABELS) + "}",
        help="labels to start from (default: auto, the corrected ones if they exist, otherwise"
        " those of the main job)",
    )
    parser.add_argument(
        "--slices",
        nargs="+",
        default=["auto"],
        metavar="auto|N",
        help="sections to proofread, counted from 0 (default: auto, the most informative ones)",
    )
    parser.add_argument(
        "--n_slices",
        type=arguments.count,
        default=4,
        metavar="N",
        help="how many sections auto chooses (default: %(default)s)",
    )
    parser.add_argument("--user", metavar="NAME", help="name for the log (default: your login)")
    parser.add_argument(
        "--recover",
        action="store_true",
        default=None,
        help="restore unsaved edits, without asking",
    )
    parser.add_argument(
        "--no-recover",
        dest="recover",
        action="store_false",
        help="discard unsaved edits, without asking",
    )
    parser.add_argument(
        "--replay",
        action="store_true",
        help="open no window: replay the logged edits and compare with the saved labels",
    )
    return parser


def parse_sections(words: Sequence[str]) -> list[int] | None:
    """Return the section numbers given to ``--slices``; None for auto."""
    if list(words) == ["auto"]:
        return None
    if not all(word.isdecimal() for word in words):
        raise UsageError(
            f"--slices {' '.join(words)} is neither auto nor section numbers",
            remedy="--slices auto, or for example --slices 5 13 24",
        )
    return [int(word) for word in words]


def _open_window(
    outdir: Path,
    args: argparse.Namespace,
    sections: list[int] | None,
    prog: str,
    command: list[str],
) -> None:
    from connectome.cli.programs import name_programs
    from connectome.io.run_folder import RunFolder
    from connectome.proofread.viewer.display_check import require_display

    # Both fail within a second; importing napari takes several.
    RunFolder(outdir).check_complete()
    require_display()
    print("opening the window, which takes a few seconds", flush=True)
    from connectome.proofread.viewer.launch import proofread

    n_unsaved = proofread(
        outdir,
        labels=args.labels,
        sections=sections,
        n_sections=args.n_slices,
        user=args.user,
        recover=args.recover,
        command=command,
    )
    if n_unsaved:
        print(
            f"unsaved edits: {n_unsaved}; they are in the run log, and the next start offers to"
            " restore them"
        )
    elif n_unsaved == 0:
        following = f"next: train_refine_rf.py --outdir {outdir}"
        print(f"all edits are saved in {outdir}/; {name_programs(following, prog)}")
