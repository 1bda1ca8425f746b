"""Pieces: connected, in order with the landscape, and none across two neurites."""

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


def everything(stack):
    return np.ones(stack.shape, bool)


def as_it_is(least_prominence):
    """Return parameters for a landscape that is not smoothed."""
    return SegmentParams(0.0, 0.0, least_prominence)


def n_connected(pieces, voxel_size):
    """Count pieces that hang together: through faces, within sections where these are thick."""
    if voxel_size == THIN:
        return label(pieces, connectivity=1).max()
    return sum(label(section, connectivity=1).max() for section in pieces)


def assert_well_formed(pieces, tissue, voxel_size):
    assert pieces.dtype == np.int32 and np.array_equal(pieces > 0, tissue)
    numbers = np.unique(pieces[tissue])
    assert np.array_equal(numbers, np.arange(1, numbers.size + 1))
    assert n_connected(pieces, voxel_size) == numbers.size


def same_partition(a, b):
    """Tell whether two labellings put the same voxels together."""
    pairs = len(set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)))
    return pairs == len(np.unique(a)) == len(np.unique(b))


def honeycomb(shape=(2, 120, 120), pitch=30, width=3):
    """Bright squares between dark lines, and the number of the square of every voxel."""
    z, y, x = shape
    rows, columns = np.arange(y) // pitch, np.arange(x) // pitch
    numbers = 1 + rows[:, None] * (columns.max() + 1) + columns
    lines = (np.arange(y) % pitch < width)[:, None] | (np.arange(x) % pitch < width)
    section = ndimage.gaussian_filter(np.where(lines, 0.1, 0.8), 1)
    return np.stack([section] * z).astype(np.float32), np.stack([numbers] * z)


# --- against the obvious method -----------------------------------------------------------------


def neighbours(at, tissue, axes):
    for axis in axes:
        for step in (-1, 1):
            to = list(at)
            to[axis] += step
            if 0 <= to[axis] < tissue.shape[axis] and tissue[tuple(to)]:
                yield tuple(to)


def slow_pieces(landscape, tissue, axes, least_prominence):
    """Climb voxel by voxel; then join over the highest pass that counts, until none does."""
    summit_of, touching = {}, []
    for start in zip(*np.nonzero(tissue), strict=True):
        at = start
        while True:
            best = max(neighbours(at, tissue, axes), key=landscape.__getitem__, default=at)
            if landscape[best] <= landscape[at]:
                break
            at = best
        summit_of[start] = at
        touching += [(start, to) for to in neighbours(start, tissue, axes)]
    owner = dict(summit_of)
    while True:
        passes = []
        for voxel, to in touching:
            a, b = owner[voxel], owner[to]
            height = min(landscape[voxel], landscape[to])
            if a != b and min(landscape[a], landscape[b]) - height < least_prominence:
                # Of passes of one height, the one between the first summits comes first.
                passes.append((-height, *sorted((summit_of[voxel], summit_of[to])), a, b))
        if not passes:
            break
        lower, higher = sorted(min(passes)[3:], key=landscape.__getitem__)
        owner = {voxel: higher if top == lower else top for voxel, top in owner.items()}
    pieces = np.zeros(landscape.shape, int)
    numbers = {top: number for number, top in enumerate(owner.values(), start=1)}
    for voxel, top in owner.items():
        pieces[voxel] = numbers[top]
    return pieces


