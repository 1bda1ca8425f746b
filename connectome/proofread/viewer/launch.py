"""Open the proofreading window, run it until it is closed, and handle Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import napari
from napari.qt import get_qapp
from qtpy.QtCore import QTimer

from connectome.proofread.session import find_unsaved_edits, open_session
from connectome.proofread.session.status_text import count_edits
from connectome.proofread.viewer.dialogs import CANCEL, RESTORE, ask_to_restore
from connectome.proofread.viewer.window import Window
from connectome.triage.queue import N_SECTIONS, build_queue

SIGNAL_CHECK_MS = 200  # interval at which Ctrl-C is noticed


def proofread(
    outdir: Path,
    labels: str = "auto",
    *,
    sections: Sequence[int] | None = None,
    n_sections: int = N_SECTIONS,
    user: str | None = None,
    recover: bool | None = None,
    command: Sequence[str] = (),
) -> int | None:
    """Open a run for proofreading, and return when the window is closed.

    Parameters
    ----------
    outdir : Path
        Output folder of the run.
    labels, user, command
        As `connectome.proofread.session.open_session` takes them.
    sections, n_sections
        As `connectome.triage.queue.build_queue` takes them.
    recover : bool, optional
        Restore the unsaved edits of an earlier session, or discard them; None asks.

    Returns
    -------
    int or None
        Unsaved edits; None if no window was opened.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C or SIGTERM, once the window is closed; its message tells where the edits are.
    """
    unsaved = find_unsaved_edits(outdir)
    if unsaved and recover is None:
        get_qapp()  # the question needs it before there is a window
        answer = ask_to_restore(unsaved)
        if answer == CANCEL:
            return None
        recover = answer == RESTORE
    with open_session(outdir, labels, user=user, recover=bool(recover), command=command) as session:
        queue = build_queue(session.folder, session.editor.synapses, sections, n_sections)
        with _defer_interrupts() as received:
            window = Window(session, queue)
            _run_until_closed(received)
            if received:
                window.close()  # logs a stroke that is being painted
        del window  # kept until here, as Qt does not keep its objects alive
        if received:
            raise KeyboardInterrupt(_interrupt_message(session.n_unsaved))
        return session.n_unsaved


@contextmanager
def _defer_interrupts() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM; raised in a callback of Qt, they would not end the program."""
    received: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _frame: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _run_until_closed(received: list[int]) -> None:
    """Run Qt until the window is closed or a signal is received."""
    timer = QTimer()
    # Without it, Python would not notice a signal until the mouse moves.
    timer.timeout.connect(lambda: received and get_qapp().exit(0))
    timer.start(SIGNAL_CHECK_MS)
    if not received:
        napari.run()
    timer.stop()


def _interrupt_message(n_unsaved: int) -> str:
    if not n_unsaved:
        return "all edits are saved"
    verb, pronoun = ("is", "it") if n_unsaved == 1 else ("are", "them")
    return (
        f"{count_edits(n_unsaved)} {verb} in the run log; the next start offers to restore"
        f" {pronoun}"
    )
