"""What a person sees while a run goes on: lines, and bars where there is a terminal."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from connectome.core.progress import Progress
from connectome.runlog.log import Stage


class Console:
    """Prints what happens, unless told to be quiet.

    Parameters
    ----------
    quiet : bool
        Print warnings and errors only.
    """

    def __init__(self, quiet: bool = False):
        self.quiet = quiet

    def say(self, text: str = "") -> None:
        """Print a line for the user."""
        if not self.quiet:
            print(text, flush=True)

    def warn(self, text: str) -> None:
        """Print something the user should know, on the error stream, even when quiet."""
        lines = textwrap.wrap(text, 96, subsequent_indent="      ")
        print("note: " + "\n".join(lines), file=sys.stderr, flush=True)

    def tell_timings(self, stages: Sequence[Stage]) -> None:
        """Say how long the stages of a run took, and its peak memory."""
        parts = ", ".join(f"{stage.name} {stage.seconds:.1f}" for stage in stages)
        total = sum(stage.seconds for stage in stages)
        peak = max((stage.peak_memory_mb or 0 for stage in stages), default=0)
        self.say(f"\n{total:.1f} s ({parts}); peak memory {peak:.0f} MB")

    @contextmanager
    def bar(self, name: str, total: int, unit: str = "sections") -> Iterator[Progress]:
        """Show a progress bar with an ETA; none when the output is not a terminal.

        Parameters
        ----------
        name : str
            What is being done.
        total : int
            Steps in all.
        unit : str
            What a step is.

        Yields
        ------
        callable
            To be told of finished steps.
        """
        from tqdm import tqdm

        hidden = True if self.quiet else None  # None: hidden unless a terminal shows it
        with tqdm(
            total=total, desc=f"{name:<11}", disable=hidden, leave=False, unit=f" {unit}"
        ) as bar:
            yield bar.update
