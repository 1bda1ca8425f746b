"""Files are written completely or not at all."""

import hashlib
import json
import threading

import pytest

from connectome.core.errors import DataError
from connectome.io import paths
from connectome.io.files import atomic_path, file_sha256, staging_folder, write_json


def read_all(folder):
    """Return the contents of all files, hidden ones included, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write(folder, *names, content=b"new"):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


# --- one file -----------------------------------------------------------------------------------


def test_a_file_appears_with_its_folder_when_it_is_complete(tmp_path):
    path = tmp_path / "tables" / "edges.csv"
    with atomic_path(path) as temporary:
        temporary.write_text("a,b\n")
        assert not path.exists()
        assert temporary.suffix == ".csv"
    assert read_all(tmp_path) == {"tables/edges.csv": b"a,b\n"}


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "edges.csv"
    path.write_text("old")
    with pytest.raises(type(error)), atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert read_all(tmp_path) == {"edges.csv": b"old"}


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "evaluation.json"
    write_json(path, {"are": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"are": float("nan")})
    assert json.loads(path.read_text()) == {"are": 0.5}
    assert list(read_all(tmp_path)) == ["evaluation.json"]


def test_a_reader_never_reads_an_incomplete_file(tmp_path):
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


# --- staging ---------------------------------------------------------------------------


def test_a_run_publishes_all_its_files_at_the_end(tmp_path):
    with staging_folder(tmp_path, "r1") as folder:
        write(folder, paths.LABELS, paths.NODES, "figures/Figure1.pdf")
        assert not (tmp_path / paths.LABELS).exists()
    assert set(read_all(tmp_path)) == {paths.LABELS, paths.NODES, "figures/Figure1.pdf"}
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("error", [DataError("damaged"), KeyboardInterrupt()])
def test_a_run_that_fails_leaves_the_folder_as_it_was(tmp_path, error):
    write(tmp_path, *paths.MAIN_JOB_FILES, paths.CORRECTED_LABELS, content=b"old")
    before = read_all(tmp_path)
    with pytest.raises(type(error)), staging_folder(tmp_path, "r1") as folder:
        write(folder, paths.LABELS, paths.NODES)
        raise error
    assert read_all(tmp_path) == before
    assert list((tmp_path / "runs").iterdir()) == []


def test_files_of_an_earlier_run_are_removed(tmp_path):
    write(tmp_path, *paths.MAIN_JOB_FILES, content=b"old")
    kept = [paths.ALIGNED["float16"], paths.LABELS, paths.NODES]
    with staging_folder(tmp_path, "r1") as folder:
        write(folder, *kept)
    assert read_all(tmp_path) == dict.fromkeys(kept, b"new")


def test_all_files_of_the_main_job_are_listed():
    arrays = [paths.CUTOUT, paths.PREPROCESSED, *paths.ALIGNED.values(), paths.LABELS]
    arrays += [paths.PROBABILITY, paths.TRUE_LABELS]
    tables = [paths.SEGMENTS, paths.MERGE_LOG, paths.SYNAPSES, paths.NODES, paths.EDGES]
    tables += [paths.ALIGNMENT, paths.EVALUATION, paths.TRUE_SYNAPSES]
    tables += [paths.REBUILD_CHANGES, paths.GRAPH_LABELS]
    tables += [paths.CONTACTS, paths.MATRIX, paths.GRAPHML, paths.GEXF, paths.GRAPH_JSON]
    sidecars = [name.replace(".npy", ".json") for name in arrays]
    assert set(paths.MAIN_JOB_FILES) == {*arrays, *sidecars, *tables, paths.REPORT}


def test_files_of_people_and_other_runs_are_kept(tmp_path):
    kept = [
        *(paths.CORRECTED_LABELS, "data/neurite_labels_corrected_i32_zyx.json", "notes.txt"),
        *("figures/poster.pdf", paths.RUN_LOG, "runs/r0_config.json"),
    ]
    write(tmp_path, *kept, content=b"kept")
    with staging_folder(tmp_path, "r1") as folder:
        write(folder, paths.LABELS)
    assert read_all(tmp_path) == {**dict.fromkeys(kept, b"kept"), paths.LABELS: b"new"}


def test_two_runs_at_once_do_not_share_a_folder(tmp_path):
    with staging_folder(tmp_path, "r1") as one, staging_folder(tmp_path, "r2") as two:
        write(one, paths.LABELS, content=b"first")
        write(two, paths.LABELS, content=b"second")
    assert read_all(tmp_path) == {paths.LABELS: b"first"}  # the last to end


def test_the_checksum_is_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert file_sha256(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()
