"""Mitochondria are recognised by their brightness and never join two neurites."""

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


# --- brightness ---------------------------------------------------------------------------


def bright_dark_and_small():
    """Return supervoxels, EM and probability: cytoplasm, a mitochondrion and a small object."""
    supervoxels = np.ones((4, 20, 40), np.int32)
    supervoxels[:, :, 28:] = 2
    supervoxels[0, :2, :4] = 3  # too small to measure
    em = np.where(supervoxels == 2, 0.2, 0.8).astype(np.float32)
    probability = np.ones(supervoxels.shape, np.float32)
    probability[:, :, 26:30], em[:, :, 26:30] = 0.0, 0.1
    return supervoxels, em, probability


def test_brightness_goes_from_membranes_to_cytoplasm():
    found = measure_brightness(*bright_dark_and_small(), 4)
    assert found.level[1] == pytest.approx(1) and found.level[2] == pytest.approx(1 / 7)
    assert np.isnan(found.level[[0, 3]]).all() and found.n_voxels[3] == 8 < MIN_INTERIOR_VOXELS
    assert found.find_dark(0.3, MIN_INTERIOR_VOXELS).tolist() == [False, False, True, False]
    assert not found.find_dark(0.3, 1e6).any()
    assert found.difference(np.array([1, 1]), np.array([2, 3])) == pytest.approx([6 / 7, 0])


@given(st.floats(0.1, 5), st.floats(-3, 3))
@settings(deadline=None, max_examples=20)
def test_brightness_does_not_depend_on_contrast(gain, offset):
    supervoxels, em, probability = bright_dark_and_small()
    expected = measure_brightness(supervoxels, em, probability, 4).level
    found = measure_brightness(supervoxels, gain * em.astype(float) + offset, probability, 4).level
    assert np.allclose(found, expected, equal_nan=True)


def test_brightness_is_unknown_where_cytoplasm_is_no_brighter_than_membranes():
    supervoxels, em, probability = bright_dark_and_small()
    for image, seen in (
        (1 - em, probability),
        (0 * em, probability),
        (em, 0 * probability),
        (em, 0 * probability + 1),
    ):
        found = measure_brightness(supervoxels, image, seen, 4)
        assert np.isnan(found.level).all()
        assert not found.find_dark(0.3, 0).any()


# --- assignment to neurites ---------------------------------------------------------------------


def assign(mitochondria, contacts, min_fraction=0.3, root=None):
    """Assign mitochondria, for contacts given as (supervoxel, supervoxel, weight)."""
    first, second, weight = zip(*contacts, strict=True)
    joins, fraction = assign_mitochondria(
        np.isin(np.arange(10), mitochondria),
        np.arange(10) if root is None else root,
        first=np.array(first),
        second=np.array(second),
        weight=np.array(weight, float),
        min_fraction=min_fraction,
    )
    return [tuple(join) for join in joins.tolist()], fraction


def test_a_mitochondrion_is_assigned_to_the_neurite_of_largest_contact_weight():
    joins, fraction = assign([3], [(1, 3, 2.0), (2, 3, 5.0), (1, 2, 99.0)])
    assert joins == [(2, 3)]
    assert fraction == pytest.approx([5 / 7])


def test_all_contacts_with_one_neurite_are_added_up():
    # 1 and 2 are one neurite already.
    root = np.arange(10)
    root[2] = 1
    joins, fraction = assign([5], [(1, 5, 2.0), (2, 5, 2.0), (4, 5, 3.0)], root=root)
    assert joins == [(1, 5)]
    assert fraction == pytest.approx([4 / 7])


def test_a_mitochondrion_without_a_clear_host_is_not_assigned():
    contacts = [(1, 9, 1.0), (2, 9, 1.1), (3, 9, 1.0), (4, 9, 1.0)]
    assert assign([9], contacts)[0] == []
    assert assign([9], contacts, min_fraction=0.2)[0] == [(2, 9)]


def test_contacts_with_an_assigned_mitochondrion_count_for_its_neurite():
    # 6 touches 1 a little more than 2, but 5 most of all, which clearly belongs to 2.
    contacts = [(2, 5, 9.0), (5, 6, 6.0), (1, 6, 1.1), (2, 6, 1.0)]
    assert assign([5, 6], contacts)[0] == [(2, 5), (2, 6)]
    # The same without any contact with a neurite.
    assert assign([5, 6], [(2, 5, 9.0), (5, 6, 6.0)])[0] == [(2, 5), (2, 6)]


