"""Runs contain exactly the voxels they were made from, also after packing and unpacking."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from connectome.proofread.edit_runs import (
    RUNS_PER_WRITE,
    expand_runs,
    find_part_runs,
    find_runs,
    unpack_runs,
)

SHAPE = (3, 4, 6)
WHOLE_STACK = tuple(slice(0, n) for n in SHAPE)
MASKS = hnp.arrays(bool, SHAPE)
IDS = hnp.arrays(np.int32, SHAPE, elements=st.integers(0, 3))


def find_runs_of(mask, old, new):
    places = np.flatnonzero(mask)
    return find_runs(places, old.flat[places], new.flat[places], WHOLE_STACK, SHAPE)


@settings(max_examples=80)
@given(MASKS, IDS, IDS)
def test_runs_write_new_ids_and_restore_old_ones(mask, old, new):
    runs = find_runs_of(mask, old, new)
    labels = old.copy()
    runs.write(labels, runs.new_ids)
    np.testing.assert_array_equal(labels, np.where(mask, new, old))
    runs.write(labels, runs.old_ids)
    np.testing.assert_array_equal(labels, old)
    assert runs.n_voxels == mask.sum()


@settings(max_examples=80)
@given(MASKS, IDS, IDS)
def test_unpacked_runs_change_the_same_voxels_to_the_same_ids(mask, old, new):
    again = unpack_runs(find_runs_of(mask, old, new).pack(), old)
    labels = old.copy()
    again.write(labels, again.new_ids)
    np.testing.assert_array_equal(labels, np.where(mask, new, old))
    assert again.n_voxels == (mask & (old != new)).sum()


@settings(max_examples=80)
@given(hnp.arrays(np.uint8, SHAPE, elements=st.integers(0, 2)))
def test_runs_of_parts_equal_runs_of_voxels(parts):
    box = (slice(1, 3), slice(0, 3), slice(2, 6))
    places = np.flatnonzero(parts[box])
    new = parts[box].reshape(-1)[places] + 4
    fast, slow = (
        find_part_runs(parts[box], 3, (5, 6), box, SHAPE),
        find_runs(places, 3, new, box, SHAPE),
    )
    for name in ("starts", "lengths", "old_ids", "new_ids"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name))
    inside = np.zeros(SHAPE, bool)
    inside[box] = parts[box] > 0
    np.testing.assert_array_equal(expand_runs(fast.starts, fast.lengths), np.flatnonzero(inside))


def test_runs_are_all_written_in_several_batches():
    labels = np.zeros((1, 300, 2 * RUNS_PER_WRITE // 100), np.int32)
    everywhere = tuple(slice(0, n) for n in labels.shape)
    stripes = np.arange(labels.size) % 2 * np.ones(labels.size, bool)
    runs = find_part_runs(stripes.reshape(labels.shape) > 0, 0, (7,), everywhere, labels.shape)
    assert runs.starts.size > 2 * RUNS_PER_WRITE
    runs.write(labels, runs.new_ids)
    assert ((labels.reshape(-1) == 7) == (stripes > 0)).all()


def test_a_run_ends_at_the_end_of_a_row_and_at_another_id():
    ones, twos = np.ones(SHAPE, int), np.full(SHAPE, 2)
    assert len(find_runs_of(np.ones(SHAPE, bool), ones, twos).starts) == 3 * 4
    ones[0, 0, 3] = 3
    assert find_runs_of(np.ones(SHAPE, bool), ones, twos).lengths[:4].tolist() == [3, 1, 2, 6]


def test_the_bounding_box_includes_all_runs():
    mask = np.zeros(SHAPE, bool)
    mask[1, 2, 3:6] = mask[2, 0, 1] = True
    box = find_runs_of(mask, np.ones(SHAPE, int), np.zeros(SHAPE, int)).bounding_box()
    assert box == (slice(1, 3), slice(0, 3), slice(1, 6))


@pytest.mark.parametrize("of_voxels", [1, 1000])
def test_packed_runs_are_small(of_voxels):
    labels = np.zeros((1, 1000, 1000), np.int32)
    box = tuple(slice(0, n) for n in labels.shape)
    runs = find_runs(np.arange(of_voxels), 0, 1, box, labels.shape)
    assert len(runs.pack()) < 40
