"""The command line all scripts share: both spellings of a flag, near misses, errors, exit codes."""

from __future__ import annotations

import argparse
import difflib
import errno
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from connectome import __version__
from connectome.core.errors import ConnectomeError, UsageError

INTERRUPTED = 130  # what a shell reports for Ctrl-C
LARGEST_SEED = 2**32 - 1  # scikit-learn takes none beyond


class Parser(argparse.ArgumentParser):
    """An argument parser that takes ``--save_minimal`` and ``--save-minimal`` alike.

    Unknown flags are errors that suggest the nearest one; flags are never guessed from a
    prefix. ``--debug`` and ``--version`` are always there.
    """

    def __init__(self, **kwargs):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)
        common = self.add_argument_group("help")
        common.add_argument("--debug", action="store_true", help="show the traceback of an error")
        common.add_argument("--version", action="version", version=f"connectome {__version__}")

    def parse_known_args(self, args=None, namespace=None):
        """Bring every flag to the spelling it was declared with, then parse."""
        args = sys.argv[1:] if args is None else list(args)
        end = args.index("--") if "--" in args else len(args)  # what follows are no flags
        args[:end] = map(self._declared, args[:end])
        return super().parse_known_args(args, namespace)

    def parse_args(self, args=None, namespace=None):
        """Parse, naming the nearest flag for any that is unknown."""
        parsed, extras = self.parse_known_args(args, namespace)
        if extras:
            near = difflib.get_close_matches(extras[0].split("=")[0], self._option_string_actions)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unknown argument {extras[0]}{hint}")
        return parsed

    def error(self, message):
        """Report a usage error in one line and exit with status 2."""
        print(f"{self.prog}: error: {message}\ntry: {self.prog} --help", file=sys.stderr)
        raise SystemExit(UsageError.exit_status)

    def _declared(self, arg: str) -> str:
        if not arg.startswith("--"):
            return arg
        flag, *value = arg.split("=", 1)
        for spelling in (flag, flag.replace("-", "_"), flag.replace("_", "-")):
            spelling = "--" + spelling[2:] if spelling.startswith("__") else spelling
            if spelling in self._option_string_actions:
                return "=".join([spelling, *value])
        return arg


def add_threads(group: argparse._ActionsContainer) -> None:
    """Give a parser, or a group of its flags, ``--threads``."""
    group.add_argument(
        "--threads",
        type=count,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="cores to use (default: %(default)s)",
    )


def add_outdir(parser, meaning: str = "") -> None:
    """Add ``--outdir`` to a parser or one of its groups, and say what folder it is."""
    parser.add_argument(
        "--outdir",
        type=path,
        default="outputs",
        metavar="DIR",
        help=f"{meaning} (default: %(default)s)" if meaning else "default: %(default)s",
    )


def add_undirected(group: argparse._ActionsContainer, default: bool | None = True) -> None:
    """Give a parser, or a group of its flags, ``--undirected``."""
    group.add_argument(
        "--undirected",
        dest="directed",
        action="store_false",
        default=default,
        help="sum synapses into connections without direction, which is a heuristic",
    )


def index(text: str) -> int:
    """Read a whole number from 0, for ``type=`` of a flag."""
    return _checked(int, text, lambda value: value >= 0, "a whole number from 0")


def count(text: str) -> int:
    """Read a whole number from 1, for ``type=`` of a flag."""
    return _checked(int, text, lambda value: value >= 1, "a whole number from 1")


def seed(text: str) -> int:
    """Read a seed that everything takes, for ``type=`` of a flag."""
    wanted = f"a whole number from 0 to {LARGEST_SEED}"
    return _checked(int, text, lambda value: 0 <= value <= LARGEST_SEED, wanted)


def path(text: str) -> str:
    """Read the path of a file or folder, for ``type=`` of a flag: an empty one would pass for none.

    A shell leaves ~ alone after ``--outdir=``.
    """
    named = _checked(str, text, str.strip, "the path of a file or folder")
    return os.path.expanduser(named)  # noqa: PTH111 - before pathlib is loaded


def length(text: str) -> float:
    """Read a positive, finite number, for ``type=`` of a flag."""
    return _checked(float, text, lambda value: 0 < value < math.inf, "a positive number")


def _checked(kind, text, allowed, wanted):
    """Convert one word of the command line, or say what was wanted."""
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not allowed(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value


def run(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None):
    """Call ``main`` and turn what it raises into a clear message and an exit status.

    Parameters
    ----------
    main : callable
        Takes the argument list, returns an exit status or None for success. It may raise
        KeyboardInterrupt anew, with words that say what an interruption leaves.
    argv : sequence of str, optional
        Arguments; None takes those of the process.

    Raises
    ------
    SystemExit
        Always: 0 success, 1 failure, 2 usage, 130 Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    # A run that is told to end should end as one that is interrupted: logged, nothing half done.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status = main(argv) or 0
        sys.stdout.flush()
    except KeyboardInterrupt as interruption:
        stands = str(interruption) or "earlier results are as they were"
        print(f"\ninterrupted; {stands}", file=sys.stderr)
        status = INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) went away; that is no failure of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except Exception as error:
        status = _report(error, debug="--debug" in argv)
    raise SystemExit(status)


def _report(error: Exception, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    if isinstance(error, ConnectomeError):
        first, *rest = str(error).splitlines()
        print("\n  ".join([f"error: {first}", *rest]), file=sys.stderr)
        return error.exit_status
    if isinstance(error, MemoryError):
        first = "out of memory"
        hint = "take a smaller cutout: --preset safe8gb"
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        first, hint = "the disk is full", "free some space, or another --outdir"
    elif isinstance(error, OSError) and error.filename:
        first, hint = f"{error.filename}: {error.strerror}", "check the path and its permissions"
    else:
        first = f"unexpected {type(error).__name__}: {error}"
        hint = "run again with --debug and report the traceback"
    print(f"error: {first}\n  try: {hint}", file=sys.stderr)
    return ConnectomeError.exit_status
