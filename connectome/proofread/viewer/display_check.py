"""Whether a window can be opened here at all: Qt ends the process where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

from connectome.core.errors import ConnectomeError

PROBE = "from qtpy.QtWidgets import QApplication; QApplication([])"
TIMEOUT_S = 60


def require_display() -> None:
    """See whether napari, a Qt binding and a screen are there, without loading any of them.

    A window is tried in a process of its own: without a screen, or without a library it needs,
    Qt aborts the process rather than raise anything.

    Raises
    ------
    ConnectomeError
        Saying what is missing, and what to type.
    """
    if find_spec("napari") is None:
        raise ConnectomeError(
            "napari is not installed",
            "the window to proofread in cannot be opened",
            "pip install -r requirements.txt",
        )
    if sys.platform == "linux" and not _display_is_set():
        raise ConnectomeError(
            "there is no screen: neither DISPLAY nor WAYLAND_DISPLAY is set",
            "a window to proofread in needs one",
            "log in to a desktop, or ssh -X; --replay needs no window",
        )
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise _display_error(f"no answer from the screen in {TIMEOUT_S} s") from None
    if probe.returncode:
        raise _display_error(_first_error_line(probe.stderr))


def _display_is_set() -> bool:
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))


def _first_error_line(stderr: str) -> str:
    """Return the first line that says what was missed: a traceback says it last, Qt at once."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["it said nothing"]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def _display_error(why: str) -> ConnectomeError:
    return ConnectomeError(
        f"no window can be opened: {why}",
        "napari needs a screen and the libraries of the Qt platform",
        "pip install -r requirements.txt, and the Debian packages in README.md; or --replay,"
        " which needs no window",
    )
