"""Draw figures in background processes while the run goes on."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any

from connectome.core.errors import DataError
from connectome.figures import FIGURES, FigureSpec
from connectome.io.run_folder import RunFolder

WORKERS = 2
# A forked process starts at once. On macOS forking is unsafe, and a new interpreter is started.
CONTEXT = get_context("fork" if sys.platform == "linux" else "spawn")


class FigureWorkers:
    """Draws each figure as soon as the data that it needs is available.

    Parameters
    ----------
    folder : Path
        Output folder.
    parallel : bool
        Draw in background processes, which import matplotlib while they wait; otherwise draw at
        once. Processes are started here, and the caller must not run threads at that time.
    figures : iterable of FigureSpec
        Figures to draw.
    """

    def __init__(
        self, folder: Path, parallel: bool, figures: Iterable[FigureSpec] = FIGURES.values()
    ):
        self._folder = folder
        self._waiting = list(figures)
        self._data: dict[str, Any] = {}
        self._submitted: list[tuple[Future, FigureSpec]] = []
        self._pool = None
        if parallel:
            self._pool = ProcessPoolExecutor(
                WORKERS, CONTEXT, initializer=_prepare_worker, initargs=(os.getpid(),)
            )
            for _ in range(WORKERS):
                self._pool.submit(_import_functions, self.waiting)

    def __enter__(self) -> FigureWorkers:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool:
            # Running workers write into a folder that may be about to be removed.
            self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def waiting(self) -> tuple[FigureSpec, ...]:
        """Figures whose data is not complete yet."""
        return tuple(self._waiting)

    def provide(self, **data: Any) -> None:
        """Add data by the names that figures need, and draw those that are now complete.

        Parameters
        ----------
        **data
            As described in `connectome.figures.FigureSpec`. Must not change afterwards.
        """
        self._data |= data
        for figure in self.waiting:
            if self._data.keys() >= set(figure.needs):
                self._waiting.remove(figure)
                self._draw(figure)

    def draw_from_files(self, run: RunFolder) -> tuple[FigureSpec, ...]:
        """Draw the figures that still wait for data, with what is missing read from a run's files.

        Parameters
        ----------
        run : RunFolder
            The run, as far as it is saved.

        Returns
        -------
        tuple of FigureSpec
            Figures that cannot be drawn, because the run did not save what they need.
        """
        for figure in self.waiting:
            missing = set(figure.needs) - self._data.keys()
            with suppress(DataError):  # not saved
                self.provide(**{name: getattr(run, name) for name in missing})
        return self.waiting

    def finish(self) -> None:
        """Wait until all submitted figures are written; a figure that failed raises here."""
        for future, figure in self._submitted:
            try:
                future.result()
            except BrokenProcessPool:
                # A caller without a `__main__` guard cannot start processes on every platform.
                figure.write(self._folder, self._data)
        self._submitted.clear()

    def _draw(self, figure: FigureSpec) -> None:
        if self._pool:
            needed = {name: self._data[name] for name in figure.needs}
            self._submitted.append((self._pool.submit(figure.write, self._folder, needed), figure))
        else:
            figure.write(self._folder, self._data)


def _prepare_worker(parent: int) -> None:
    """Make a worker end with its parent, and ignore Ctrl-C, which the parent handles."""
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.disable()  # a process that draws a few figures has no garbage worth collecting


def _exit_with_parent(parent: int) -> None:
    """End this process when its parent is gone: a killed parent cannot stop its workers."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _import_functions(figures: Iterable[FigureSpec]) -> None:
    """Import what draws the figures, while there is nothing to draw yet."""
    for figure in figures:
        figure.import_function()
