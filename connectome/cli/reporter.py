"""What a user sees of a run, and what its log records: messages, progress bars and stages."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from connectome.cli.programs import name_programs
from connectome.core.progress import Progress, ignore_progress
from connectome.runlog import Run


@dataclass(frozen=True)
class StageReport:
    """What a stage reports while it runs.

    Parameters
    ----------
    counts : dict
        Numbers or text by name, recorded in the run log when the stage ends.
    progress : callable
        Called with the number of steps just finished.
    """

    counts: dict[str, Any] = field(default_factory=dict)
    progress: Progress = ignore_progress


@dataclass(frozen=True, kw_only=True)
class Reporter:
    """Prints messages, shows progress and records stages in the run log.

    Parameters
    ----------
    quiet : bool
        Print warnings only.
    prog : str
        Command as the user typed it; messages that name other commands follow its form.
    run : Run, optional
        Log entry in which stages and metrics are recorded; None records nothing.
    """

    quiet: bool = False
    prog: str = ""
    run: Run | None = None

    def for_run(self, run: Run) -> Reporter:
        """Return a reporter that also records in the log entry of a run."""
        return replace(self, run=run)

    def message(self, text: str = "") -> None:
        """Print a line on standard output, unless quiet."""
        if not self.quiet:
            print(name_programs(text, self.prog), flush=True)

    def warn(self, text: str) -> None:
        """Print a warning on standard error, even when quiet."""
        lines = textwrap.wrap(name_programs(text, self.prog), 96, subsequent_indent="      ")
        print("note: " + "\n".join(lines), file=sys.stderr, flush=True)

    @contextmanager
    def stage(
        self, name: str, total: int | None = None, unit: str = "sections"
    ) -> Iterator[StageReport]:
        """Time a stage, record it in the run log, and show its progress.

        The stage is recorded even if it fails.

        Parameters
        ----------
        name : str
            Name in the log and beside the progress bar.
        total : int, optional
            Number of steps; None shows no progress bar.
        unit : str
            What a step is.

        Yields
        ------
        StageReport
            Takes counts for the log, and the steps that are finished.
        """
        log: AbstractContextManager[dict[str, Any]] = nullcontext({})
        bar: AbstractContextManager[Progress] = nullcontext(ignore_progress)
        if self.run is not None:
            log = self.run.stage(name)
        if total is not None:
            bar = self.progress_bar(name, total, unit)
        with log as counts, bar as progress:
            yield StageReport(counts, progress)

    @contextmanager
    def progress_bar(self, name: str, total: int, unit: str = "sections") -> Iterator[Progress]:
        """Show a progress bar with the time left; none if the output is not a terminal.

        Parameters
        ----------
        name : str
            What is being done.
        total : int
            Number of steps.
        unit : str
            What a step is.

        Yields
        ------
        callable
            Called with the number of steps just finished.
        """
        from tqdm import tqdm

        disable = True if self.quiet else None  # None disables it where there is no terminal
        with tqdm(
            total=total, desc=f"{name:<11}", disable=disable, leave=False, unit=f" {unit}"
        ) as bar:
            yield bar.update

    def metric(self, name: str, value: float) -> None:
        """Record a measured value, such as ``segmentation/are``, in the run log."""
        if self.run is not None:
            self.run.log_metric(name, value)

    def report_timings(self) -> None:
        """Print how long each recorded stage took, and the peak memory."""
        stages = self.run.stages if self.run is not None else []
        parts = ", ".join(f"{stage.name} {stage.seconds:.1f}" for stage in stages)
        total = sum(stage.seconds for stage in stages)
        peak = max((stage.peak_memory_mb or 0 for stage in stages), default=0)
        self.message(f"\n{total:.1f} s ({parts}); peak memory {peak:.0f} MB")
