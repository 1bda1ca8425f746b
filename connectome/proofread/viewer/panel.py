"""The panel beside the canvas: status lines, a button with its key per action, and a message."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFrame,
    QGridLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from connectome.proofread.viewer.actions import Action

MIN_WIDTH_PX = 330
MESSAGE_HEIGHT_PX = 56  # three lines
LOCATION_HEIGHT_PX = 54  # three lines: the buttons below stay where they are
KEY_WIDTH_PX = 24
STYLE = """
QLabel#heading { font-weight: bold; margin-top: 5px; }
QLabel#key { border: 1px solid #7b8594; border-radius: 3px; padding: 0 4px; color: #c9d1dc; }
QLabel#message { padding: 5px; border-radius: 3px; background: #2b4a3a; color: #e8f3ec; }
QLabel#message[failed="true"] { background: #6b2b2b; color: #fbeaea; }
QLabel#location { font-size: 14px; }
QPushButton { text-align: left; padding: 3px 7px; }
QPushButton:checked { background: #2f6fab; }
"""


class Panel(QWidget):
    """Status lines, a button per action, and a message.

    Parameters
    ----------
    actions : sequence of Action
        By group.
    line_of_group : dict of str to str
        Name of the status line below the heading of a group; `set_line` changes its text.
    on_press : callable
        Receives the action whose button was pressed.

    Attributes
    ----------
    buttons : dict of str to QPushButton
        By the name of the action.
    """

    def __init__(
        self,
        actions: Sequence[Action],
        line_of_group: dict[str, str],
        on_press: Callable[[Action], None],
    ):
        super().__init__()
        self.setStyleSheet(STYLE)
        self.setMinimumWidth(MIN_WIDTH_PX)
        self.buttons: dict[str, QPushButton] = {}
        self._tool_of_action = {action.name: action.tool for action in actions if action.tool}
        self._lines: dict[str, QLabel] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 4, 8, 6)
        column.setSpacing(3)
        for group in dict.fromkeys(action.group for action in actions):
            column.addWidget(_make_label(group, "heading"))
            if group in line_of_group:
                name = line_of_group[group]
                self._lines[name] = _make_label("", name, wrap=True)
                column.addWidget(self._lines[name])
                if name == "location":
                    self._lines[name].setMinimumHeight(LOCATION_HEIGHT_PX)
                    self._lines[name].setAlignment(Qt.AlignmentFlag.AlignTop)
            column.addLayout(
                self._make_grid([each for each in actions if each.group == group], on_press)
            )
        column.addStretch()
        self._message = _make_label("", "message", wrap=True)
        self._message.setMinimumHeight(MESSAGE_HEIGHT_PX)
        self._message.setAlignment(Qt.AlignmentFlag.AlignTop)
        column.addWidget(self._message)

    def set_line(self, name: str, text: str) -> None:
        """Set a status line; rich text is allowed."""
        self._lines[name].setText(text)

    def line_text(self, name: str) -> str:
        """Return the text of a status line."""
        return self._lines[name].text()

    def show_message(self, text: str, failed: bool = False) -> None:
        """Show the result of an action, or why it failed."""
        self._message.setText(text[:1].upper() + text[1:])
        self._message.setProperty("failed", failed)
        self._message.style().polish(self._message)

    @property
    def message(self) -> str:
        """The message on the panel."""
        return self._message.text()

    def highlight_tool(self, tool: str) -> None:
        """Highlight the button of the active tool."""
        for name, tool_of_button in self._tool_of_action.items():
            self.buttons[name].setChecked(tool_of_button == tool)

    def _make_grid(
        self, actions: Iterable[Action], on_press: Callable[[Action], None]
    ) -> QGridLayout:
        """Lay out buttons in two columns, each with its key."""
        grid = QGridLayout()
        grid.setHorizontalSpacing(4)
        grid.setVerticalSpacing(3)
        for i, action in enumerate(actions):
            button = QPushButton(action.name)
            button.setToolTip(f"{action.tooltip}  [{format_key(action.key)}]")
            button.setCheckable(bool(action.tool))
            # The canvas keeps the keyboard focus: keys work right after a click on a button.
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            button.clicked.connect(lambda _checked, action=action: on_press(action))
            self.buttons[action.name] = button
            row, side = divmod(i, 2)
            grid.addWidget(button, row, 2 * side)
            grid.addWidget(_make_label(format_key(action.key), "key"), row, 2 * side + 1)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(2, 1)
        return grid


def format_key(key: str) -> str:
    """Return a napari key, such as ``Control-Z``, as it is printed on a keyboard."""
    return key.replace("Control", "Ctrl").replace("Escape", "Esc").replace("-", "+")


def colour_swatch(colour: np.ndarray | None, neurite: int) -> str:
    """Return an id after a square of its colour, (red, green, blue, …) from 0 to 1, as HTML."""
    if colour is None:
        return str(neurite)
    red, green, blue = (round(255 * float(part)) for part in colour[:3])
    return f'<span style="color: rgb({red},{green},{blue})">■</span>&nbsp;{neurite}'


def _make_label(text: str, name: str, wrap: bool = False) -> QLabel:
    label = QLabel(text)
    label.setObjectName(name)
    label.setWordWrap(wrap)
    label.setFrameShape(QFrame.Shape.NoFrame)
    if name == "key":
        label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        label.setMinimumWidth(KEY_WIDTH_PX)
    return label
