import signal
import subprocess
import sys

import numpy as np
import pytest

from connectome.workflows.figure_workers import FigureWorkers

SHIFTS = np.random.default_rng(0).normal(0, 1, (9, 2))
VOXEL = (30.0, 8.0, 8.0)


@pytest.mark.parametrize("beside", [True, False])
def test_a_figure_is_the_same_whoever_draws_it(tmp_path, beside):
    for folder, how in ((tmp_path / "here", False), (tmp_path / "there", beside)):
        with FigureWorkers(folder, parallel=how) as press:
            press.draw(4, SHIFTS, VOXEL, "a stack")
            press.finish()
    for kind in ("png", "pdf"):
        name = f"figures/Figure4_alignment_shifts.{kind}"
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


@pytest.mark.parametrize("beside", [True, False])
def test_a_figure_that_cannot_be_drawn_is_an_error(tmp_path, beside):
    with (
        FigureWorkers(tmp_path, beside) as press,
        pytest.raises((ValueError, TypeError, IndexError)),
    ):
        press.draw(4, "no shifts", VOXEL)
        press.finish()


@pytest.mark.posix
def test_who_draws_ends_with_a_caller_that_is_killed(tmp_path):
    text = f"""
import os, pathlib, signal
from connectome.workflows.figure_workers import FigureWorkers

with FigureWorkers(pathlib.Path({str(tmp_path)!r}), parallel=True) as press:
    press.draw(4, [[0.0, 0.0]], (30.0, 8.0, 8.0))
    press.finish()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    # Nothing comes any more only when all who could write have ended.
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
