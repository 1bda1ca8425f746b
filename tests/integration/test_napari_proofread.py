"""The command line: its help, its errors, Ctrl-C, and replaying without a window."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.locations import ROOT
from helpers.stripes import LEFT, MIDDLE, write_stripes

from connectome import runlog
from connectome.cli import arguments
from connectome.cli.commands.proofread import main
from connectome.io import paths
from connectome.proofread.session import find_unsaved_edits, open_session

NO_SCREEN = {key: value for key, value in os.environ.items() if not key.endswith("DISPLAY")}


def call(*words, environment=None):
    """Run the program in a process of its own."""
    command = [sys.executable, "-W", "ignore", str(ROOT / "napari_proofread.py"), *map(str, words)]
    return subprocess.run(
        command, env=environment or NO_SCREEN, capture_output=True, text=True, timeout=60
    )


def here(*words):
    """Run the program in this process, for cases that end before a window opens."""
    with pytest.raises(SystemExit) as end:
        arguments.run(main, [str(word) for word in words], prog="napari_proofread.py")
    return end.value.code


@pytest.fixture
def corrected(tmp_path):
    """Return a folder in which two neurites were merged, and the result saved."""
    write_stripes(tmp_path)
    with open_session(tmp_path) as session:
        session.editor.merge(LEFT, MIDDLE)
        session.save()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--slices", "auto", "3"], "neither auto nor section numbers"),
        (["--slices", "-1"], "error"),
        (["--n_slices", "0"], "whole number from 1"),
        (["--labls", "rf"], "did you mean --labels?"),
        (["--outdir", "/nowhere"], "run_pipeline.py --outdir /nowhere"),
    ],
)
def test_invalid_arguments_are_usage_errors(words, message, capsys):
    assert here(*words) == 2
    assert message in capsys.readouterr().err


def test_without_a_display_one_message_says_what_to_do(tmp_path):
    pytest.importorskip("napari", reason="napari is not installed")
    if sys.platform != "linux":
        pytest.skip("only Linux has sessions without a screen")
    write_stripes(tmp_path)
    ended = call("--outdir", tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: there is no display")
    assert "try: " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / paths.RUN_LOG).exists()


def test_replaying_needs_no_display_and_gives_the_saved_labels(corrected):
    ended = call("--replay", "--outdir", corrected)
    assert ended.returncode == 0, ended.stderr
    assert "gives the labels in" in ended.stdout
    assert "voxel by voxel" in ended.stdout


def test_replaying_restores_missing_labels(corrected, capsys):
    path = corrected / paths.CORRECTED_LABELS
    saved = path.read_bytes()
    path.unlink()
    assert here("--replay", "--outdir", corrected) == 0
    assert "restored from" in capsys.readouterr().out
    assert path.read_bytes() == saved


def test_replaying_reports_labels_changed_by_another_program(corrected, capsys):
    path = corrected / paths.CORRECTED_LABELS
    labels = np.load(path)
    labels[0, 0, :5] = 9
    np.save(path, labels)
    assert here("--replay", "--outdir", corrected) == 1
    assert "differs from the replayed log in 5 of" in capsys.readouterr().err


def test_replaying_without_a_save_is_a_usage_error(tmp_path, capsys):
    write_stripes(tmp_path)
    assert here("--replay", "--outdir", tmp_path) == 2
    assert "nothing to replay" in capsys.readouterr().err


@pytest.mark.posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("n_edits", [0, 1])
def test_a_signal_closes_the_window_and_reports_unsaved_edits(screen, tmp_path, number, n_edits):
    write_stripes(tmp_path)
    with open_session(tmp_path) as session:
        if n_edits:
            session.editor.merge(LEFT, MIDDLE)
    command = [sys.executable, "-W", "ignore", str(ROOT / "napari_proofread.py")]
    process = subprocess.Popen(
        [*command, "--outdir", tmp_path, "--recover"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().startswith("opening the window")
    deadline = time.monotonic() + 60
    while len(runlog.read_history(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(4)  # the window is open
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    last = stderr.strip().splitlines()[-1]
    if n_edits:
        assert last == "interrupted; 1 edit is in the run log; the next start offers to restore it"
    else:
        assert last == "interrupted; all edits are saved"
    assert "Traceback" not in stderr and "Error calling" not in stderr
    assert runlog.read_history(tmp_path)[-1].status == "interrupted"
    assert bool(find_unsaved_edits(tmp_path)) == bool(n_edits)
