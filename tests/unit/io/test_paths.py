"""Files get to their place whole or not at all, and arrays keep their place in the world."""

import hashlib
import json
import re
import threading

import numpy as np
import pytest

from connectome.core.errors import DataError
from connectome.core.volume import Volume
from connectome.io import paths
from connectome.io.files import atomic_path, file_sha256, staging_folder, write_json
from connectome.io.volumes import read_volume, write_volume

SIZE = (30.0, 8.0, 8.0)
CORRECTED = "data/neurite_labels_corrected_i32_zyx.npy"
LABELS = Volume(np.arange(24, dtype=np.int32).reshape(2, 3, 4), SIZE, (5, 6, 7), "em.tif")


def files(folder):
    """Every file by its path, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def make(stage, *names, content=b"new"):
    for name in names:
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        (stage / name).write_bytes(content)


# --- one file -----------------------------------------------------------------------------------


def test_a_file_appears_when_it_is_complete_with_its_folder(tmp_path):
    path = tmp_path / "tables" / "edges.csv"
    with atomic_path(path) as temporary:
        temporary.write_text("a,b\n")
        assert not path.exists()
        assert temporary.suffix == ".csv"
    assert files(tmp_path) == {"tables/edges.csv": b"a,b\n"}


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "edges.csv"
    path.write_text("old")
    with pytest.raises(type(error)), atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert files(tmp_path) == {"edges.csv": b"old"}


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "evaluation.json"
    write_json(path, {"are": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"are": float("nan")})
    assert json.loads(path.read_text()) == {"are": 0.5}
    assert list(files(tmp_path)) == ["evaluation.json"]


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"n": [0] * 5000})
    stop = threading.Event()

    def write():
        for n in range(200):
            write_json(path, {"n": [n] * 5000})
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not stop.is_set():
        assert len(set(json.loads(path.read_text())["n"])) == 1
    writer.join()


# --- the set of a run ---------------------------------------------------------------------------


def test_a_run_publishes_all_its_files_at_the_end(tmp_path):
    with staging_folder(tmp_path, "r1") as stage:
        make(stage, paths.LABELS, paths.NODES, "figures/Figure1.pdf")
        assert not (tmp_path / paths.LABELS).exists()
    assert set(files(tmp_path)) == {paths.LABELS, paths.NODES, "figures/Figure1.pdf"}
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("error", [DataError("torn"), KeyboardInterrupt()])
def test_a_run_that_fails_leaves_the_folder_as_it_was(tmp_path, error):
    make(tmp_path, *paths.MAIN_JOB_FILES, CORRECTED, content=b"old")
    before = files(tmp_path)
    with pytest.raises(type(error)), staging_folder(tmp_path, "r1") as stage:
        make(stage, paths.LABELS, paths.NODES)
        raise error
    assert files(tmp_path) == before
    assert list((tmp_path / "runs").iterdir()) == []


def test_stale_files_of_an_earlier_run_go(tmp_path):
    make(tmp_path, *paths.MAIN_JOB_FILES, content=b"old")
    kept = [paths.ALIGNED["float16"], paths.LABELS, paths.NODES]
    with staging_folder(tmp_path, "r1") as stage:
        make(stage, *kept)
    assert files(tmp_path) == dict.fromkeys(kept, b"new")


def test_everything_a_run_can_publish_is_known_to_be_its_own():
    arrays = [paths.CUTOUT, paths.PREPROCESSED, *paths.ALIGNED.values(), paths.LABELS]
    arrays += [paths.PROBABILITY, paths.TRUE_LABELS]
    tables = [paths.SEGMENTS, paths.MERGE_LOG, paths.SYNAPSES, paths.NODES, paths.EDGES]
    tables += [paths.ALIGNMENT, paths.EVALUATION, paths.TRUE_SYNAPSES]
    tables += [paths.REBUILD_CHANGES, paths.GRAPH_LABELS]
    tables += [paths.CONTACTS, paths.MATRIX, paths.GRAPHML, paths.GEXF, paths.GRAPH_JSON]
    beside = [name.replace(".npy", ".json") for name in arrays]
    assert set(paths.MAIN_JOB_FILES) == {*arrays, *beside, *tables, paths.REPORT}


def test_what_people_made_and_other_runs_logged_stays(tmp_path):
    mine = [
        *(CORRECTED, "data/neurite_labels_corrected_i32_zyx.json", "notes.txt"),
        *("figures/poster.pdf", paths.RUN_LOG, "runs/r0_config.json"),
    ]
    make(tmp_path, *mine, content=b"mine")
    with staging_folder(tmp_path, "r1") as stage:
        make(stage, paths.LABELS)
    assert files(tmp_path) == {**dict.fromkeys(mine, b"mine"), paths.LABELS: b"new"}


def test_two_runs_at_once_do_not_share_a_folder(tmp_path):
    with staging_folder(tmp_path, "r1") as one, staging_folder(tmp_path, "r2") as two:
        make(one, paths.LABELS, content=b"first")
        make(two, paths.LABELS, content=b"second")
    assert files(tmp_path) == {paths.LABELS: b"first"}  # the last to end


# --- arrays -------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path):
    path = tmp_path / paths.LABELS
    write_volume(path, LABELS)
    return path


def test_an_array_comes_back_with_its_place_in_the_world(written):
    back = read_volume(written)
    np.testing.assert_array_equal(back.data, LABELS.data)
    assert back.data.dtype == np.int32
    assert (back.voxel_size, back.origin, back.source) == (SIZE, (5, 6, 7), "em.tif")


def test_the_place_is_beside_the_array_in_plain_json(written):
    assert json.loads(written.with_suffix(".json").read_text()) == {
        "axes": "ZYX",
        "shape": [2, 3, 4],
        "dtype": "int32",
        "voxel_size_nm": [30.0, 8.0, 8.0],
        "origin": [5, 6, 7],
        "source": "em.tif",
    }


def test_a_missing_array_says_how_to_make_it(tmp_path):
    with pytest.raises(DataError, match=r"(?s)there is no .*x\.npy.*--save_minimal"):
        read_volume(tmp_path / "x.npy")


def test_a_voxel_size_is_never_assumed(written):
    written.with_suffix(".json").unlink()
    with pytest.raises(DataError, match=r"has no neurite_labels_i32_zyx\.json") as raised:
        read_volume(written)
    assert str(written.with_suffix(".json")) in raised.value.remedy


def test_the_remedy_for_a_missing_sidecar_works(written):
    beside = written.with_suffix(".json")
    beside.unlink()
    with pytest.raises(DataError) as raised:
        read_volume(written)
    typed = re.search(r"write (\{.*\}) to", raised.value.remedy)[1].replace("Z, Y, X", "30, 8, 8")
    beside.write_text(typed)
    assert read_volume(written).voxel_size == SIZE


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "{}", '{"voxel_size_nm": null}', '{"voxel_size_nm": "8"}'),
        *('{"voxel_size_nm": [30, 8]}', '{"voxel_size_nm": [30, 8, 8], "origin": null}'),
        '{"voxel_size_nm": [30, 8, 8], "shape": [2, 3, 5]}',
    ],
)
def test_a_sidecar_that_makes_no_sense_is_a_data_error(written, text):
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


def test_the_checksum_is_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert file_sha256(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()
