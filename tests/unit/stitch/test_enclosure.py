"""What lies within another region, and what only seems to."""

import numpy as np

from connectome.core.region_adjacency import face_contacts
from connectome.stitch.enclosure import find_enclosed, find_ends_reached, measure_open_surface

FACES = np.array([64.0, 240.0, 240.0])  # of voxels of 30 x 8 x 8 nm


def joins(labels, least=0.75, probability=0.0, closed=None):
    """Return (outer, inner) of all that is enclosed in a stack of regions."""
    n = labels.max() + 1
    found = [face_contacts(labels, np.ones(labels.shape), (axis,), n) for axis in range(3)]
    pairs = np.concatenate([(each.first, each.second) for each in found], axis=1)
    return find_enclosed(
        np.bincount(labels.ravel()) * (np.arange(n) > 0),
        pairs,
        np.concatenate([each.size * area for each, area in zip(found, FACES, strict=True)]),
        np.full(pairs.shape[1], probability),
        measure_open_surface(labels, FACES, n),
        find_ends_reached(labels, n),
        (least, least if closed is None else closed),
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
        assert joins(within(through), least=0.1) == []


def test_a_border_that_moves_from_section_to_section_is_no_end_to_pass_through():
    labels = within(np.s_[2:7, 8:12, :5])
    labels[::2, :, :1] = 0
    assert joins(labels, least=0.7) == [[1, 2]]
    labels[:, 8:12, 5:] = 2  # from border to border
    assert joins(labels, least=0.1) == []


def test_what_reaches_no_end_of_the_stack_need_be_surrounded_less():
    labels = within(np.s_[3:6, 8:12, 8:12])
    labels[:, :, 12:] = 3  # a third of its surface is a third one's
    assert joins(labels, least=0.9) == []
    assert joins(labels, least=0.9, closed=0.5) == [[1, 2]]
    labels[:6, 8:12, 8:12] = 2  # up to the first section
    assert joins(labels, least=0.9, closed=0.5) == []


def test_a_boundary_that_looks_like_cytoplasm_need_surround_less():
    labels = within(np.s_[:1, 2:18, 2:18])  # a third of it shows at the end of the stack
    assert joins(labels, least=0.7) == []
    assert joins(labels, least=0.7, probability=0.5) == [[1, 2]]


def test_what_touches_two_neurites_alike_is_not_enclosed():
    labels = within(np.s_[3:6, 8:12, 8:12])
    labels[:, :, 10:][labels[:, :, 10:] == 1] = 3
    assert joins(labels) == []


def test_what_is_not_imaged_counts_as_not_enclosing():
    labels = within(np.s_[3:6, 8:12, 8:12])
    labels[:, 12:] = 0
    assert joins(labels, least=0.9) == []


def test_nested_regions_are_joined_from_the_innermost_out():
    labels = within(np.s_[1:8, 4:16, 4:16])
    labels[3:6, 8:12, 8:12] = 3
    assert joins(labels) == [[2, 3], [1, 2]]


def test_of_two_that_share_what_is_left_the_larger_share_counts():
    labels = within(np.s_[3:6, 8:12, 8:12])
    labels[:, :, 11:][labels[:, :, 11:] == 1] = 3
    assert joins(labels, least=0.2) == [[1, 2]]


def test_the_open_surface_is_all_of_a_block_that_is_all_there_is():
    labels = np.zeros((4, 5, 6), np.int32)
    labels[:2, 1:3, 2:6] = 1
    expected = 2 * (2 * 4 * FACES[0] + 2 * 4 * FACES[1] + 2 * 2 * FACES[2])
    assert np.array_equal(measure_open_surface(labels, FACES, 2), [0, expected])


def test_ends_are_those_of_the_stack_and_within_sections_of_what_was_imaged():
    labels = np.zeros((4, 5, 6), np.int32)
    labels[:2, 1:3, :2], labels[:2, 1:3, 2:4] = 1, 2
    reached = find_ends_reached(labels, 3)
    assert reached[..., 1].tolist() == [[True, False], [True, True], [True, False]]
    assert reached[..., 2].tolist() == [[True, False], [True, True], [False, True]]
    assert not reached[..., 0].any()
