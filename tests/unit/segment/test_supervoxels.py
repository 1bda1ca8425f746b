"""Supervoxels are connected, follow the maxima, and span no two neurites."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label

from connectome.core.params import SegmentParams
from connectome.membranes.predict import predict_neurite_probability
from connectome.segment.supervoxels import segment_supervoxels

THICK, THIN = (30.0, 8.0, 8.0), (10.0, 10.0, 10.0)
BOTH = pytest.mark.parametrize("voxel_size", [THICK, THIN])


def full_mask(stack):
    return np.ones(stack.shape, bool)


def unsmoothed(min_prominence):
    """Return parameters without smoothing."""
    return SegmentParams(0.0, 0.0, min_prominence)


def count_components(supervoxels, voxel_size):
    """Count connected components: in 3D, or within sections where these are thick."""
    if voxel_size == THIN:
        return label(supervoxels, connectivity=1).max()
    return sum(label(section, connectivity=1).max() for section in supervoxels)


def assert_well_formed(supervoxels, mask, voxel_size):
    assert supervoxels.dtype == np.int32 and np.array_equal(supervoxels > 0, mask)
    numbers = np.unique(supervoxels[mask])
    assert np.array_equal(numbers, np.arange(1, numbers.size + 1))
    assert count_components(supervoxels, voxel_size) == numbers.size


def is_same_partition(a, b):
    """Return whether two labellings are the same up to numbering."""
    pairs = len(set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)))
    return pairs == len(np.unique(a)) == len(np.unique(b))


def honeycomb(shape=(2, 120, 120), pitch=30, width=3):
    """Return bright squares between dark lines, and the number of every voxel's square."""
    z, y, x = shape
    rows, columns = np.arange(y) // pitch, np.arange(x) // pitch
    numbers = 1 + rows[:, None] * (columns.max() + 1) + columns
    lines = (np.arange(y) % pitch < width)[:, None] | (np.arange(x) % pitch < width)
    section = ndimage.gaussian_filter(np.where(lines, 0.1, 0.8), 1)
    return np.stack([section] * z).astype(np.float32), np.stack([numbers] * z)


# --- against the obvious method -----------------------------------------------------------------


def neighbours(at, mask, axes):
    for axis in axes:
        for step in (-1, 1):
            to = list(at)
            to[axis] += step
            if 0 <= to[axis] < mask.shape[axis] and mask[tuple(to)]:
                yield tuple(to)


def segment_slowly(height_map, mask, axes, min_prominence):
    """Ascend voxel by voxel; then merge shallow maxima across their highest pass, one by one."""
    summit_of, touching = {}, []
    for start in zip(*np.nonzero(mask), strict=True):
        at = start
        while True:
            best = max(neighbours(at, mask, axes), key=height_map.__getitem__, default=at)
            if height_map[best] <= height_map[at]:
                break
            at = best
        summit_of[start] = at
        touching += [(start, to) for to in neighbours(start, mask, axes)]
    owner = dict(summit_of)
    while True:
        passes = []
        for voxel, to in touching:
            a, b = owner[voxel], owner[to]
            height = min(height_map[voxel], height_map[to])
            if a != b and min(height_map[a], height_map[b]) - height < min_prominence:
                # Among passes of equal height, that between the first maxima comes first.
                passes.append((-height, *sorted((summit_of[voxel], summit_of[to])), a, b))
        if not passes:
            break
        lower, higher = sorted(min(passes)[3:], key=height_map.__getitem__)
        owner = {voxel: higher if top == lower else top for voxel, top in owner.items()}
    supervoxels = np.zeros(height_map.shape, int)
    numbers = {top: number for number, top in enumerate(owner.values(), start=1)}
    for voxel, top in owner.items():
        supervoxels[voxel] = numbers[top]
    return supervoxels


