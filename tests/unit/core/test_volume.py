"""Volumes, and the conversion of lengths to pixels."""

import json
import re

import numpy as np
import pytest

from connectome.core.errors import DataError
from connectome.core.volume import Volume, in_plane_px, nearest_sound_sections

SIZE = (30.0, 8.0, 4.0)
DATA = np.zeros((2, 3, 5), np.uint8)


def test_the_field_of_view_is_in_micrometres_z_first():
    assert Volume(np.zeros((10, 250, 500)), SIZE).field_of_view_um == pytest.approx((0.3, 2, 2))


@pytest.mark.parametrize("shape", [(3, 5), (1, 2, 3, 4), (0, 3, 5), (2, 0, 5), ()])
def test_an_array_that_is_not_3d_is_refused_with_its_shape(shape):
    with pytest.raises(DataError, match=re.escape(str(shape))):
        Volume(np.zeros(shape), SIZE)


@pytest.mark.parametrize(
    "size", [(30, 8), (30, 8, 0), (30, 8, -4), (30, 8, np.nan), (30, 8, np.inf), (30, 8, 4, 4), ()]
)
def test_an_invalid_voxel_size_is_refused_with_the_flag_that_sets_it(size):
    with pytest.raises(DataError, match="--voxel_size Z Y X"):
        Volume(DATA, size)


def test_voxel_size_and_origin_can_be_written_as_json():
    volume = Volume(DATA, np.array(SIZE, np.float32), np.array([1, 2, 3], np.int64))
    assert json.dumps([volume.voxel_size, volume.origin]) == "[[30.0, 8.0, 4.0], [1, 2, 3]]"


def test_other_data_keep_voxel_size_origin_and_source():
    volume = Volume(DATA, SIZE, (7, 8, 9), "em.tif")
    other = volume.with_data(DATA + 1.5)
    assert (other.voxel_size, other.origin, other.source) == (SIZE, (7, 8, 9), "em.tif")
    assert other.data.max() == 1.5


def test_data_of_another_shape_are_refused_with_both_shapes():
    with pytest.raises(DataError, match=r"\(2, 3, 4\).*\(2, 3, 5\)"):
        Volume(DATA, SIZE).with_data(DATA[..., 1:])


def test_lengths_are_converted_to_pixels_along_y_and_x():
    np.testing.assert_array_equal(in_plane_px(24, SIZE), (3, 6))


def test_the_sound_sections_nearest_to_a_damaged_one():
    assert nearest_sound_sections(3, [0, 2, 5, 7]) == (2, 5)
    assert nearest_sound_sections(0, [1, 4]) == (1, 1)
    assert nearest_sound_sections(9, [1, 4]) == (4, 4)
