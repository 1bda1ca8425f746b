"""What lies within another region, and what only seems to."""

import numpy as np

from connectome.contacts import touching
from connectome.enclosure import enclosed, open_faces

FACES = np.array([64.0, 240.0, 240.0])  # of voxels of 30 x 8 x 8 nm


def joins(labels, least_share=0.75):
    """Return (outer, inner) of all that is enclosed in a stack of regions."""
    n = labels.max() + 1
    found = [touching(labels, np.ones(labels.shape), (axis,), n) for axis in range(3)]
    return enclosed(
        np.bincount(labels.ravel()) * (np.arange(n) > 0),
        np.concatenate([each.first for each in found]),
        np.concatenate([each.second for each in found]),
        np.concatenate([each.size * area for each, area in zip(found, FACES, strict=True)]),
        open_faces(labels, FACES, n),
        least_share,
    ).tolist()


def within(inner, shape=(9, 20, 20)):
    """Return one region with another inside it."""
    labels = np.ones(shape, np.int32)
    labels[inner] = 2
    return labels


def test_what_is_surrounded_is_enclosed():
    assert joins(within(np.s_[3:6, 8:12, 8:12])) == [[1, 2]]


def test_what_the_stack_cuts_off_at_one_end_is_enclosed_if_enough_of_it_shows():
    assert joins(within(np.s_[:4, 8:12, 8:12])) == [[1, 2]]
    assert joins(within(np.s_[:1, 2:18, 2:18])) == []


def test_what_passes_through_the_stack_is_a_neurite_of_its_own():
    for through in (np.s_[:, 8:12, 8:12], np.s_[3:6, :, 8:12], np.s_[3:6, 8:12, :]):
        assert joins(within(through), least_share=0.1) == []


def test_what_touches_two_neurites_alike_is_not_enclosed():
    labels = within(np.s_[3:6, 8:12, 8:12])
    labels[:, :, 10:][labels[:, :, 10:] == 1] = 3
    assert joins(labels) == []


def test_what_is_not_imaged_counts_as_not_enclosing():
    labels = within(np.s_[3:6, 8:12, 8:12])
    labels[:, 12:] = 0
    assert joins(labels, least_share=0.9) == []


def test_nested_regions_are_joined_from_the_innermost_out():
    labels = within(np.s_[1:8, 4:16, 4:16])
    labels[3:6, 8:12, 8:12] = 3
    assert joins(labels) == [[2, 3], [1, 2]]


def test_open_faces_are_all_those_of_a_block_that_is_all_there_is():
    labels = np.zeros((4, 5, 6), np.int32)
    labels[:2, 1:3, 2:6] = 1
    faces = open_faces(labels, FACES, 2)
    assert (faces[..., 0] == 0).all()
    expected = np.array([[2 * 4, 2 * 4], [2 * 4, 2 * 4], [2 * 2, 2 * 2]]) * FACES[:, None]
    assert np.array_equal(faces[..., 1], expected)
