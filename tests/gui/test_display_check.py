"""Where no window can be opened, one message says why, and nothing aborts."""

import pytest

from connectome.core.errors import ConnectomeError
from connectome.proofread.viewer import display_check


@pytest.fixture
def headless(monkeypatch):
    pytest.importorskip("napari", reason="napari is not installed")
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)


def test_without_napari_the_message_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(display_check, "find_spec", lambda name: None)
    with pytest.raises(ConnectomeError, match="napari is not installed") as error:
        display_check.require_display()
    assert error.value.remedy == "pip install -r requirements.txt"


def test_without_a_display_the_message_names_the_variables(headless):
    with pytest.raises(ConnectomeError, match="neither DISPLAY nor WAYLAND_DISPLAY"):
        display_check.require_display()


def test_a_display_that_does_not_respond_is_detected_in_another_process(headless, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":6543")
    with pytest.raises(ConnectomeError, match=r"no window can be opened: .+"):
        display_check.require_display()


def test_waiting_for_qt_ends_after_a_while(headless, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":6543")
    monkeypatch.setattr(display_check, "PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr(display_check, "TIMEOUT_S", 0.5)
    with pytest.raises(ConnectomeError, match=r"did not respond within 0\.5 s"):
        display_check.require_display()


def test_the_error_of_qt_is_reported(headless, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":6543")
    monkeypatch.setattr(display_check, "PROBE", "raise ImportError('libEGL.so.1 is missing')")
    with pytest.raises(ConnectomeError, match=r"ImportError: libEGL\.so\.1 is missing"):
        display_check.require_display()
