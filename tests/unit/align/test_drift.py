"""Drift along a stack is separated from jitter."""

import numpy as np
import pytest

from connectome.align import simulate_shifts
from connectome.align.drift import estimate_drift
from connectome.evaluate import alignment_rms

ALL = range(64)
DRIFT = np.cumsum(np.column_stack([0.4 + 0.2 * np.sin(np.arange(64) / 9), np.full(64, -0.3)]), 0)


def error(drift, truth=DRIFT):
    return alignment_rms(drift, truth)


def test_a_smooth_path_is_drift_alone():
    assert error(estimate_drift(DRIFT, ALL)) < 0.02


@pytest.mark.parametrize("seed", range(4))
def test_drift_is_separated_from_jitter(seed):
    assert error(estimate_drift(DRIFT + simulate_shifts(64, 1.0, seed), ALL)) < 0.8


@pytest.mark.parametrize("seed", range(4))
def test_jitter_alone_gives_hardly_any_drift(seed):
    assert error(estimate_drift(simulate_shifts(64, 1.0, seed), ALL), 0 * DRIFT) < 0.7


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("width", [1, 2, 32])
def test_a_jump_is_not_drift(seed, width):
    path = DRIFT + simulate_shifts(64, 0.5, seed)
    path[32 : 32 + width] += (40, -25)
    assert error(estimate_drift(path, ALL)) < 1.6


def test_damaged_sections_do_not_affect_the_drift():
    sound = [z for z in ALL if z not in (20, 21)]
    path = DRIFT.copy()
    path[[20, 21]] += 0.8
    assert error(estimate_drift(path, sound)) < 0.1


def test_drift_hidden_by_jitter_is_not_reported():
    rng = np.random.default_rng(0)
    path = np.cumsum(rng.normal(0, 7, (30, 2)), axis=0) + rng.normal(0, 3, (30, 2))
    assert not estimate_drift(path, range(30)).any()


def test_a_short_stack_has_no_drift():
    assert not estimate_drift(DRIFT[:10], range(10)).any()
