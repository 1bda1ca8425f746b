"""Check that a window can be opened: without a display, Qt would abort the process."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

from connectome.core.errors import ConnectomeError

PROBE = "from qtpy.QtWidgets import QApplication; QApplication([])"
TIMEOUT_S = 60


def require_display() -> None:
    """Check for napari, a Qt binding and a display, without importing any of them.

    Opens a Qt application in another process: without a display, or a library that it needs, Qt
    aborts the process and raises no exception.

    Raises
    ------
    ConnectomeError
        Naming what is missing, and the command to install it.
    """
    if find_spec("napari") is None:
        raise ConnectomeError(
            "napari is not installed",
            "the proofreading window cannot be opened",
            "pip install -r requirements.txt",
        )
    if sys.platform == "linux" and not _display_is_set():
        raise ConnectomeError(
            "there is no display: neither DISPLAY nor WAYLAND_DISPLAY is set",
            "the proofreading window needs one",
            "log in to a desktop, or ssh -X; --replay needs no window",
        )
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise _display_error(f"the display did not respond within {TIMEOUT_S} s") from None
    if probe.returncode:
        raise _display_error(_find_error_line(probe.stderr))


def _display_is_set() -> bool:
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))


def _find_error_line(stderr: str) -> str:
    """Return the line that names the error: the last of a traceback, the first of Qt's output."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["no error message"]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def _display_error(reason: str) -> ConnectomeError:
    return ConnectomeError(
        f"no window can be opened: {reason}",
        "napari needs a display and the libraries of the Qt platform",
        "pip install -r requirements.txt, and the Debian packages in docs/proofreading.md; or"
        " --replay, which needs no window",
    )
