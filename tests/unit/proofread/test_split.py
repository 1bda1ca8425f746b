"""Large neurites, flooded in blocks, are split at the same membranes as small ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.proofread import split
from connectome.proofread.split import split_neurite

SHAPE = (9, 83, 101)  # no multiple of a block


def split_into_parts(inside, places, groups, probability):
    """Return the part of every voxel, the largest part included."""
    kept, leaving = split_neurite(inside, places, groups, probability)
    return np.where((leaving == 0) & inside, kept, leaving)


def two_tubes(lean=2):
    """Return a neurite of two tubes, its probability, and the distance from their membrane."""
    z, _, x = np.indices(SHAPE)
    wall = 45 + lean * z
    return np.ones(SHAPE, bool), np.where(abs(x - wall) <= 2, 0.3, 1).astype(np.float32), x - wall


def place_strokes(*strokes):
    """Return voxels and groups of strokes, each along a column of a section."""
    places = [(z, y, x) for z, x in strokes for y in range(10, 70)]
    return np.array(places), np.repeat(np.arange(1, len(strokes) + 1), 60)


@pytest.fixture
def coarse(monkeypatch):
    """Treat every neurite as large."""
    monkeypatch.setattr(split, "MAX_WATERSHED_VOXELS", 1000)


@pytest.mark.parametrize("lean", [0, 2, -3])
def test_a_large_neurite_is_cut_at_the_membrane_to_the_voxel(coarse, lean):
    inside, probability, beyond = two_tubes(lean)
    parts = split_into_parts(inside, *place_strokes((4, 5), (4, 95)), probability)
    assert (parts[beyond < -2] == 1).all()
    assert (parts[beyond > 2] == 2).all()
    assert (parts > 0).all()


def test_blocks_are_small_enough_to_separate_close_seeds(coarse):
    inside, probability, beyond = two_tubes(0)
    parts = split_into_parts(inside, *place_strokes((4, 42), (4, 48)), probability)
    assert (parts[beyond < -2] == 1).all()
    assert (parts[beyond > 2] == 2).all()


def test_only_voxels_that_a_seed_reaches_leave_the_neurite(coarse):
    inside, probability, beyond = two_tubes()
    inside[:, :, 80:90] = False
    inside[:2] = False
    reached = inside.copy()
    reached[:, :, 80:] = False
    kept, leaving = split_neurite(inside, *place_strokes((4, 5), (4, 60)), probability)
    assert kept == 1
    assert not leaving[:, :, 80:].any()
    assert not leaving[:2].any()
    assert not leaving[beyond < -2].any()
    assert (leaving[reached & (beyond > 2)] == 2).all()


def test_cuts_that_are_not_refined_are_accurate_to_one_block(coarse, monkeypatch):
    monkeypatch.setattr(split, "MAX_REFINED_VOXELS", 0)
    inside, probability, beyond = two_tubes(0)
    parts = split_into_parts(inside, *place_strokes((4, 5), (4, 95)), probability)
    assert (parts[beyond < -split.MAX_BLOCK_PX] == 1).all()
    assert (parts[beyond > split.MAX_BLOCK_PX] == 2).all()


def test_many_merged_thin_neurites_are_split_between_two_of_them(coarse):
    """Blocks of two pixels, as for neurites of a million voxels, find the same membranes."""
    z, y, x = np.indices((20, 96, 96))
    across = (x + z // 2) % 16  # columns of 16 pixels that lean
    along = y % 24
    probability = np.where((across < 2) | (along < 2), 0.2, 1.0).astype(np.float32)
    inside = np.ones(probability.shape, bool)
    here, there = (10, 36, 42), (10, 36, 58)
    places = np.array([(10, row, x) for row in range(30, 44) for x in (42, 58)])
    groups = np.tile([1, 2], 14)
    split.MAX_WATERSHED_VOXELS = 60_000
    parts = split_into_parts(inside, places, groups, probability)
    assert parts[here] == 1 and parts[there] == 2
    split.MAX_WATERSHED_VOXELS = 10**9
    exact = split_into_parts(inside, places, groups, probability)
    assert (parts == exact).mean() > 0.97


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_every_seed_is_in_its_part_and_parts_stay_inside_the_neurite(seed, n_groups):
    rng = np.random.default_rng(seed)
    inside = rng.random(SHAPE) < 0.8
    places = np.argwhere(inside)
    places = places[rng.choice(len(places), 4 * n_groups, replace=False)]
    groups = np.repeat(np.arange(1, n_groups + 1), 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split, "MAX_WATERSHED_VOXELS", 1000)
        parts = split_into_parts(inside, places, groups, rng.random(SHAPE, np.float32))
    assert (parts[tuple(places.T)] == groups).all()
    assert not parts[~inside].any()
    assert set(np.unique(parts)) <= set(range(n_groups + 1))