@st.composite
def height_maps(draw):
    """Return a small height map without plateaus, and a mask."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = np.prod(shape)
    height_map = (rng.permutation(size).reshape(shape) / size).astype(np.float32)
    return height_map, rng.random(shape) < draw(st.sampled_from([0.5, 0.9, 1.0]))


@BOTH
@given(case=height_maps(), min_prominence=st.floats(0, 1))
@settings(max_examples=100)
def test_supervoxels_are_those_of_a_slow_reference(voxel_size, case, min_prominence):
    height_map, mask = case
    axes = (0, 1, 2) if voxel_size == THIN else (1, 2)
    # Half-way between two heights, so that no prominence equals the threshold.
    min_prominence = (np.floor(min_prominence * height_map.size) + 0.5) / height_map.size
    supervoxels = segment_supervoxels(height_map, mask, voxel_size, unsmoothed(min_prominence))
    assert_well_formed(supervoxels, mask, voxel_size)
    assert is_same_partition(supervoxels, segment_slowly(height_map, mask, axes, min_prominence))


@BOTH
@given(case=height_maps(), levels=st.integers(1, 4))
@settings(max_examples=100)
def test_supervoxels_are_connected_on_plateaus(voxel_size, case, levels):
    height_map, mask = case
    height_map = np.floor(height_map * levels) / levels
    supervoxels = segment_supervoxels(height_map, mask, voxel_size, unsmoothed(0.3))
    assert_well_formed(supervoxels, mask, voxel_size)


@BOTH
@given(case=height_maps(), small=st.floats(0, 0.5), more=st.floats(0, 0.5))
@settings(max_examples=100)
def test_a_larger_prominence_only_merges_supervoxels(voxel_size, case, small, more):
    fine, coarse = (
        segment_supervoxels(*case, voxel_size, unsmoothed(h)) for h in (small, small + more)
    )
    pairs = set(zip(fine.ravel().tolist(), coarse.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(fine))


# --- properties ----------------------------------------------------------------------------


def test_thick_sections_are_segmented_one_by_one_and_thin_ones_in_3d():
    stack = np.zeros((5, 20, 40), np.float32)
    stack[:, :, :18] = stack[:, :, 22:] = 1
    assert segment_supervoxels(stack, full_mask(stack), THIN).max() == 2
    supervoxels = segment_supervoxels(stack, full_mask(stack), THICK)
    assert [len(np.unique(section)) for section in supervoxels] == [
        2
    ] * 5 and supervoxels.max() == 10


@BOTH
def test_supervoxels_meet_in_the_middle_of_a_membrane(voxel_size):
    stack = np.ones((3, 20, 41), np.float32)
    stack[:, :, 17:24] = 0
    supervoxels = segment_supervoxels(stack, full_mask(stack), voxel_size)
    for section in supervoxels:
        assert len(np.unique(section[:, :20])) == len(np.unique(section[:, 21:])) == 1
        assert section[0, 0] != section[0, -1]


def test_no_supervoxel_spans_two_neurites_and_no_neurite_is_missed():
    stack, numbers = honeycomb()
    probability = predict_neurite_probability(stack, full_mask(stack), THICK)
    supervoxels = segment_supervoxels(probability, full_mask(stack), THICK)
    assert_well_formed(supervoxels, full_mask(stack), THICK)
    inside = stack > 0.5
    for section, square in zip(supervoxels, numbers, strict=True):
        pairs = np.unique(np.stack([section[inside[0]], square[inside[0]]]), axis=1)
        assert len(set(pairs[0].tolist())) == pairs.shape[1]
        assert set(pairs[1].tolist()) == set(range(1, 17))


@BOTH
def test_wider_smoothing_gives_fewer_supervoxels(voxel_size):
    noise = np.random.default_rng(0).random((6, 60, 60)).astype(np.float32)
    many, few = (
        segment_supervoxels(noise, full_mask(noise), voxel_size, SegmentParams(nm, 2 * nm)).max()
        for nm in (10.0, 40.0)
    )
    assert few < 0.5 * many


@BOTH
def test_a_section_without_tissue_stays_empty(voxel_size):
    stack, _ = honeycomb((3, 60, 60))
    mask = full_mask(stack)
    mask[1] = False
    supervoxels = segment_supervoxels(stack, mask, voxel_size)
    assert_well_formed(supervoxels, mask, voxel_size)
    # No supervoxel extends through it.
    assert not set(np.unique(supervoxels[0])) & set(np.unique(supervoxels[2]))


@BOTH
def test_separate_tissue_is_a_supervoxel_of_its_own_however_dark(voxel_size):
    probability = np.zeros((2, 40, 40), np.float32)
    probability[:, :20, :20] = 1
    mask = full_mask(probability)
    mask[:, 20:30] = mask[:, :, 20:30] = False
    supervoxels = segment_supervoxels(probability, mask, voxel_size)
    assert_well_formed(supervoxels, mask, voxel_size)
    assert not set(np.unique(supervoxels[:, 30:, 30:])) & set(np.unique(supervoxels[:, :20, :20]))


@BOTH
@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 16, 17), (3, 64, 16)])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_stack_is_not_divided(voxel_size, shape, value):
    stack = np.full(shape, value, np.float32)
    supervoxels = segment_supervoxels(stack, full_mask(stack), voxel_size)
    assert_well_formed(supervoxels, full_mask(stack), voxel_size)
    assert supervoxels.max() == (1 if voxel_size == THIN else shape[0])


@BOTH
def test_a_stack_without_tissue_has_no_supervoxels(voxel_size):
    stack = np.ones((2, 16, 16), np.float32)
    assert not segment_supervoxels(stack, ~full_mask(stack), voxel_size).any()


def test_forty_thousand_supervoxels():
    board = (np.indices((1, 284, 284)).sum(axis=0) % 2).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        supervoxels = segment_supervoxels(board, full_mask(board), THICK, unsmoothed(0.5))
    assert_well_formed(supervoxels, full_mask(board), THICK)
    assert supervoxels.max() == 284 * 284 // 2


def test_lengths_are_in_nm_not_in_voxels():
    rng = np.random.default_rng(1)
    coarse = ndimage.gaussian_filter(rng.random((1, 60, 60)), (0, 3, 3)).astype(np.float32)
    coarse = (coarse - coarse.min()) / np.ptp(coarse)
    fine = ndimage.zoom(coarse, (1, 2, 2), order=1, grid_mode=True, mode="nearest")
    a = segment_supervoxels(coarse, full_mask(coarse), THICK).max()
    b = segment_supervoxels(fine, full_mask(fine), (30.0, 4.0, 4.0)).max()
    assert a > 5 and abs(a - b) <= 0.1 * a
