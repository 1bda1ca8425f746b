"""Arrays are stored with their voxel size, origin and source."""

import json
import re

import numpy as np
import pytest

from connectome.core.errors import DataError
from connectome.core.volume import Volume
from connectome.io import paths
from connectome.io.volumes import read_volume, write_volume

SIZE = (30.0, 8.0, 8.0)
LABELS = Volume(np.arange(24, dtype=np.int32).reshape(2, 3, 4), SIZE, (5, 6, 7), "em.tif")


@pytest.fixture
def written(tmp_path):
    path = tmp_path / paths.LABELS
    write_volume(path, LABELS)
    return path


def test_an_array_is_read_with_its_voxel_size_origin_and_source(written):
    volume = read_volume(written)
    np.testing.assert_array_equal(volume.data, LABELS.data)
    assert volume.data.dtype == np.int32
    assert (volume.voxel_size, volume.origin, volume.source) == (SIZE, (5, 6, 7), "em.tif")


def test_the_metadata_is_json_beside_the_array(written):
    assert json.loads(written.with_suffix(".json").read_text()) == {
        "axes": "ZYX",
        "shape": [2, 3, 4],
        "dtype": "int32",
        "voxel_size_nm": [30.0, 8.0, 8.0],
        "origin": [5, 6, 7],
        "source": "em.tif",
    }


def test_the_error_for_a_missing_array_explains_how_to_make_it(tmp_path):
    with pytest.raises(DataError, match=r"(?s)there is no .*x\.npy.*--save_minimal"):
        read_volume(tmp_path / "x.npy")


def test_a_voxel_size_is_never_assumed(written):
    written.with_suffix(".json").unlink()
    with pytest.raises(DataError, match=r"has no neurite_labels_i32_zyx\.json") as raised:
        read_volume(written)
    assert str(written.with_suffix(".json")) in raised.value.remedy


def test_the_remedy_for_a_missing_sidecar_works(written):
    sidecar = written.with_suffix(".json")
    sidecar.unlink()
    with pytest.raises(DataError) as raised:
        read_volume(written)
    typed = re.search(r"write (\{.*\}) to", raised.value.remedy)[1].replace("Z, Y, X", "30, 8, 8")
    sidecar.write_text(typed)
    assert read_volume(written).voxel_size == SIZE


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "{}", '{"voxel_size_nm": null}', '{"voxel_size_nm": "8"}'),
        *('{"voxel_size_nm": [30, 8]}', '{"voxel_size_nm": [30, 8, 8], "origin": null}'),
        '{"voxel_size_nm": [30, 8, 8], "shape": [2, 3, 5]}',
    ],
)
def test_an_invalid_sidecar_is_a_data_error(written, text):
    written.with_suffix(".json").write_text(text)
    with pytest.raises(DataError):
        read_volume(written)


@pytest.mark.parametrize("kept", [0, 5, 100, 150])
def test_a_damaged_array_is_a_data_error_that_names_it(written, kept):
    written.write_bytes(written.read_bytes()[:kept])
    with pytest.raises(DataError, match=str(written)):
        read_volume(written)


def test_pickled_objects_are_not_loaded(written):
    np.save(written, np.array([[[{}]]], object), allow_pickle=True)
    with pytest.raises(DataError):
        read_volume(written)