def test_mitochondria_that_touch_no_neurite_are_not_assigned():
    assert assign([5, 6], [(5, 6, 3.0), (1, 2, 1.0)])[0] == []


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_no_mitochondrion_joins_two_neurites(seed, min_fraction):
    rng = np.random.default_rng(seed)
    pairs = np.sort(rng.integers(0, 30, (2, 80)), axis=0)
    first, second = pairs[:, pairs[0] != pairs[1]]
    dark, weight = rng.random(30) < 0.4, rng.random(first.size)
    root = np.where(dark, np.arange(30), np.arange(30) // 3 * 3)
    root = np.where(dark[root] & ~dark, np.arange(30), root)
    joins, fraction = assign_mitochondria(
        dark, root, first=first, second=second, weight=weight, min_fraction=min_fraction
    )
    assert not dark[joins[:, 0]].any() and dark[joins[:, 1]].all()
    assert len(np.unique(joins[:, 1])) == len(joins)
    assert ((fraction >= min_fraction) & (fraction <= 1 + 1e-9)).all()
    again, _ = assign_mitochondria(
        dark,
        root,
        first=first[::-1],
        second=second[::-1],
        weight=weight[::-1],
        min_fraction=min_fraction,
    )
    assert again.tolist() == joins.tolist()


# --- in agglomeration --------------------------------------------------------------------------


def beside_a_gap(voxel_size, of_the_left=True):
    """Return two neurites, and a mitochondrion of one at a gap in the membrane between them.

    It has a faint membrane towards its own neurite.
    """
    supervoxels = np.ones((16, 40, 60), np.int32)
    supervoxels[:, :, 30:] = 2
    em, probability = np.full(supervoxels.shape, 0.8), np.ones(supervoxels.shape, np.float32)
    em[:, :, 28:32], probability[:, :, 28:32] = 0.1, 0.0
    columns = slice(15, 30) if of_the_left else slice(30, 45)
    mitochondrion = (slice(2, 14), slice(10, 30), columns)
    supervoxels[mitochondrion], em[mitochondrion], probability[mitochondrion] = 3, 0.15, 0.25
    within = slice(3, 13) if voxel_size == THIN else slice(2, 14)
    probability[within, 11:29, columns.start + 1 : columns.stop - 1] = 1.0
    probability[2:14, 10:30, 28:32] = 0.5
    if voxel_size == THICK:
        # Every thick section has supervoxels of its own.
        supervoxels += 3 * np.arange(16, dtype=np.int32)[:, None, None]
    return supervoxels, probability, em


@BOTH
@pytest.mark.parametrize("of_the_left", [True, False])
def test_a_mitochondrion_at_a_gap_belongs_to_the_neurite_around_it(voxel_size, of_the_left):
    supervoxels, probability, em = beside_a_gap(voxel_size, of_the_left)
    own, others = (2, -2) if of_the_left else (-2, 2)
    inside = 22 if of_the_left else 37
    blind = agglomerate(supervoxels, probability, voxel_size=voxel_size).labels[8]
    assert blind[20, inside] != blind[2, own]  # the error without brightness
    labels = agglomerate(supervoxels, probability, voxel_size=voxel_size, em=em).labels[8]
    assert labels[20, inside] == labels[2, own] != labels[2, others]


def test_the_merge_log_gives_reason_and_doubt_of_a_mitochondrion():
    supervoxels, probability, em = beside_a_gap(THIN)
    result = agglomerate(supervoxels, probability, voxel_size=THIN, em=em)
    log = merge_log(result, supervoxels, THIN)
    (row,) = log[log["reason"] == "organelle"].itertuples()
    assert {row.piece_a, row.piece_b} == {1, 3} and row.strength == 0
    assert row.score == pytest.approx(result.host_fraction[row.step], abs=1e-4)
    assert row.doubt == pytest.approx((1 - row.score) ** 2, abs=1e-3)
    # The gap beside it does not make the two neurites a candidate pair.
    assert log["joined"].all()


def test_constraints_on_a_mitochondrion_hold():
    supervoxels, probability, em = beside_a_gap(THIN)
    constraints = np.array([0, 6, 7, 7])  # it belongs to the other neurite
    neurite = agglomerate(
        supervoxels, probability, voxel_size=THIN, constraints=constraints, em=em
    ).neurite_of
    assert neurite[3] == neurite[2] != neurite[1]


@BOTH
@pytest.mark.parametrize(("other", "n_neurites"), [(0.8, 1), (0.45, 2)])
def test_a_difference_in_brightness_counts_against_a_join(voxel_size, other, n_neurites):
    supervoxels = np.ones((1 if voxel_size == THICK else 8, 20, 40), np.int32)
    supervoxels[:, :, 20:] = 2
    em = np.where(supervoxels == 2, other, 0.8)
    probability = np.ones(supervoxels.shape, np.float32)
    probability[:, :, 18:22] = 0.38
    em[:, 0], probability[:, 0] = 0.1, 0.0  # a membrane to compare with
    found = agglomerate(supervoxels, probability, voxel_size=voxel_size, em=em).labels
    assert found.max() == n_neurites
