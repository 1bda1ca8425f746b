import atexit
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.browser import CHROMIUM, Browser
from helpers.locations import DATA
from hypothesis import settings

from connectome.core.errors import ConnectomeError
from connectome.proofread.viewer.display_check import require_display

# How long an example takes says more of the machine than of the program.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A script that starts the tests in the background has them, and all they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

SLOW = ("test_agglomerate", "test_neuropil", "test_bossdb", "test_overview", "test_pipeline")
SLOWEST = "test_run_pipeline"


def pytest_collection_modifyitems(items):
    """Run the fast tests first: most mistakes show within seconds."""
    items.sort(key=lambda item: (item.path.stem == SLOWEST, item.path.stem in SLOW))


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
        with os.fdopen(read) as told:
            os.environ["DISPLAY"] = ":" + told.readline().strip()
        # Not before: Qt ends a process whose screen is taken away.
        atexit.register(server.terminate)
    try:
        require_display()
    except ConnectomeError as missing:
        pytest.skip(f"no window can be opened: {missing.problem}")
