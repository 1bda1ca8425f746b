"""Contacts of regions, compared with a slow sum over pairs of voxels."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.core.region_adjacency import (
    Contacts,
    boundary_faces,
    face_contacts,
    neighbour_slices,
    pair_keys,
    section_overlaps,
)

N = 6


@st.composite
def stacks(draw):
    """Return labels below N, including 0, and a probability for every voxel."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.integers(0, draw(st.integers(1, N)), shape).astype(np.int32)
    return labels, rng.random(shape, np.float32)


def slow_contacts(pairs, labels, probability):
    """Return a row per pair of regions from pairs of voxels (a, b)."""
    touching = defaultdict(list)
    for a, b in pairs:
        i, j = sorted((int(labels[a]), int(labels[b])))
        if 0 < i < j:
            touching[i, j].append([min(probability[a], probability[b]), *np.add(a, b) / 2])
    return {key: [len(rows), *np.mean(rows, axis=0)] for key, rows in touching.items()}


def rows(contacts):
    columns = (
        contacts.first,
        contacts.second,
        contacts.size,
        contacts.probability,
        contacts.position,
    )
    return {(i, j): [n, p, *position] for i, j, n, p, position in zip(*columns, strict=True)}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        np.testing.assert_allclose(found[key], row, rtol=1e-5)


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
@given(stack=stacks())
@settings(max_examples=30)
def test_face_contacts_agree_with_the_sum_over_neighbouring_voxels(axes, stack):
    labels, probability = stack
    steps = [tuple(int(i == axis) for i in range(3)) for axis in axes]
    pairs = [
        (at, to)
        for at in np.ndindex(labels.shape)
        for to in (tuple(np.add(at, step).tolist()) for step in steps)
        if all(i < n for i, n in zip(to, labels.shape, strict=True))
    ]
    found = face_contacts(labels, probability, axes, N)
    assert_same(rows(found), slow_contacts(pairs, labels, probability))


@given(stack=stacks(), data=st.data())
@settings(max_examples=30)
def test_section_overlaps_agree_with_the_sum_over_voxels(stack, data):
    labels, probability = stack
    below, above = data.draw(st.tuples(*[st.integers(0, len(labels) - 1)] * 2))
    pairs = [((below, *at), (above, *at)) for at in np.ndindex(labels.shape[1:])]
    found = section_overlaps(labels, probability, below, above, N)
    assert_same(rows(found), slow_contacts(pairs, labels, probability))


@given(stacks())
def test_a_region_is_not_in_contact_with_itself_or_the_background(stack):
    contacts = face_contacts(*stack, (0, 1, 2), N)
    assert (contacts.first > 0).all() and (contacts.first < contacts.second).all()


def test_the_lower_probability_of_a_pair_of_voxels_counts():
    labels = np.array([[[1, 2]]])
    contacts = face_contacts(labels, np.array([[[0.9, 0.25]]]), (2,), 3)
    assert contacts.probability.tolist() == [0.25]
    assert contacts.size.tolist() == [1] and contacts.position.tolist() == [[0, 0, 0.5]]


def test_tables_are_concatenated():
    a = Contacts(np.array([1]), np.array([2]), np.array([3]), np.array([0.5]), np.zeros((1, 3)))
    b = Contacts(np.array([4]), np.array([5]), np.array([6]), np.array([0.7]), np.ones((1, 3)))
    assert rows(Contacts.concatenate([a, b])) == rows(a) | rows(b)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1))
def test_pair_keys_do_not_depend_on_the_order(pairs):
    first, second = np.array(pairs, np.int32).T
    keys = pair_keys(first, second, 100)
    assert np.array_equal(keys, pair_keys(second, first, 100))
    assert [set(pair) for pair in pairs] == [set(divmod(int(key), 100)) for key in keys]


def test_pair_keys_do_not_overflow():
    n = 2_000_000
    key = pair_keys(np.array([n - 1], np.int32), np.array([n - 2], np.int32), n)
    assert divmod(int(key[0]), n) == (n - 2, n - 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbour_slices_are_one_voxel_apart(axis):
    positions = np.moveaxis(np.indices((3, 4, 5)), 0, -1)
    a, b = neighbour_slices(axis)
    assert (positions[b] - positions[a] == np.eye(3, dtype=int)[axis]).all()
    assert positions[a].size == positions.size // (3, 4, 5)[axis] * ((3, 4, 5)[axis] - 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
@given(stack=stacks())
def test_boundary_faces_lie_between_voxels_of_two_regions(axis, stack):
    labels, _ = stack
    low, high = neighbour_slices(axis)
    indices = np.arange(labels.size).reshape(labels.shape)
    a, b = labels[low], labels[high]
    is_boundary = (a != b) & (a > 0) & (b > 0)
    lower, upper = boundary_faces(labels, axis)
    assert np.array_equal(lower, indices[low][is_boundary])
    assert np.array_equal(upper, indices[high][is_boundary])
