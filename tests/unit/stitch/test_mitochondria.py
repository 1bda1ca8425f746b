"""Mitochondria: that they are known by what is dark inside, and never join two neurites."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.stitch.agglomeration import agglomerate
from connectome.stitch.mitochondria import (
    MIN_INTERIOR_VOXELS,
    assign_mitochondria,
    measure_brightness,
)
from connectome.triage.uncertainty import merge_log

THICK, THIN = (30.0, 8.0, 8.0), (10.0, 10.0, 10.0)
BOTH = pytest.mark.parametrize("voxel_size", [THICK, THIN])


# --- how bright pieces are ----------------------------------------------------------------------


def bright_dark_and_small():
    """Return pieces, EM and probability: cytoplasm, a mitochondrion, and a speck of either."""
    pieces = np.ones((4, 20, 40), np.int32)
    pieces[:, :, 28:] = 2
    pieces[0, :2, :4] = 3  # too small to tell
    em = np.where(pieces == 2, 0.2, 0.8).astype(np.float32)
    probability = np.ones(pieces.shape, np.float32)
    probability[:, :, 26:30], em[:, :, 26:30] = 0.0, 0.1
    return pieces, em, probability


def test_brightness_goes_from_membranes_to_cytoplasm():
    found = measure_brightness(*bright_dark_and_small(), 4)
    assert found.level[1] == pytest.approx(1) and found.level[2] == pytest.approx(1 / 7)
    assert np.isnan(found.level[[0, 3]]).all() and found.inside[3] == 8 < MIN_INTERIOR_VOXELS
    assert found.dark(0.3, MIN_INTERIOR_VOXELS).tolist() == [False, False, True, False]
    assert not found.dark(0.3, 1e6).any()
    assert found.difference(np.array([1, 1]), np.array([2, 3])) == pytest.approx([6 / 7, 0])


@given(st.floats(0.1, 5), st.floats(-3, 3))
@settings(deadline=None, max_examples=20)
def test_brightness_does_not_depend_on_contrast(gain, offset):
    pieces, em, probability = bright_dark_and_small()
    expected = measure_brightness(pieces, em, probability, 4).level
    found = measure_brightness(pieces, gain * em.astype(float) + offset, probability, 4).level
    assert np.allclose(found, expected, equal_nan=True)


def test_nothing_is_known_where_cytoplasm_is_no_brighter_than_membranes():
    pieces, em, probability = bright_dark_and_small()
    for image, seen in (
        (1 - em, probability),
        (0 * em, probability),
        (em, 0 * probability),
        (em, 0 * probability + 1),
    ):
        found = measure_brightness(pieces, image, seen, 4)
        assert np.isnan(found.level).all()
        assert not found.dark(0.3, 0).any()


# --- which neurite takes them in ----------------------------------------------------------------


def taken(dark, contacts, least=0.3, root=None):
    """Return what `hosts` joins, for contacts given as (piece, piece, weight)."""
    first, second, weight = zip(*contacts, strict=True)
    dark = np.isin(np.arange(10), dark)
    root = np.arange(10) if root is None else root
    joins, share = assign_mitochondria(
        dark, root, np.array([first, second]), np.array(weight, float), least
    )
    return [tuple(join) for join in joins.tolist()], share


def test_a_mitochondrion_goes_to_the_neurite_that_speaks_for_it_most():
    joins, share = taken([3], [(1, 3, 2.0), (2, 3, 5.0), (1, 2, 99.0)])
    assert joins == [(2, 3)]
    assert share == pytest.approx([5 / 7])


def test_all_contacts_with_one_neurite_speak_together():
    # 1 and 2 are one neurite already.
    root = np.arange(10)
    root[2] = 1
    joins, share = taken([5], [(1, 5, 2.0), (2, 5, 2.0), (4, 5, 3.0)], root=root)
    assert joins == [(1, 5)]
    assert share == pytest.approx([4 / 7])


def test_a_mitochondrion_that_nothing_clearly_speaks_for_stays_alone():
    contacts = [(1, 9, 1.0), (2, 9, 1.1), (3, 9, 1.0), (4, 9, 1.0)]
    assert taken([9], contacts)[0] == []
    assert taken([9], contacts, least=0.2)[0] == [(2, 9)]


def test_a_placed_mitochondrion_speaks_for_its_neurite_among_those_it_touches():
    # 6 touches 1 a little more than 2, but above all 5, which clearly is of 2.
    contacts = [(2, 5, 9.0), (5, 6, 6.0), (1, 6, 1.1), (2, 6, 1.0)]
    assert taken([5, 6], contacts)[0] == [(2, 5), (2, 6)]
    # Seen by nobody else, it comes along, too.
    assert taken([5, 6], [(2, 5, 9.0), (5, 6, 6.0)])[0] == [(2, 5), (2, 6)]


def test_dark_pieces_among_themselves_are_nobodys():
    assert taken([5, 6], [(5, 6, 3.0), (1, 2, 1.0)])[0] == []


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_no_mitochondrion_joins_two_neurites(seed, least):
    rng = np.random.default_rng(seed)
    pairs = np.sort(rng.integers(0, 30, (2, 80)), axis=0)
    pairs = pairs[:, pairs[0] != pairs[1]]
    dark, weight = rng.random(30) < 0.4, rng.random(pairs.shape[1])
    root = np.where(dark, np.arange(30), np.arange(30) // 3 * 3)
    root = np.where(dark[root] & ~dark, np.arange(30), root)
    joins, share = assign_mitochondria(dark, root, pairs, weight, least)
    assert not dark[joins[:, 0]].any() and dark[joins[:, 1]].all()
    assert len(np.unique(joins[:, 1])) == len(joins)
    assert ((share >= least) & (share <= 1 + 1e-9)).all()
    assert (
        assign_mitochondria(dark, root, pairs[:, ::-1], weight[::-1], least)[0].tolist()
        == joins.tolist()
    )


# --- in neurites --------------------------------------------------------------------------------


def beside_a_gap(voxel_size, of_the_left=True):
    """Two neurites, and a mitochondrion of one by the membrane between, which cannot be seen there.

    Towards its own neurite it has a rim, faint as they are.
    """
    pieces = np.ones((16, 40, 60), np.int32)
    pieces[:, :, 30:] = 2
    em, probability = np.full(pieces.shape, 0.8), np.ones(pieces.shape, np.float32)
    em[:, :, 28:32], probability[:, :, 28:32] = 0.1, 0.0
    columns = slice(15, 30) if of_the_left else slice(30, 45)
    mitochondrion = (slice(2, 14), slice(10, 30), columns)
    pieces[mitochondrion], em[mitochondrion], probability[mitochondrion] = 3, 0.15, 0.25
    within = slice(3, 13) if voxel_size == THIN else slice(2, 14)
    probability[within, 11:29, columns.start + 1 : columns.stop - 1] = 1.0
    probability[2:14, 10:30, 28:32] = 0.5
    if voxel_size == THICK:
        # There every section has pieces of its own.
        pieces += 3 * np.arange(16, dtype=np.int32)[:, None, None]
    return pieces, probability, em


@BOTH
@pytest.mark.parametrize("of_the_left", [True, False])
def test_a_mitochondrion_by_a_gap_belongs_to_the_neurite_around_it(voxel_size, of_the_left):
    pieces, probability, em = beside_a_gap(voxel_size, of_the_left)
    own, others = (2, -2) if of_the_left else (-2, 2)
    inside = 22 if of_the_left else 37
    blind = agglomerate(pieces, probability, voxel_size).labels[8]
    assert blind[20, inside] != blind[2, own]  # what is to be mended
    labels = agglomerate(pieces, probability, voxel_size, em=em).labels[8]
    assert labels[20, inside] == labels[2, own] != labels[2, others]


def test_a_join_of_a_mitochondrion_tells_its_reason_and_its_doubt():
    pieces, probability, em = beside_a_gap(THIN)
    stitched = agglomerate(pieces, probability, THIN, em=em)
    log = merge_log(stitched, pieces, THIN)
    (row,) = log[log["reason"] == "organelle"].itertuples()
    assert {row.piece_a, row.piece_b} == {1, 3} and row.strength == 0
    assert row.score == pytest.approx(stitched.mitochondrion_share[row.step], abs=1e-4)
    assert row.doubt == pytest.approx((1 - row.score) ** 2, abs=1e-3)
    # That there is a gap beside it is no sign that the neurites on either side are one.
    assert log["joined"].all()


def test_what_a_person_says_of_a_mitochondrion_holds():
    pieces, probability, em = beside_a_gap(THIN)
    told = np.array([0, 6, 7, 7])  # it is the other's
    neurite = agglomerate(pieces, probability, THIN, constraints=told, em=em).neurite_of
    assert neurite[3] == neurite[2] != neurite[1]


@BOTH
@pytest.mark.parametrize(("other", "n_neurites"), [(0.8, 1), (0.45, 2)])
def test_cytoplasm_that_differs_in_brightness_needs_less_of_a_membrane(
    voxel_size, other, n_neurites
):
    pieces = np.ones((1 if voxel_size == THICK else 8, 20, 40), np.int32)
    pieces[:, :, 20:] = 2
    em = np.where(pieces == 2, other, 0.8)
    probability = np.ones(pieces.shape, np.float32)
    probability[:, :, 18:22] = 0.38
    em[:, 0], probability[:, 0] = 0.1, 0.0  # somewhere there is a membrane to compare with
    found = agglomerate(pieces, probability, voxel_size, em=em).labels
    assert found.max() == n_neurites
