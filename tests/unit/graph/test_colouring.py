"""Neurites that lie near each other never share a colour."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from connectome.graph.colouring import colour_neurites


def touching_share_a_colour(plane, colour):
    """Return whether two touching neurites look alike: pixel by pixel, slowly."""
    rows, columns = plane.shape
    for y in range(rows):
        for x in range(columns):
            for v, u in ((y + 1, x), (y, x + 1)):
                if v < rows and u < columns and plane[y, x] and plane[v, u]:
                    same = plane[y, x] == plane[v, u]
                    if same != (colour[y, x] == colour[v, u]):
                        return True
    return False


@given(arrays(np.int32, (5, 7), elements=st.integers(0, 6)))
def test_six_neurites_and_seven_colours_never_clash(plane):
    (colour,) = colour_neurites([plane], (30, 30, 30), 7)
    assert not touching_share_a_colour(plane, colour)
    assert np.array_equal(colour < 0, plane == 0)


def test_neurites_parted_by_membrane_differ():
    plane = np.zeros((8, 20), np.int32)
    plane[:, :8], plane[:, 12:] = 3, 10  # both prefer colour 3 of 7; 4 px of 8 nm between them
    (colour,) = colour_neurites([plane], (30, 8, 8), 7)
    assert colour[0, 0] != colour[0, -1]


def test_a_neurite_has_one_colour_in_both_views():
    labels = np.random.default_rng(0).integers(1, 40, (9, 12, 12)).repeat(4, axis=2)
    xy, xz = labels[4], labels[:, 6]
    colours = colour_neurites([xy, xz], (30, 8, 8), 7)
    for ident in np.intersect1d(xy, xz):
        both = np.concatenate([c[p == ident] for c, p in zip(colours, (xy, xz), strict=True)])
        assert len(np.unique(both)) == 1


@pytest.mark.parametrize("name", ["fib25", "isbi"])
def test_touching_neurites_of_real_tissue_differ(name, shared_data):
    with np.load(shared_data / f"{name}_dev.npz") as file:
        labels, voxel_size = file["labels"], tuple(file["voxel_size_nm_zyx"])
    planes = [labels[len(labels) // 2], labels[:, labels.shape[1] // 2]]
    colours = colour_neurites(planes, voxel_size, 7)
    for plane, colour in zip(planes, colours, strict=True):
        assert not touching_share_a_colour(plane, colour)