@st.composite
def landscapes(draw):
    """Return a small landscape without level ground, and some of it as tissue."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = np.prod(shape)
    landscape = (rng.permutation(size).reshape(shape) / size).astype(np.float32)
    return landscape, rng.random(shape) < draw(st.sampled_from([0.5, 0.9, 1.0]))


@BOTH
@given(case=landscapes(), least_prominence=st.floats(0, 1))
@settings(max_examples=100)
def test_pieces_are_those_of_the_obvious_method(voxel_size, case, least_prominence):
    landscape, tissue = case
    axes = (0, 1, 2) if voxel_size == THIN else (1, 2)
    # Half-way between two heights: no difference lies on the threshold.
    least_prominence = (np.floor(least_prominence * landscape.size) + 0.5) / landscape.size
    pieces = segment_supervoxels(landscape, tissue, voxel_size, as_it_is(least_prominence))
    assert_well_formed(pieces, tissue, voxel_size)
    assert same_partition(pieces, slow_pieces(landscape, tissue, axes, least_prominence))


@BOTH
@given(case=landscapes(), levels=st.integers(1, 4))
@settings(max_examples=100)
def test_pieces_hang_together_on_level_ground_too(voxel_size, case, levels):
    landscape, tissue = case
    landscape = np.floor(landscape * levels) / levels
    pieces = segment_supervoxels(landscape, tissue, voxel_size, as_it_is(0.3))
    assert_well_formed(pieces, tissue, voxel_size)


@BOTH
@given(case=landscapes(), small=st.floats(0, 0.5), more=st.floats(0, 0.5))
@settings(max_examples=100)
def test_what_must_stand_out_more_is_made_of_what_must_less(voxel_size, case, small, more):
    fine, coarse = (
        segment_supervoxels(*case, voxel_size, as_it_is(h)) for h in (small, small + more)
    )
    pairs = set(zip(fine.ravel().tolist(), coarse.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(fine))


# --- what pieces are ----------------------------------------------------------------------------


def test_thick_sections_are_divided_one_by_one_and_thin_ones_together():
    stack = np.zeros((5, 20, 40), np.float32)
    stack[:, :, :18] = stack[:, :, 22:] = 1
    assert segment_supervoxels(stack, everything(stack), THIN).max() == 2
    pieces = segment_supervoxels(stack, everything(stack), THICK)
    assert [len(np.unique(section)) for section in pieces] == [2] * 5 and pieces.max() == 10


@BOTH
def test_pieces_meet_in_mid_membrane(voxel_size):
    stack = np.ones((3, 20, 41), np.float32)
    stack[:, :, 17:24] = 0
    pieces = segment_supervoxels(stack, everything(stack), voxel_size)
    for section in pieces:
        assert len(np.unique(section[:, :20])) == len(np.unique(section[:, 21:])) == 1
        assert section[0, 0] != section[0, -1]


def test_no_piece_spans_two_neurites_and_none_is_missed():
    stack, numbers = honeycomb()
    probability = predict_neurite_probability(stack, everything(stack), THICK)
    pieces = segment_supervoxels(probability, everything(stack), THICK)
    assert_well_formed(pieces, everything(stack), THICK)
    inside = stack > 0.5
    for piece, square in zip(pieces, numbers, strict=True):
        pairs = np.unique(np.stack([piece[inside[0]], square[inside[0]]]), axis=1)
        assert len(set(pairs[0].tolist())) == pairs.shape[1]
        assert set(pairs[1].tolist()) == set(range(1, 17))


@BOTH
def test_wider_smoothing_gives_fewer_pieces(voxel_size):
    noise = np.random.default_rng(0).random((6, 60, 60)).astype(np.float32)
    many, few = (
        segment_supervoxels(noise, everything(noise), voxel_size, SegmentParams(nm, 2 * nm)).max()
        for nm in (10.0, 40.0)
    )
    assert few < 0.5 * many


@BOTH
def test_a_section_without_tissue_stays_empty(voxel_size):
    stack, _ = honeycomb((3, 60, 60))
    tissue = everything(stack)
    tissue[1] = False
    pieces = segment_supervoxels(stack, tissue, voxel_size)
    assert_well_formed(pieces, tissue, voxel_size)
    # Nothing reaches through it.
    assert not set(np.unique(pieces[0])) & set(np.unique(pieces[2]))


@BOTH
def test_tissue_apart_from_the_rest_is_a_piece_of_its_own_however_dark(voxel_size):
    probability = np.zeros((2, 40, 40), np.float32)
    probability[:, :20, :20] = 1
    tissue = everything(probability)
    tissue[:, 20:30] = tissue[:, :, 20:30] = False
    pieces = segment_supervoxels(probability, tissue, voxel_size)
    assert_well_formed(pieces, tissue, voxel_size)
    assert not set(np.unique(pieces[:, 30:, 30:])) & set(np.unique(pieces[:, :20, :20]))


@BOTH
@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 16, 17), (3, 64, 16)])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_stack_without_anything_to_see_is_divided_nowhere(voxel_size, shape, value):
    stack = np.full(shape, value, np.float32)
    pieces = segment_supervoxels(stack, everything(stack), voxel_size)
    assert_well_formed(pieces, everything(stack), voxel_size)
    assert pieces.max() == (1 if voxel_size == THIN else shape[0])


@BOTH
def test_a_stack_without_tissue_has_no_pieces(voxel_size):
    stack = np.ones((2, 16, 16), np.float32)
    assert not segment_supervoxels(stack, ~everything(stack), voxel_size).any()


def test_forty_thousand_pieces_are_as_good_as_one():
    board = (np.indices((1, 284, 284)).sum(axis=0) % 2).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pieces = segment_supervoxels(board, everything(board), THICK, as_it_is(0.5))
    assert_well_formed(pieces, everything(board), THICK)
    assert pieces.max() == 284 * 284 // 2


def test_it_depends_on_lengths_not_on_voxels():
    rng = np.random.default_rng(1)
    coarse = ndimage.gaussian_filter(rng.random((1, 60, 60)), (0, 3, 3)).astype(np.float32)
    coarse = (coarse - coarse.min()) / np.ptp(coarse)
    fine = ndimage.zoom(coarse, (1, 2, 2), order=1, grid_mode=True, mode="nearest")
    a = segment_supervoxels(coarse, everything(coarse), THICK).max()
    b = segment_supervoxels(fine, everything(fine), (30.0, 4.0, 4.0)).max()
    assert a > 5 and abs(a - b) <= 0.1 * a
