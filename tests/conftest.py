from pathlib import Path

import pytest

SLOW = ("test_stitch", "test_phantom", "test_bossdb", "test_figures", "test_pipeline")
SLOWEST = "test_run_pipeline"


def pytest_collection_modifyitems(items):
    """Run the fast tests first: most mistakes show within seconds."""
    items.sort(key=lambda item: (item.path.stem == SLOWEST, item.path.stem in SLOW))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real volumes beside the project; skips where it is absent."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder
