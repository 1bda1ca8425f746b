"""Command-line conventions: spellings of flags, suggestions, error messages and exit statuses."""

from __future__ import annotations

import argparse
import difflib
import errno
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

from connectome import __version__
from connectome.cli.programs import name_programs
from connectome.core.errors import ConnectomeError, UsageError
from connectome.core.params import DEFAULT_SEED

INTERRUPTED = 130  # the exit status that shells report for Ctrl-C
LARGEST_SEED = 2**32 - 1  # the largest that scikit-learn accepts

Value = TypeVar("Value")


class Parser(argparse.ArgumentParser):
    """An argument parser that accepts ``--save_minimal`` and ``--save-minimal`` alike.

    An unknown flag is an error that suggests the nearest one; flags are never completed from a
    prefix. ``--debug`` and ``--version`` always exist. ``%(prog)s`` may be used in the description
    and the epilog; other commands named there follow the form of ``prog``.
    """

    def __init__(self, **kwargs: Any):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(add_help=False, allow_abbrev=False, **kwargs)
        common = self.add_argument_group("help")
        common.add_argument("-h", "--help", action="help", help="show this help")
        common.add_argument("--debug", action="store_true", help="show the traceback of an error")
        common.add_argument(
            "--version",
            action="version",
            version=f"connectome {__version__}",
            help="show the version",
        )

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Bring every flag to its declared spelling, then parse."""
        args = sys.argv[1:] if args is None else list(args)
        end = args.index("--") if "--" in args else len(args)  # only values follow
        args[:end] = map(self._declared_spelling, args[:end])
        return super().parse_known_args(args, namespace)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Parse; suggest the nearest flag for one that is unknown."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            hint = suggest(unknown[0].split("=")[0], self._option_string_actions)
            self.error(f"unknown argument {unknown[0]}{hint}")
        return parsed

    def error(self, message: str) -> NoReturn:
        """Report a usage error in one line and exit with status 2."""
        print(f"{self.prog}: error: {message}\ntry: {self.prog} --help", file=sys.stderr)
        raise SystemExit(UsageError.exit_status)

    def format_help(self) -> str:
        """Return the help text, naming other commands in the form of ``prog``."""
        return name_programs(super().format_help(), self.prog)

    def _declared_spelling(self, arg: str) -> str:
        if not arg.startswith("--"):
            return arg
        flag, *value = arg.split("=", 1)
        for spelling in (flag, flag.replace("-", "_"), flag.replace("_", "-")):
            spelling = "--" + spelling[2:] if spelling.startswith("__") else spelling
            if spelling in self._option_string_actions:
                return "=".join([spelling, *value])
        return arg


def suggest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean …?" with the known name nearest to one; empty if none is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


# Flags that several commands share. Each takes a parser or one of its groups. ---------------------


def add_outdir(parser: argparse._ActionsContainer, help_text: str = "output folder") -> None:
    """Add ``--outdir``."""
    parser.add_argument(
        "--outdir",
        type=path,
        default="outputs",
        metavar="DIR",
        help=f"{help_text} (default: %(default)s)",
    )


def add_ground_truth(parser: argparse._ActionsContainer, note: str = "") -> None:
    """Add ``--ground_truth``."""
    parser.add_argument(
        "--ground_truth",
        type=path,
        metavar="PATH",
        help=f"true labels of the source or of the cutout, to score against{note}",
    )


def add_seed(parser: argparse._ActionsContainer, default: int = DEFAULT_SEED) -> None:
    """Add ``--seed``."""
    parser.add_argument(
        "--seed",
        type=seed,
        default=default,
        help="seed of every random choice (default: %(default)s)",
    )


def add_threads(parser: argparse._ActionsContainer) -> None:
    """Add ``--threads``."""
    parser.add_argument(
        "--threads",
        type=count,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="CPU cores to use (default: %(default)s)",
    )


def add_undirected(parser: argparse._ActionsContainer, default: bool | None = True) -> None:
    """Add ``--undirected``."""
    parser.add_argument(
        "--undirected",
        dest="directed",
        action="store_false",
        default=default,
        help="sum synapses into undirected connections: the direction of a synapse is a heuristic",
    )


def add_quiet(parser: argparse._ActionsContainer) -> None:
    """Add ``--quiet``."""
    parser.add_argument("--quiet", action="store_true", help="print only warnings and errors")


# Types of values, for ``type=`` of a flag. --------------------------------------------------------


def index(text: str) -> int:
    """Parse a whole number from 0."""
    return _parse(int, text, lambda value: value >= 0, "a whole number from 0")


def count(text: str) -> int:
    """Parse a whole number from 1."""
    return _parse(int, text, lambda value: value >= 1, "a whole number from 1")


def seed(text: str) -> int:
    """Parse a seed that every random generator in use accepts."""
    expected = f"a whole number from 0 to {LARGEST_SEED}"
    return _parse(int, text, lambda value: 0 <= value <= LARGEST_SEED, expected)


def length(text: str) -> float:
    """Parse a positive, finite number."""
    return _parse(float, text, lambda value: 0 < value < math.inf, "a positive number")


def path(text: str) -> str:
    """Parse the path of a file or folder; an empty one is refused, and ``~`` is the home folder.

    Shells leave ``~`` as it is after ``--outdir=``.
    """
    nonempty = _parse(str, text, lambda value: bool(value.strip()), "the path of a file or folder")
    return os.path.expanduser(nonempty)  # noqa: PTH111 - pathlib takes 10 ms to import


def _parse(
    kind: Callable[[str], Value], text: str, accepts: Callable[[Value], bool], expected: str
) -> Value:
    """Convert a value, or report what was expected."""
    try:
        value = kind(text)
    except ValueError:
        pass
    else:
        if accepts(value):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")


# Running a command --------------------------------------------------------------------------------


def run(
    main: Callable[..., int | None], argv: Sequence[str] | None = None, prog: str | None = None
) -> NoReturn:
    """Call ``main`` and end the process with an exit status, reporting exceptions in plain words.

    Parameters
    ----------
    main : callable
        Takes the list of arguments, and ``prog`` by keyword if it is given here. Returns an exit
        status, or None for success. It may raise KeyboardInterrupt with a message that says what
        an interruption leaves behind.
    argv : sequence of str, optional
        Arguments; None takes those of the process.
    prog : str, optional
        The command as the user typed it, such as ``run_pipeline.py``.

    Raises
    ------
    SystemExit
        Always: 0 success, 1 failure, 2 usage error, 130 interrupted.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    # SIGTERM ends a run as Ctrl-C does: logged as interrupted, earlier results intact.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status = (main(argv) if prog is None else main(argv, prog=prog)) or 0
        sys.stdout.flush()
    except KeyboardInterrupt as interruption:
        print(
            f"\ninterrupted; {str(interruption) or 'earlier results are unchanged'}",
            file=sys.stderr,
        )
        status = INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (head, less) has closed it, which is not a failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except Exception as error:
        if "--debug" in argv:
            traceback.print_exception(error)
        text, status = _describe(error)
        print(name_programs(text, prog or ""), file=sys.stderr)
    raise SystemExit(status)


def _describe(error: Exception) -> tuple[str, int]:
    """Return the message and the exit status for an exception."""
    if isinstance(error, ConnectomeError):
        first, *rest = str(error).splitlines()
        return "\n  ".join([f"error: {first}", *rest]), error.exit_status
    if isinstance(error, MemoryError):
        problem, remedy = "out of memory", "a smaller cutout: --preset safe8gb"
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        problem, remedy = "the disk is full", "free some space, or another --outdir"
    elif isinstance(error, OSError) and error.filename:
        problem = f"{error.filename}: {error.strerror}"
        remedy = "check the path and its permissions"
    else:
        problem = f"unexpected {type(error).__name__}: {error}"
        remedy = "run again with --debug and report the traceback"
    return f"error: {problem}\n  try: {remedy}", ConnectomeError.exit_status
