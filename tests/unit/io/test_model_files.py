"""Models are read as they were written, and nothing else is read."""

import io
import pickle
import re
import zipfile

import numpy as np
import pytest

from connectome.core.errors import DataError, UsageError
from connectome.io.model_files import (
    MAX_VOXEL_SIZE_RATIO,
    METADATA_KEY,
    check_model,
    read_model,
    write_model,
)

META_RF = {"kind": "rf", "features": ["grey", "edge"], "voxel_size_nm": [30.0, 8.0, 8.0]}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "models" / "rf_1.npz"
    write_model(path, META_RF, {"weights": np.arange(500.0), "roots": np.arange(3)})
    return path


def test_a_model_is_read_as_it_was_written(path):
    meta, arrays = read_model(path, "rf")
    assert meta == META_RF
    assert set(arrays) == {"weights", "roots"}
    assert np.array_equal(arrays["weights"], np.arange(500.0))
    assert arrays["roots"].dtype == np.arange(3).dtype


def test_a_missing_model_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no model"):
        read_model(tmp_path / "none.npz", "rf")


def test_a_model_of_another_kind_is_refused(path):
    with pytest.raises(DataError, match="kind rf, not unet") as refused:
        read_model(path, "unet")
    assert refused.value.remedy == "unet_*.npz of runs/models/"


class Trap:
    """An object whose unpickling leaves a trace."""

    executed = False

    def __reduce__(self):
        return (setattr, (Trap, "executed", True))


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def array(content) -> bytes:
    file = io.BytesIO()
    np.save(file, content, allow_pickle=True)
    return file.getvalue()


TRAP = np.array([Trap()], dtype=object)
INVALID_FILES = {
    "a pickle": pickle.dumps(Trap()),
    "a pickle among arrays": zipped(**{METADATA_KEY: array(TRAP)}),
    "an array alone": array(np.arange(3)),
    "text": b"not a model",
    "empty": b"",
    "an archive of other arrays": zipped(weights=array(np.arange(3))),
    "a description that is not JSON": zipped(
        **{METADATA_KEY: array(np.frombuffer(b"{", np.uint8))}
    ),
    "a description that is a list": zipped(**{METADATA_KEY: array(np.frombuffer(b"[]", np.uint8))}),
    "a description without a kind": zipped(**{METADATA_KEY: array(np.frombuffer(b"{}", np.uint8))}),
    "a description with NaN": zipped(
        **{METADATA_KEY: array(np.frombuffer(b'{"kind": "rf", "trust": NaN}', np.uint8))}
    ),
    "a description nested too deeply": zipped(
        **{METADATA_KEY: array(np.frombuffer(b"[" * 100_000, np.uint8))}
    ),
    "a description that is not UTF-8": zipped(
        **{METADATA_KEY: array(np.frombuffer(b"\xff", np.uint8))}
    ),
}


@pytest.mark.parametrize("content", INVALID_FILES.values(), ids=INVALID_FILES)
def test_an_invalid_file_is_refused_and_nothing_in_it_is_executed(tmp_path, content):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a model of this program") as refused:
        read_model(path, "rf")
    assert not Trap.executed
    assert "by another program" in str(refused.value) or "pickle or no .npz" in str(refused.value)
    # The message neither explains how to load pickles nor quotes exceptions of Python.
    assert not re.search("allow_pickle|protocol|Error", str(refused.value))
    assert refused.value.remedy


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_a_truncated_model_is_refused(path, fraction):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(DataError):
        read_model(path, "rf")


def test_a_model_with_flipped_bits_is_refused(path):
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(255 - byte for byte in content[middle : middle + 40])
    path.write_bytes(content)
    with pytest.raises(DataError):
        read_model(path, "rf")


def check(features=("grey", "edge"), voxel_size=(30.0, 8.0, 8.0), meta=META_RF):
    check_model(meta, list(features), voxel_size, "rf_1.npz")


def test_a_model_is_accepted_at_voxel_sizes_near_that_of_its_training():
    check()
    check(voxel_size=(30 * MAX_VOXEL_SIZE_RATIO, 8 / MAX_VOXEL_SIZE_RATIO, 8))


@pytest.mark.parametrize("voxel_size", [(50.0, 8, 8), (30, 4, 8), (30, 8, 12.1), (19.9, 8, 8)])
def test_a_model_of_another_voxel_size_is_refused_with_both_sizes(voxel_size):
    with pytest.raises(DataError, match=r"trained at 30 x 8 x 8 nm.*\d+ x .* x \d+"):
        check(voxel_size=voxel_size)


@pytest.mark.parametrize(
    ("features", "difference"),
    [
        (["grey"], "only the model has edge"),
        (["edge", "grey"], "the same, in another order or number"),
        (["grey", "edge", "sheet"], "only this stack has sheet"),
        (["sheet", "edge"], "only the model has grey; only this stack has sheet"),
    ],
)
def test_a_model_of_other_features_is_refused_with_the_difference(features, difference):
    with pytest.raises(DataError, match="other features than") as refused:
        check(features)
    assert refused.value.consequence.removeprefix("they are ") == difference


@pytest.mark.parametrize(
    "change",
    [
        {"features": None},
        {"voxel_size_nm": [8.0]},
        {"voxel_size_nm": "?"},
        {"voxel_size_nm": [0] * 3},
    ],
)
def test_a_model_with_an_invalid_description_is_refused(change):
    with pytest.raises(DataError):
        check(meta=META_RF | change)


def test_a_model_without_features_and_voxel_size_is_refused():
    with pytest.raises(DataError, match="does not state"):
        check(meta={"kind": "rf"})
