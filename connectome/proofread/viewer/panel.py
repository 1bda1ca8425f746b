"""The panel beside the picture: what is in doubt, what can be done about it, and by which key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFrame,
    QGridLayout,
    QLabel,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

MIN_WIDTH_PX = 330
STYLE = """
QLabel#heading { font-weight: bold; margin-top: 5px; }
QLabel#key { border: 1px solid #7b8594; border-radius: 3px; padding: 0 4px; color: #c9d1dc; }
QLabel#said { padding: 5px; border-radius: 3px; background: #2b4a3a; color: #e8f3ec; }
QLabel#said[failed="true"] { background: #6b2b2b; color: #fbeaea; }
QLabel#place { font-size: 14px; }
QPushButton { text-align: left; padding: 3px 7px; }
QPushButton:checked { background: #2f6fab; }
"""


@dataclass(frozen=True)
class Action:
    """Something a person can do, by a button or by its key.

    Parameters
    ----------
    group : str
        Heading it stands under.
    name : str
        On its button.
    key : str
        As napari writes it, such as ``Control-Shift-Z``.
    tip : str
        Shown while the pointer rests on the button.
    do : callable
        Returns what to say about it, or None.
    tool : str
        Name of the tool it takes up, if it does: its button stays lit for as long.
    points : bool
        Whether it is about what is under the pointer: its button then waits for a click.
    """

    group: str
    name: str
    key: str
    tooltip: str
    callback: Callable[[], str | None]
    tool: str = ""
    needs_pointer: bool = False


class Panel(QWidget):
    """Lines that say how things are, and a button for every action.

    Parameters
    ----------
    actions : sequence of Action
        In the order of their groups.
    lines : dict of str to str
        Under the heading of a group, a line of text: its name, by which `show` changes it.
    perform : callable
        Given the action whose button was pressed.
    """

    def __init__(
        self,
        actions: Sequence[Action],
        lines: dict[str, str],
        perform: Callable[[Action], None],
    ):
        super().__init__()
        self.setStyleSheet(STYLE)
        self.setMinimumWidth(MIN_WIDTH_PX)
        self.buttons: dict[str, QPushButton] = {}
        self._tools = {action.name: action.tool for action in actions if action.tool}
        self._lines: dict[str, QLabel] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 4, 8, 6)
        column.setSpacing(3)
        for group in dict.fromkeys(action.group for action in actions):
            column.addWidget(_label(group, "heading"))
            if group in lines:
                self._lines[lines[group]] = _label("", lines[group], wrap=True)
                column.addWidget(self._lines[lines[group]])
            of_group = [action for action in actions if action.group == group]
            column.addLayout(self._grid(of_group, perform))
        column.addStretch()
        self._said = _label("", "said", wrap=True)
        self._said.setMinimumHeight(56)
        self._said.setAlignment(Qt.AlignmentFlag.AlignTop)
        column.addWidget(self._said)

    def set_line(self, name: str, text: str) -> None:
        """Change one of the lines; rich text is understood."""
        self._lines[name].setText(text)

    def line_text(self, name: str) -> str:
        """Return what a line says."""
        return self._lines[name].text()

    def show_message(self, text: str, failed: bool = False) -> None:
        """Tell what was done, or why it was not."""
        self._said.setText(text)
        self._said.setProperty("failed", failed)
        self._said.style().polish(self._said)

    @property
    def message(self) -> str:
        """What was told last."""
        return self._said.text()

    def highlight_tool(self, tool: str) -> None:
        """Show which tool is in hand."""
        for name, of_button in self._tools.items():
            self.buttons[name].setChecked(of_button == tool)

    def _grid(self, actions: Sequence[Action], perform: Callable[[Action], None]) -> QGridLayout:
        """Lay out buttons two by two, each with its key."""
        grid = QGridLayout()
        grid.setHorizontalSpacing(4)
        grid.setVerticalSpacing(3)
        for i, action in enumerate(actions):
            button = QPushButton(action.name)
            button.setToolTip(f"{action.tooltip}  [{format_key(action.key)}]")
            button.setCheckable(bool(action.tool))
            # The picture keeps the keyboard: a key works right after a click on a button.
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            button.clicked.connect(lambda _checked, action=action: perform(action))
            self.buttons[action.name] = button
            row, side = divmod(i, 2)
            grid.addWidget(button, row, 2 * side)
            grid.addWidget(_label(format_key(action.key), "key"), row, 2 * side + 1)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(2, 1)
        return grid


def format_key(key: str) -> str:
    """Write a key as it stands on a keyboard."""
    return key.replace("Control", "Ctrl").replace("Escape", "Esc").replace("-", "+")


def colour_swatch(colour: Sequence[float] | None, text: str) -> str:
    """Return rich text after a square of a colour, given as red, green, blue from 0 to 1."""
    if colour is None:
        return text
    red, green, blue = (round(255 * float(part)) for part in colour[:3])
    return f'<span style="color: rgb({red},{green},{blue})">■</span>&nbsp;{text}'


def ask_question(parent: QWidget | None, title: str, question: str, answers: Sequence[str]) -> str:
    """Ask a question that must be answered; closing the box is the last answer."""
    box = QMessageBox(QMessageBox.Icon.Question, title, question, parent=parent)
    buttons = [box.addButton(text, QMessageBox.ButtonRole.ActionRole) for text in answers]
    box.setDefaultButton(buttons[0])
    box.setEscapeButton(buttons[-1])
    box.exec()
    clicked = box.clickedButton()  # none where the program is told to end
    return answers[buttons.index(clicked)] if clicked in buttons else answers[-1]


def _label(text: str, name: str, wrap: bool = False) -> QLabel:
    label = QLabel(text)
    label.setObjectName(name)
    label.setWordWrap(wrap)
    label.setFrameShape(QFrame.Shape.NoFrame)
    if name == "key":
        label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        label.setMinimumWidth(24)
    return label
