import atexit
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.browser import CHROMIUM, Browser
from helpers.locations import DATA, TESTS
from hypothesis import settings

from connectome.core.errors import ConnectomeError
from connectome.proofread.viewer.display_check import require_display

# How long an example takes says more of the machine than of the program.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A script that starts the tests in the background has them, and all they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Markers that follow from where a test is, or from what it asks for.
MARKER_OF_FOLDER = {"gui": "gui", "integration": "integration"}
MARKER_OF_FIXTURE = {"screen": "gui", "chromium": "browser", "shared_data": "real_data"}


def pytest_collection_modifyitems(items):
    """Mark tests by folder and fixture; run the fast ones first, as they find most mistakes."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        markers = {MARKER_OF_FOLDER[folder]} if folder in MARKER_OF_FOLDER else set()
        markers |= {MARKER_OF_FIXTURE.get(name) for name in item.fixturenames} - {None}
        for marker in sorted(markers):
            item.add_marker(marker)
        if os.name == "nt" and item.get_closest_marker("posix"):
            item.add_marker(pytest.mark.skip(reason="needs a POSIX system"))
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Limit ``-n auto``: a worker may need a GB of memory."""
    return min(4, os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Distribute whole files, in the order above: fixtures of a module are made once."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real volumes beside the project; skips where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA}")
    return DATA


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A browser without a window; skips where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def screen():
    """A screen that windows can be opened on: Xvfb where there is none; skips without either."""
    if sys.platform == "linux" and not os.environ.get("DISPLAY") and shutil.which("Xvfb"):
        read, write = os.pipe()
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x1024x24", "-nolisten", "tcp"],
            pass_fds=[write],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(write)
        with os.fdopen(read) as pipe:
            os.environ["DISPLAY"] = ":" + pipe.readline().strip()
        # Not before: Qt ends a process whose screen is taken away.
        atexit.register(server.terminate)
    try:
        require_display()
    except ConnectomeError as missing:
        pytest.skip(f"no window can be opened: {missing.problem}")
