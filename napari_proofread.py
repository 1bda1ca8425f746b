"""Open a draft in napari, correct what is most in doubt, and save it for the refiners."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from connectome.cli import arguments
from connectome.core.errors import UsageError

EXAMPLES = """\
examples:
  napari_proofread.py                          the draft in outputs/, the worst places first
  napari_proofread.py --slices 5 13 24         sections of your choice to proofread
  napari_proofread.py --labels rf              go on from what the random forest made
  napari_proofread.py --replay                 no window: make the saved labels again from the log

every edit is in the log of the run at once; the panel in the window shows the key of every action
"""
LABELS = ("auto", "baseline", "corrected", "rf", "unet")


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, then open the window or replay the log."""
    args = _parser().parse_args(argv)
    sections = _sections(args.slices)
    outdir = Path(args.outdir)
    if args.replay:
        _replay(outdir)
    else:
        _proofread(outdir, args, sections, ["napari_proofread.py", *(argv or [])])


def _parser() -> arguments.Parser:
    parser = arguments.Parser(
        prog="napari_proofread.py", description=__doc__, epilog=EXAMPLES, add_help=True
    )
    arguments.add_outdir(parser, "of a run")
    parser.add_argument(
        "--labels",
        default="auto",
        metavar="{" + ",".join((*LABELS, "PATH")) + "}",
        help="neurites to start from (default: auto, corrected ones if there are any, else those of"
        " the main job)",
    )
    parser.add_argument(
        "--slices",
        nargs="+",
        default=["auto"],
        metavar="auto|N",
        help="sections to proofread, counted from 0 (default: auto, the few that teach most)",
    )
    parser.add_argument(
        "--n_slices",
        type=arguments.count,
        default=4,
        metavar="N",
        help="how many auto chooses (default: %(default)s)",
    )
    parser.add_argument("--user", metavar="NAME", help="for the log (default: your login)")
    parser.add_argument(
        "--recover",
        action="store_true",
        default=None,
        help="bring back corrections that were not saved, without asking",
    )
    parser.add_argument(
        "--no-recover",
        dest="recover",
        action="store_false",
        help="leave them for good, without asking",
    )
    parser.add_argument(
        "--replay",
        action="store_true",
        help="open no window: repeat the logged corrections and compare with what was saved",
    )
    return parser


def _sections(words: Sequence[str]) -> list[int] | None:
    """Read which sections were chosen; None for auto."""
    if list(words) == ["auto"]:
        return None
    if not all(word.isdecimal() for word in words):
        raise UsageError(
            f"--slices {' '.join(words)} is neither auto nor section numbers",
            remedy="--slices auto, or for example --slices 5 13 24",
        )
    return [int(word) for word in words]


def _proofread(outdir: Path, args, sections: list[int] | None, command: list[str]) -> None:
    from connectome.io.draft import read_draft
    from connectome.proofread.viewer.display_check import require_window

    read_draft(outdir)  # what is missing is said before the slow part
    require_window()
    print("opening the window, which takes a few seconds", flush=True)
    from connectome.proofread.viewer.window import proofread

    chosen = {"labels": args.labels, "sections": sections, "n_sections": args.n_slices}
    n_unsaved = proofread(outdir, **chosen, user=args.user, recover=args.recover, command=command)
    if n_unsaved:
        print(f"not saved: {n_unsaved}, kept in the log; the next start offers them again")
    elif n_unsaved == 0:
        print(f"all is saved in {outdir}/; next: train_refine_rf.py --outdir {outdir}")


def _replay(outdir: Path) -> None:
    from connectome.proofread.session.replay import audit

    print(audit(outdir))


if __name__ == "__main__":
    arguments.run(main, sys.argv[1:])
