"""Draw figures beside the work that goes on: matplotlib keeps one core busy, laptops have more."""

from __future__ import annotations

import signal
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType

from connectome import layout

WORKERS = 2


class FigurePress:
    """Draws the numbered figures, each as soon as what it shows is known.

    Parameters
    ----------
    folder : Path
        Output folder.
    beside : bool
        Draw in processes of their own while the caller goes on; otherwise at once.
    """

    def __init__(self, folder: Path, beside: bool):
        self._folder = folder
        self._pending: list[tuple[Future, int, tuple]] = []
        self._pool = None
        if beside:
            # A fresh interpreter: forking one that has run threads may hang.
            self._pool = ProcessPoolExecutor(WORKERS, get_context("spawn"), initializer=_make_ready)
            for _ in range(WORKERS):
                self._pool.submit(_load)

    def __enter__(self) -> FigurePress:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool:
            self._pool.shutdown(wait=error is None, cancel_futures=True)

    def draw(self, number: int, *contents) -> None:
        """Draw a figure from what ``connectome.figures.figure<number>`` takes."""
        stem = self._folder / layout.FIGURES[number]
        if self._pool:
            job = self._pool.submit(_draw, number, contents, stem)
            self._pending.append((job, number, contents))
        else:
            _draw(number, contents, stem)

    def finish(self) -> None:
        """Wait until every figure is on paper; a figure that failed raises here."""
        for job, number, contents in self._pending:
            try:
                job.result()
            except BrokenProcessPool:
                # A caller without a `__main__` guard cannot start processes, but can draw.
                _draw(number, contents, self._folder / layout.FIGURES[number])
        self._pending.clear()


def _make_ready() -> None:
    """Leave Ctrl-C to the process that is the user's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _load() -> None:
    """Import what drawing needs while there is nothing to draw yet."""
    import connectome.figures  # noqa: F401


def _draw(number: int, contents: tuple, stem: Path) -> None:
    from connectome import figures  # matplotlib takes long to load

    figure = getattr(figures, f"figure{number}")(*contents)
    figures.write_figure(figure, stem)
