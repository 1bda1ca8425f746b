"""The run log records every run and how it ended, and continues a log of the published pipeline."""

import hashlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.locations import ROOT

from connectome import __version__, runlog
from connectome.cli import arguments
from connectome.cli.commands import runs
from connectome.core.errors import ConnectomeError, UsageError
from connectome.io import paths
from connectome.io.files import leftover_staging_folders
from connectome.runlog.edit_record import EditRecord

URI = "phantom://neuropil?seed=7"
CUTOUT = (192, 180, 48)
POC_RUNS = (
    "CREATE TABLE runs (run_id TEXT PRIMARY KEY, dataset_uri TEXT, cutout_x INTEGER,"
    " cutout_y INTEGER, cutout_z INTEGER, created_at TEXT, meta_json TEXT)"
)


def record(outdir, config=None, command=()):
    return runlog.record_run(outdir, config or {"seed": 7}, URI, CUTOUT, command)


def query(outdir, statement):
    connection = sqlite3.connect(outdir / paths.RUN_LOG)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the other process took too long"
        time.sleep(0.02)


def start(outdir, body, *arguments):
    """Run Python in another process that records a run, for tests of how processes end."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom connectome import runlog\n"
        f"outdir = Path(sys.argv[1])\n{body}"
    )
    return subprocess.Popen([sys.executable, "-c", code, str(outdir), *arguments], cwd=ROOT)


WAITING = (
    "with runlog.record_run(outdir, {}, 'file.npy', (4, 3, 2)) as run, run.stage('align'):\n"
    "    (outdir / 'ready').touch()\n"
    "    time.sleep(60)\n"
)


def test_a_finished_run_is_logged_with_stages_metrics_and_duration(tmp_path):
    with record(tmp_path) as run:
        with run.stage("align") as counts:
            counts["sections"] = np.int64(48)
            time.sleep(0.02)
        run.log_metric("segmentation/are", np.float64(0.21))
    (past,) = runlog.read_history(tmp_path)
    assert (past.run_id, past.status, past.error) == (run.run_id, "finished", "")
    assert (past.source, past.cutout_xyz) == (URI, CUTOUT)
    assert past.metrics == {"segmentation/are": 0.21}
    (stage,) = past.stages
    assert (stage.name, stage.counts) == ("align", {"sections": 48})
    assert 0.02 <= stage.seconds <= past.seconds < 10
    assert run.stages == [stage]


def test_peak_memory_grows_with_the_memory_of_a_stage(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom connectome import runlog\n"
        "with runlog.record_run(Path(sys.argv[1]), {}, 'file.npy', (4, 3, 2)) as run:\n"
        "    with run.stage('small'): pass\n"
        "    with run.stage('large'): bytes(b'x' * 200_000_000)\n"
    )
    # Linux counts the memory of the parent as peak of the child, so a small shell is the parent.
    shell = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(shell, cwd=ROOT, check=True)
    (past,) = runlog.read_history(tmp_path)
    small, large = (stage.peak_memory_mb for stage in past.stages)
    assert 5 < small < 100
    assert 195 < large - small < 230


def test_the_published_table_of_runs_keeps_its_columns(tmp_path):
    with record(tmp_path) as run:
        pass
    columns = [row[1] for row in query(tmp_path, "PRAGMA table_info(runs)")]
    assert columns == [
        *("run_id", "dataset_uri", "cutout_x", "cutout_y", "cutout_z", "created_at", "meta_json")
    ]
    (row,) = query(tmp_path, "SELECT * FROM runs")
    assert row[:5] == (run.run_id, URI, *CUTOUT)
    assert json.loads(row[6])["config"] == {"seed": 7}


def test_a_log_of_the_published_pipeline_is_continued_without_loss(tmp_path):
    path = tmp_path / paths.RUN_LOG
    path.parent.mkdir()
    old = ("run_1", "bossdb://mulcahy2022/1h_L1/em", 256, 256, 64, "2026-01-02T03:04:05", "{}")
    connection = sqlite3.connect(path)
    connection.execute(POC_RUNS)
    connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", old)
    connection.commit()
    connection.close()

    assert [run.status for run in runlog.read_history(tmp_path)] == ["unknown"]
    with record(tmp_path) as run:
        pass
    assert [past.run_id for past in runlog.read_history(tmp_path)] == ["run_1", run.run_id]
    assert query(tmp_path, "SELECT * FROM runs")[0] == old


def test_a_failure_is_recorded_and_raised_again(tmp_path):
    error = ConnectomeError("the disk is full", "nothing was saved", "make room")
    with pytest.raises(ConnectomeError) as raised, record(tmp_path) as run, run.stage("fetch"):
        raise error
    assert raised.value is error
    with pytest.raises(ZeroDivisionError), record(tmp_path):
        _ = 1 / 0
    first, second = runlog.read_history(tmp_path)
    assert (first.status, first.error) == ("failed", str(error))
    assert [stage.name for stage in first.stages] == ["fetch"]
    assert (second.status, second.error) == ("failed", "ZeroDivisionError: division by zero")


def test_the_error_of_a_run_is_raised_even_if_the_log_is_gone(tmp_path):
    with pytest.raises(ZeroDivisionError), record(tmp_path):
        (tmp_path / paths.RUN_LOG).write_bytes(b"not a database" * 100)
        _ = 1 / 0


@pytest.mark.posix
def test_ctrl_c_leaves_an_interrupted_run(tmp_path):
    process = start(tmp_path, WAITING)
    wait_for((tmp_path / "ready").exists)
    assert [run.status for run in runlog.read_history(tmp_path)] == ["running"]
    process.send_signal(signal.SIGINT)
    process.wait(timeout=10)
    assert [run.status for run in runlog.read_history(tmp_path)] == ["interrupted"]


def test_a_killed_run_is_shown_as_died(tmp_path):
    process = start(tmp_path, WAITING)
    wait_for((tmp_path / "ready").exists)
    process.kill()
    process.wait(timeout=10)
    assert query(tmp_path, "SELECT status, pid FROM run_status") == [("running", process.pid)]
    assert [run.status for run in runlog.read_history(tmp_path)] == ["died"]


def test_the_next_run_removes_the_staging_folder_of_a_killed_run(tmp_path):
    body = (
        "from connectome.io.files import staging_folder\n"
        "with runlog.record_run(outdir, {}, 'file.npy', (4, 3, 2)) as run:\n"
        "    with staging_folder(outdir, run.run_id) as folder:\n"
        "        (folder / 'half').write_text('half')\n"
        "        (outdir / sys.argv[2]).touch()\n"
        "        time.sleep(60)\n"
    )
    killed, living = (start(tmp_path, body, name) for name in ("one", "other"))
    try:
        wait_for((tmp_path / "one").exists)
        wait_for((tmp_path / "other").exists)
        killed.kill()
        killed.wait(timeout=10)
        assert len(leftover_staging_folders(tmp_path)) == 2
        with record(tmp_path):
            pass
        (left,) = leftover_staging_folders(tmp_path)
        assert [run.status for run in runlog.read_history(tmp_path) if run.run_id == left] == [
            "running"
        ]
    finally:
        living.kill()
        living.wait(timeout=10)


def test_a_run_on_another_machine_counts_as_running(tmp_path):
    with record(tmp_path):
        connection = sqlite3.connect(tmp_path / paths.RUN_LOG)
        connection.execute("UPDATE run_status SET host = 'elsewhere', pid = 999999999")
        connection.commit()
        connection.close()
        assert [run.status for run in runlog.read_history(tmp_path)] == ["running"]


def test_processes_that_start_at_the_same_time_get_different_runs(tmp_path):
    body = (
        "for _ in range(10):\n"
        "    with runlog.record_run(outdir, {}, 'a.npy', (4, 3, 2)) as run, run.stage('align'):\n"
        "        run.log_metric('segmentation/are', 0.5)\n"
    )
    processes = [start(tmp_path, body) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    runs = runlog.read_history(tmp_path)
    assert len({run.run_id for run in runs}) == 40
    assert {(run.status, len(run.stages)) for run in runs} == {("finished", 1)}


def test_files_are_logged_with_checksum_and_size(tmp_path):
    file = tmp_path / "elsewhere.csv"
    file.write_bytes(b"z,y,x\n")
    with record(tmp_path) as run:
        run.log_files({"tables/synapse_candidates.csv": file})
    assert query(tmp_path, "SELECT * FROM artefacts") == [
        (run.run_id, "tables/synapse_candidates.csv", hashlib.sha256(b"z,y,x\n").hexdigest(), 6)
    ]


def test_edits_are_read_as_they_were_logged(tmp_path):
    time_, user = "2026-01-02T03:04:05.678+00:00", "ada"
    records = [
        EditRecord("merge", (1, 2), (3, 4, 5), 678, b"", time_, user),
        EditRecord("paint", (7,), (0, 0, 0), 2, b"\x00\xff'; DROP TABLE runs", time_, user),
        EditRecord("save", (), None, 0, b'{"sha256": "ab"}', time_, user),
    ]
    with record(tmp_path, {"job": "proofreading"}) as run:
        for each in records:
            run.log_edit(each)
    with record(tmp_path):
        pass
    assert runlog.read_edits(tmp_path, run.run_id) == records
    first, second = runlog.read_history(tmp_path)
    assert (first.n_edits, first.config) == (3, {"job": "proofreading"})
    assert (second.n_edits, second.config) == (0, {"seed": 7})
    assert runlog.read_edits(tmp_path, second.run_id) == []


def test_an_edit_is_on_disk_when_the_call_returns(tmp_path):
    body = (
        "from connectome.runlog.edit_record import EditRecord\n"
        "with runlog.record_run(outdir, {}, 'file.npy', (4, 3, 2)) as run:\n"
        "    run.log_edit(EditRecord('mark', (1,), None, 0, b'', '', ''))\n"
        "    (outdir / 'ready').touch()\n"
        "    time.sleep(60)\n"
    )
    process = start(tmp_path, body)
    wait_for((tmp_path / "ready").exists)
    process.kill()
    process.wait(timeout=10)
    (past,) = runlog.read_history(tmp_path)
    assert (past.status, past.n_edits) == ("died", 1)


def test_the_datasheet_names_the_columns_of_every_table(tmp_path):
    with record(tmp_path):
        pass
    described = re.findall(
        r"^\| `(\w+)` \| `([\w, ]+)` \|", (ROOT / "DATASHEET.md").read_text(), re.MULTILINE
    )
    tables = query(tmp_path, "SELECT name FROM sqlite_master WHERE type = 'table'")
    for (table,) in tables:
        columns = [row[1] for row in query(tmp_path, f"PRAGMA table_info({table})")]
        assert (table, ", ".join(columns)) in described


def test_a_source_that_differs_from_the_request_is_logged(tmp_path):
    with record(tmp_path) as run:
        run.update_source("phantom://neuropil", (5, 6, np.int64(7)))
    (past,) = runlog.read_history(tmp_path)
    assert (past.source, past.cutout_xyz) == ("phantom://neuropil", (5, 6, 7))


def test_the_configuration_has_everything_needed_to_repeat_the_run(tmp_path):
    config = {"source": {"boss_token": "public"}, "cutout_xyz": CUTOUT}
    command = ["run_pipeline.py", "--seed", "7"]
    with record(tmp_path, config, command) as run:
        pass
    path = tmp_path / "runs" / f"{run.run_id}_config.json"
    kept = json.loads(path.read_text())
    assert kept["config"] == {"source": {"boss_token": "public"}, "cutout_xyz": list(CUTOUT)}
    assert kept["command"] == command
    assert kept["software"]["connectome"] == __version__
    assert kept["software"]["packages"]["numpy"] == np.__version__
    assert set(kept["software"]["packages"]) == set(runlog.RECORDED_PACKAGES)


@pytest.mark.parametrize(
    "flags", [["--boss_token", "s3cret"], ["--boss-token=s3cret", "--seed", "7"]]
)
def test_a_private_token_is_not_written(tmp_path, flags):
    with record(tmp_path, {"source": {"boss_token": "s3cret"}}, ["run_pipeline.py", *flags]):
        pass
    for path in (tmp_path / "runs").iterdir():
        assert b"s3cret" not in path.read_bytes(), path


def test_a_damaged_log_stops_the_run_with_a_clear_message(tmp_path):
    path = tmp_path / paths.RUN_LOG
    path.parent.mkdir()
    path.write_bytes(b"this is not SQLite" * 100)
    with pytest.raises(ConnectomeError, match=r"pipeline_runs\.sqlite.*not a database"):
        runlog.read_history(tmp_path)
    with pytest.raises(ConnectomeError, match="not a database"), record(tmp_path):
        pytest.fail("the run must not begin")
    assert path.read_bytes().startswith(b"this is not SQLite")


@pytest.mark.parametrize("damage", ["[1,", "7", None])
def test_the_error_for_a_damaged_row_names_the_log(tmp_path, damage):
    with record(tmp_path) as run, run.stage("fetch"):
        pass
    runlog.append_edit(tmp_path, run.run_id, EditRecord("merge", (1, 2), None, 3, b"", "", ""))
    with sqlite3.connect(tmp_path / paths.RUN_LOG) as log:
        log.execute("UPDATE runs SET meta_json = ?", (damage,))
        if damage:
            log.execute("UPDATE corrections SET ids_json = ?", (damage,))
    with pytest.raises(ConnectomeError, match=r"pipeline_runs\.sqlite cannot be used.*damaged"):
        runlog.read_history(tmp_path)
    if damage:
        with pytest.raises(ConnectomeError, match="a row is damaged"):
            runlog.read_edits(tmp_path, run.run_id)


def test_a_folder_where_no_log_can_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "runs").write_text("a file, not a folder")
    with pytest.raises(ConnectomeError, match="cannot be used"), record(tmp_path):
        pytest.fail("the run must not begin")


def test_a_missing_folder_and_a_missing_log_give_different_errors(tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        runlog.read_history(tmp_path / "nowhere")
    with pytest.raises(ConnectomeError, match="no run log"):
        runlog.read_history(tmp_path)
    assert not list(tmp_path.iterdir()), "reading must not create files"


def test_the_command_prints_the_history_as_a_table(tmp_path):
    with record(tmp_path) as run:
        run.log_metric("segmentation/are", 0.2149)
        run.log_metric("segmentation/voi", float("nan"))
        run.log_edit(EditRecord("mark", (1,), None, 0, b"", "", ""))
    with pytest.raises(ConnectomeError), record(tmp_path):
        raise ConnectomeError("no space left", "no figure was drawn")
    command = [sys.executable, "-m", "connectome.runlog", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    title, finished, failed, why = done.stdout.splitlines()
    assert title.split()[:1] == ["run"]
    assert "192 180 48" in finished
    assert finished.split()[0] == run.run_id
    assert finished.split()[3] == "finished"
    assert finished.split()[5:8] == ["0.215", "-", "1"]
    assert finished.index(URI) == failed.index(URI) == title.index("source")
    assert "failed" in failed
    assert why.strip() == "no space left"


def test_the_command_fails_clearly_without_a_log(tmp_path, capsys):
    for outdir, status in ((tmp_path, 1), (tmp_path / "nowhere", 2)):
        with pytest.raises(SystemExit) as end:
            arguments.run(runs.main, [str(outdir)])
        assert end.value.code == status
        assert str(outdir) in capsys.readouterr().err


def test_importing_the_log_loads_no_heavy_library():
    code = "import sys, connectome.runlog; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"pandas", "scipy", "skimage", "matplotlib", "networkx", "intern"}
    assert not heavy & set(done.stdout.split())


def test_the_process_id_is_in_the_log_while_a_run_is_in_progress(tmp_path):
    with record(tmp_path):
        assert query(tmp_path, "SELECT pid FROM run_status") == [(os.getpid(),)]
