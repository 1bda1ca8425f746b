"""Questions to the user: about unsaved edits at the start, and when the window closes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QMainWindow, QMessageBox, QWidget

from connectome.proofread.session import Session, UnsavedEdits
from connectome.proofread.session.status_text import count_edits

TITLE = "Proofreading"
SAVE, CLOSE_UNSAVED, CONTINUE = "Save", "Close without saving", "Continue proofreading"
RESTORE, DISCARD, CANCEL = "Restore them", "Discard them", "Cancel"

AskQuestion = Callable[[QWidget | None, str, str, Sequence[str]], str]


def ask_question(parent: QWidget | None, title: str, question: str, answers: Sequence[str]) -> str:
    """Ask a question; closing the box gives the last answer."""
    box = QMessageBox(QMessageBox.Icon.Question, title, question, parent=parent)
    buttons = [box.addButton(text, QMessageBox.ButtonRole.ActionRole) for text in answers]
    box.setDefaultButton(buttons[0])
    box.setEscapeButton(buttons[-1])
    box.exec()
    clicked = box.clickedButton()  # None if the program is told to end
    return answers[buttons.index(clicked)] if clicked in buttons else answers[-1]


def ask_to_restore(unsaved: UnsavedEdits, ask: AskQuestion = ask_question) -> str:
    """Ask what to do with unsaved edits; return `RESTORE`, `DISCARD` or `CANCEL`."""
    time = unsaved.time[:16].replace("T", " ")
    question = (
        f"The last session ended with {count_edits(unsaved.n_edits)} not saved"
        f" ({unsaved.user}, {time} UTC).\n"
        "If you discard them, this session starts from what was saved, and they are not offered"
        " again."
    )
    return ask(None, TITLE, question, (RESTORE, DISCARD, CANCEL))


class CloseGuard(QObject):
    """Asks about unsaved edits before a window closes, and keeps napari from asking as well.

    Parameters
    ----------
    window : QMainWindow
        The window.
    session : Session
        Its edits may be unsaved.
    finish : callable
        Called first: logs what is not logged yet.
    save : callable
        Saves the session; it stays unsaved if that fails.
    ask : callable
        As `ask_question`.

    Attributes
    ----------
    ask : callable
        May be replaced.
    closed : bool
        Whether the window has closed.
    """

    def __init__(
        self,
        window: QMainWindow,
        session: Session,
        *,
        finish: Callable[[], None],
        save: Callable[[], None],
        ask: AskQuestion,
    ):
        super().__init__()
        self.ask = ask
        self.closed = False
        self._window = window
        self._session = session
        self._finish = finish
        self._save = save
        window.installEventFilter(self)

    def eventFilter(self, window: QObject, event: QEvent) -> bool:
        """Handle the close events of the window; see `QObject.eventFilter`."""
        if event.type() != QEvent.Type.Close or self.closed:
            return False
        if event.spontaneous():
            # napari asks its own question when a user closes the window, but not when a program
            # does: close it again from here.
            QTimer.singleShot(0, self._window.close)
        elif self._may_close():
            self.closed = True
            return False
        event.ignore()
        return True

    def _may_close(self) -> bool:
        self._finish()
        n_unsaved = self._session.n_unsaved
        if not n_unsaved:
            return True
        question = (
            f"Not saved yet: {count_edits(n_unsaved)}.\n"
            "Unsaved edits are in the run log; the next start offers to restore them."
        )
        answer = self.ask(self._window, TITLE, question, (SAVE, CLOSE_UNSAVED, CONTINUE))
        if answer == SAVE:
            self._save()
            return not self._session.n_unsaved
        return answer == CLOSE_UNSAVED
