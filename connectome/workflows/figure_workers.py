"""Draw figures in background processes while the run goes on."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType

from connectome.io import paths

# Which module draws which figure.
DRAWN_BY = {
    **dict.fromkeys((1, 2, 4), "overview"),
    3: "network",
    **dict.fromkeys((5, 6), "neurites"),
    **dict.fromkeys((7, 8), "summary"),
}
WORKERS = 2
# A forked process starts at once. On macOS forking is not safe, and a fresh interpreter starts.
CONTEXT = get_context("fork" if sys.platform == "linux" else "spawn")


class FigureWorkers:
    """Draws the numbered figures, each as soon as what it shows is known.

    Parameters
    ----------
    folder : Path
        Output folder.
    parallel : bool
        Draw in processes of their own while the caller goes on; otherwise at once. They load
        matplotlib while there is nothing to draw yet. The caller must not run threads when it
        makes the press.
    """

    def __init__(self, folder: Path, parallel: bool):
        self._folder = folder
        self._begun: list[tuple[Future, tuple]] = []
        self._pool = None
        if parallel:
            ready = {"initializer": _prepare_worker, "initargs": (os.getpid(),)}
            self._pool = ProcessPoolExecutor(WORKERS, CONTEXT, **ready)
            for _ in range(WORKERS):
                self._pool.submit(_import_figures)

    def __enter__(self) -> FigureWorkers:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool:
            # Wait for what is being drawn: it writes into a folder that may be about to go.
            self._pool.shutdown(wait=True, cancel_futures=True)

    def draw(self, number: int, *contents) -> None:
        """Draw a figure from what ``figure<number>`` of its module takes."""
        task = (number, contents, self._folder / paths.FIGURES[number])
        if self._pool:
            self._begun.append((self._pool.submit(_draw, *task), task))
        else:
            _draw(*task)

    def finish(self) -> None:
        """Wait until every figure is on paper; a figure that failed raises here."""
        for drawn, task in self._begun:
            try:
                drawn.result()
            except BrokenProcessPool:
                # A caller without a `__main__` guard cannot start processes everywhere, but can
                # draw.
                _draw(*task)
        self._begun.clear()


def _prepare_worker(caller: int) -> None:
    threading.Thread(target=_exit_with_parent, args=(caller,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that is the user's
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.disable()  # a process that lives for two figures has no garbage worth looking for


def _exit_with_parent(caller: int) -> None:
    """End this process when its caller is gone: one that was killed can tell nobody to stop."""
    while os.getppid() == caller:
        time.sleep(1.0)
    os._exit(1)


def _import_figures() -> None:
    for module in DRAWN_BY.values():
        import_module(f"connectome.figures.{module}")


def _draw(number: int, contents: tuple, stem: Path) -> None:
    from connectome.figures.overview import write_figure

    draw = getattr(import_module(f"connectome.figures.{DRAWN_BY[number]}"), f"figure{number}")
    figure = draw(*contents)
    write_figure(figure, stem)
