import signal
import subprocess
import sys

import numpy as np
import pytest

from connectome.figures import FIGURES
from connectome.workflows.drawing.figure_workers import FigureWorkers

SHIFTS = {"shifts": np.random.default_rng(0).normal(0, 1, (9, 2))}
VOXEL_SIZE = (30.0, 8.0, 8.0)
DATA = {"alignment": SHIFTS, "voxel_size": VOXEL_SIZE, "source": "a stack"}


@pytest.mark.parametrize("parallel", [True, False])
def test_a_figure_is_the_same_whichever_process_draws_it(tmp_path, parallel):
    for folder, how in ((tmp_path / "here", False), (tmp_path / "there", parallel)):
        with FigureWorkers(folder, parallel=how) as workers:
            workers.provide(**DATA)
            workers.finish()
    for name in FIGURES["Figure4"].files:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


@pytest.mark.parametrize("parallel", [True, False])
def test_a_figure_is_drawn_as_soon_as_its_data_is_complete(tmp_path, parallel):
    pdf, _ = FIGURES["Figure4"].files
    with FigureWorkers(tmp_path, parallel) as workers:
        workers.provide(alignment=SHIFTS, source="a stack")
        assert FIGURES["Figure4"] in workers.waiting
        workers.provide(voxel_size=VOXEL_SIZE)
        assert FIGURES["Figure4"] not in workers.waiting
        workers.provide(directed=True)
        workers.finish()
        assert (tmp_path / pdf).exists()
    assert {figure.name for figure in workers.waiting} == set(FIGURES) - {"Figure4"}


@pytest.mark.parametrize("parallel", [True, False])
def test_a_figure_that_cannot_be_drawn_is_an_error(tmp_path, parallel):
    errors = (ValueError, TypeError, IndexError)
    with FigureWorkers(tmp_path, parallel) as workers, pytest.raises(errors):
        workers.provide(**DATA | {"alignment": {"shifts": "none"}})
        workers.finish()


@pytest.mark.posix
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    text = f"""
import os, pathlib, signal
from connectome.workflows.drawing.figure_workers import FigureWorkers

with FigureWorkers(pathlib.Path({str(tmp_path)!r}), parallel=True) as workers:
    workers.provide(
        alignment={{"shifts": [[0.0, 0.0]]}}, voxel_size=(30.0, 8.0, 8.0), source=""
    )
    workers.finish()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    # The pipes are closed only when all processes that could write to them have ended.
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
