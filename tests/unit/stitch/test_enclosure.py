"""Which segments are enclosed by another, and which only seem to be."""

import numpy as np

from connectome.core.region_adjacency import face_contacts
from connectome.stitch.enclosure import find_enclosed, find_ends_reached, measure_open_surface

FACES = np.array([64.0, 240.0, 240.0])  # of voxels of 30 x 8 x 8 nm


def joins(labels, threshold=0.75, probability=0.0, threshold_inside=None):
    """Return (outer, inner) of all enclosed segments of a stack."""
    n = labels.max() + 1
    found = [face_contacts(labels, np.ones(labels.shape), (axis,), n) for axis in range(3)]
    area = np.concatenate([each.size * face for each, face in zip(found, FACES, strict=True)])
    return find_enclosed(
        np.concatenate([each.first for each in found]),
        np.concatenate([each.second for each in found]),
        area=area,
        probability=np.full(area.size, probability),
        volume=np.bincount(labels.ravel()) * (np.arange(n) > 0),
        open_area=measure_open_surface(labels, FACES, n),
        ends=find_ends_reached(labels, n),
        min_enclosure_at_end=threshold,
        min_enclosure_inside=threshold if threshold_inside is None else threshold_inside,
    ).tolist()


def within(inner, shape=(9, 20, 20)):
    """Return one segment with another inside it."""
    labels = np.ones(shape, np.int32)
    labels[inner] = 2
    return labels


def test_a_surrounded_segment_is_enclosed():
    assert joins(within(np.s_[3:6, 8:12, 8:12])) == [[1, 2]]


def test_a_segment_cut_by_one_end_of_the_stack_is_enclosed_if_enough_of_it_is_visible():
    assert joins(within(np.s_[:4, 8:12, 8:12])) == [[1, 2]]
    assert joins(within(np.s_[:1, 2:18, 2:18])) == []


def test_a_segment_that_crosses_the_stack_is_not_enclosed():
    for through in (np.s_[:, 8:12, 8:12], np.s_[3:6, :, 8:12], np.s_[3:6, 8:12, :]):
        assert joins(within(through), threshold=0.1) == []


def test_a_border_that_moves_between_sections_is_not_an_end_of_the_stack():
    labels = within(np.s_[2:7, 8:12, :5])
    labels[::2, :, :1] = 0
    assert joins(labels, threshold=0.7) == [[1, 2]]
    labels[:, 8:12, 5:] = 2  # from border to border
    assert joins(labels, threshold=0.1) == []


def test_the_threshold_is_lower_for_segments_that_reach_no_end():
    labels = within(np.s_[3:6, 8:12, 8:12])
    labels[:, :, 12:] = 3  # shares a third of the surface
    assert joins(labels, threshold=0.9) == []
    assert joins(labels, threshold=0.9, threshold_inside=0.5) == [[1, 2]]
    labels[:6, 8:12, 8:12] = 2  # up to the first section
    assert joins(labels, threshold=0.9, threshold_inside=0.5) == []


def test_a_boundary_that_looks_like_cytoplasm_lowers_the_share_needed():
    labels = within(np.s_[:1, 2:18, 2:18])  # a third of its surface is open
    assert joins(labels, threshold=0.7) == []
    assert joins(labels, threshold=0.7, probability=0.5) == [[1, 2]]


def test_a_segment_between_two_neurites_is_not_enclosed():
    labels = within(np.s_[3:6, 8:12, 8:12])
    labels[:, :, 10:][labels[:, :, 10:] == 1] = 3
    assert joins(labels) == []


def test_background_does_not_enclose():
    labels = within(np.s_[3:6, 8:12, 8:12])
    labels[:, 12:] = 0
    assert joins(labels, threshold=0.9) == []


def test_nested_segments_are_joined_from_the_innermost_out():
    labels = within(np.s_[1:8, 4:16, 4:16])
    labels[3:6, 8:12, 8:12] = 3
    assert joins(labels) == [[2, 3], [1, 2]]


def test_the_neurite_with_the_larger_share_encloses():
    labels = within(np.s_[3:6, 8:12, 8:12])
    labels[:, :, 11:][labels[:, :, 11:] == 1] = 3
    assert joins(labels, threshold=0.2) == [[1, 2]]


def test_the_whole_surface_of_a_single_block_is_open():
    labels = np.zeros((4, 5, 6), np.int32)
    labels[:2, 1:3, 2:6] = 1
    expected = 2 * (2 * 4 * FACES[0] + 2 * 4 * FACES[1] + 2 * 2 * FACES[2])
    assert np.array_equal(measure_open_surface(labels, FACES, 2), [0, expected])


def test_ends_are_those_of_the_stack_and_of_the_imaged_area_within_sections():
    labels = np.zeros((4, 5, 6), np.int32)
    labels[:2, 1:3, :2], labels[:2, 1:3, 2:4] = 1, 2
    reached = find_ends_reached(labels, 3)
    assert reached[..., 1].tolist() == [[True, False], [True, True], [True, False]]
    assert reached[..., 2].tolist() == [[True, False], [True, True], [False, True]]
    assert not reached[..., 0].any()
