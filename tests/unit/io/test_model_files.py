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


def test_a_model_without_a_file_is_a_mistake_of_typing(tmp_path):
    with pytest.raises(UsageError, match="no model"):
        read_model(tmp_path / "none.npz", "rf")


def test_a_model_of_another_kind_is_refused(path):
    with pytest.raises(DataError, match="kind rf, not unet") as refused:
        read_model(path, "unet")
    assert refused.value.remedy == "unet_*.npz of runs/models/"


class Trap:
    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


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
NO_MODELS = {
    "a pickle": pickle.dumps(Trap()),
    "a pickle among arrays": zipped(**{METADATA_KEY: array(TRAP)}),
    "an array alone": array(np.arange(3)),
    "text": b"a model, honestly",
    "nothing": b"",
    "an archive of something else": zipped(weights=array(np.arange(3))),
    "a description that is none": zipped(**{METADATA_KEY: array(np.frombuffer(b"{", np.uint8))}),
    "a description of nothing": zipped(**{METADATA_KEY: array(np.frombuffer(b"[]", np.uint8))}),
    "a description without a kind": zipped(**{METADATA_KEY: array(np.frombuffer(b"{}", np.uint8))}),
    "a description that says NaN": zipped(
        **{METADATA_KEY: array(np.frombuffer(b'{"kind": "rf", "trust": NaN}', np.uint8))}
    ),
    "a description without end": zipped(
        **{METADATA_KEY: array(np.frombuffer(b"[" * 100_000, np.uint8))}
    ),
    "a description in no code": zipped(**{METADATA_KEY: array(np.frombuffer(b"\xff", np.uint8))}),
}


@pytest.mark.parametrize("content", NO_MODELS.values(), ids=NO_MODELS)
def test_what_is_no_model_is_refused_and_nothing_in_it_runs(tmp_path, content):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a model of this program") as refused:
        read_model(path, "rf")
    assert not Trap.sprung
    assert "by another program" in str(refused.value) or "pickle or no .npz" in str(refused.value)
    # Nobody is told how to load it all the same, nor what Python makes of it.
    assert not re.search("allow_pickle|protocol|Error", str(refused.value))
    assert refused.value.remedy


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_model_that_is_cut_off_is_refused(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
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


def test_a_model_may_be_used_where_it_was_trained_and_on_nearly_such_stacks():
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
def test_a_model_that_does_not_say_what_it_is_for_is_refused(change):
    with pytest.raises(DataError):
        check(meta=META_RF | change)


def test_a_model_that_says_nothing_is_refused():
    with pytest.raises(DataError, match="does not say"):
        check(meta={"kind": "rf"})
