"""Draw figures beside the work that goes on: matplotlib keeps one core busy, laptops have more."""

from __future__ import annotations

import signal
import sys
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

from connectome import layout

# A forked process has everything loaded and the arrays at hand. On macOS forking is not safe.
CONTEXT = get_context("fork" if sys.platform == "linux" else "spawn")


class FigurePress:
    """Draws the numbered figures, each as soon as what it shows is known.

    Parameters
    ----------
    folder : Path
        Output folder.
    beside : bool
        Draw in processes of their own while the caller goes on; otherwise at once. Nothing else
        may run threads when a figure is begun.
    """

    def __init__(self, folder: Path, beside: bool):
        self._folder = folder
        self._beside = beside
        self._begun: list[tuple] = []

    def __enter__(self) -> FigurePress:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process, _, _ in self._begun:
            process.terminate()

    def draw(self, number: int, *contents) -> None:
        """Draw a figure from what ``connectome.figures.figure<number>`` takes."""
        task = (number, contents, self._folder / layout.FIGURES[number])
        if not self._beside:
            _draw(*task)
            return
        if CONTEXT.get_start_method() == "fork":
            import connectome.figures  # noqa: F401  once here, rather than in every process
        listener, speaker = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=_draw_and_tell, args=(speaker, *task), daemon=True)
        process.start()
        speaker.close()
        self._begun.append((process, listener, task))

    def finish(self) -> None:
        """Wait until every figure is on paper; a figure that failed raises here."""
        while self._begun:
            process, listener, task = self._begun[0]
            try:
                error = listener.recv()
            except EOFError:
                # It ended without a word: a caller without a `__main__` guard cannot start
                # processes everywhere, but can draw.
                error = _draw(*task)
            process.join()
            self._begun.pop(0)
            if error:
                raise error


def _draw_and_tell(speaker: Connection, *task) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that is the user's
    try:
        speaker.send(_draw(*task))
    except Exception as error:
        speaker.send(error)


def _draw(number: int, contents: tuple, stem: Path) -> None:
    from connectome import figures  # matplotlib takes long to load

    figure = getattr(figures, f"figure{number}")(*contents)
    figures.write_figure(figure, stem)
