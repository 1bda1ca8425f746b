import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.locations import ROOT

pytest.importorskip("torch", reason="the U-Net needs PyTorch, which is not installed")

from connectome import runlog
from connectome.cli.commands import refine as command
from connectome.cli.commands.run import main as run_pipeline
from connectome.core.errors import DataError, UsageError
from connectome.figures import REFINER_FIGURES
from connectome.io import model_files, paths
from connectome.io.files import write_json
from connectome.io.volumes import read_volume
from connectome.refine.unet.training import CHECKPOINT

QUICK = ("--epochs", "1", "--rounds", "1", "--threads", "1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on a small phantom of which a round is kept; two sections of it are proofread."""
    outdir = tmp_path_factory.mktemp("outputs")
    flags = ("--cutout", "64", "64", "8", "--dataset", "phantom://neuropil?seed=9")
    run_pipeline([*flags, "--outdir", str(outdir), "--quiet"])
    truth = np.load(outdir / paths.TRUE_LABELS)
    np.save(outdir / paths.CORRECTED_LABELS, truth)
    write_json(outdir / paths.PROOFREAD_SECTIONS, {"slices": [1, 6]})
    train(outdir, *QUICK)
    return outdir


def train(outdir, *flags):
    command.main_unet(["--outdir", str(outdir), "--quiet", *flags])


def model_of(outdir):
    (path,) = (outdir / paths.MODELS).glob("unet_[0-9]*.npz")
    return path


def test_it_leaves_a_map_neurites_metrics_a_model_and_a_figure(finished):
    probability = read_volume(finished / paths.REFINED_PROBABILITY["unet"]).data
    labels = read_volume(finished / paths.REFINED_LABELS["unet"]).data
    assert probability.dtype == np.float16
    assert labels.dtype == np.int32
    assert probability.shape == labels.shape == (8, 64, 64)
    metrics = json.loads((finished / paths.REFINED_METRICS["unet"]).read_text())
    assert metrics["proofread_sections"] == [1, 6]
    assert metrics["scores"]["after"]["voi"] < 1.0
    assert all((finished / file).exists() for file in REFINER_FIGURES["unet"].files)
    assert model_files.read_model(model_of(finished), "unet")[0]["voxel_size_nm"] == [30, 8, 8]


def test_proofread_sections_stay_as_they_are(finished):
    labels = np.load(finished / paths.REFINED_LABELS["unet"])
    truth = np.load(finished / paths.TRUE_LABELS)
    assert np.array_equal(labels[[1, 6]], truth[[1, 6]])


def test_no_checkpoint_is_left_at_the_end(finished):
    assert not (finished / paths.MODELS / CHECKPOINT).exists()


def test_a_model_judges_again_as_it_did(finished):
    path = finished / paths.REFINED_PROBABILITY["unet"]
    before = np.load(path)
    train(finished, "--apply", str(model_of(finished)), "--threads", "1")
    assert np.load(path) == pytest.approx(before, abs=2e-3)


def test_a_model_of_another_voxel_size_is_refused(finished, tmp_path):
    meta, arrays = model_files.read_model(model_of(finished), "unet")
    model_files.write_model(tmp_path / "coarse.npz", meta | {"voxel_size_nm": [30, 16, 16]}, arrays)
    n_runs = len(runlog.read_history(finished))
    with pytest.raises(DataError, match="16 nm"):
        train(finished, "--apply", str(tmp_path / "coarse.npz"))
    assert len(runlog.read_history(finished)) == n_runs, "nothing slow must come before"


def test_where_no_run_was_there_is_nothing_to_refine(tmp_path):
    with pytest.raises(UsageError, match="no finished run"):
        train(tmp_path, *QUICK)


@pytest.mark.parametrize(
    "flags",
    [
        ("--apply", "m.npz", "--epochs", "1"),
        ("--apply", "m.npz", "--restart"),
        ("--apply", ""),
        ("--epochs", "1", "--minutes", "1"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(flags, capsys):
    with pytest.raises(SystemExit) as refused:
        command.main_unet(list(flags))
    assert refused.value.code == 2
    assert [flag for flag in flags if flag[:2] == "--"][-1] in capsys.readouterr().err


@pytest.fixture
def checkpoint(finished):
    """What interrupted training left."""
    path = finished / paths.MODELS / CHECKPOINT
    path.write_bytes(b"hours of work")
    yield path
    path.unlink(missing_ok=True)


def test_applying_a_model_leaves_interrupted_training_where_it_is(finished, checkpoint):
    train(finished, "--apply", str(model_of(finished)), "--threads", "1")
    assert checkpoint.read_bytes() == b"hours of work"


@pytest.mark.parametrize("content", [b"", b"PK\3\4 and no more", b"hours of work"])
def test_a_checkpoint_that_cannot_be_read_is_refused_with_what_to_do(finished, checkpoint, content):
    checkpoint.write_bytes(content)
    with pytest.raises(DataError, match=r"unet_checkpoint\.npz cannot be read(?s:.*)--restart"):
        train(finished, *QUICK)
    assert checkpoint.read_bytes() == content


def test_proofread_sections_without_ids_are_left_out_or_refused_by_name(untouched, capsys):
    labels = np.load(untouched / paths.LABELS)
    labels[[2, 5]] = 0
    np.save(untouched / paths.CORRECTED_LABELS, labels)
    write_json(untouched / paths.PROOFREAD_SECTIONS, {"slices": [2, 5]})
    with pytest.raises(DataError, match=r"without any id: 2 5 of .*corrected") as refused:
        train(untouched, *QUICK)
    assert "proofread_slices.json" in refused.value.remedy
    assert not (untouched / paths.RUN_LOG).exists()  # it was seen before the slow part
    write_json(untouched / paths.PROOFREAD_SECTIONS, {"slices": [1, 2, 5]})
    command.main_unet(["--outdir", str(untouched), *QUICK])
    assert "without any id: 2 5" in capsys.readouterr().out


def test_beginning_anew_keeps_the_old_checkpoint_until_there_is_another(
    finished, checkpoint, monkeypatch
):
    with pytest.raises(UsageError, match="mps"):
        monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
        train(finished, *QUICK, "--restart", "--device", "mps")
    with pytest.raises(DataError, match="cannot be laid over"):
        np.save(finished / "small.npy", np.ones((3, 9, 9), np.int32))
        train(finished, *QUICK, "--restart", "--ground_truth", str(finished / "small.npy"))
    assert checkpoint.read_bytes() == b"hours of work"


def test_without_pytorch_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="PyTorch is not installed"):
        train(tmp_path)


@pytest.fixture
def untouched(finished, tmp_path):
    """The same run, nothing of it proofread."""
    for name in (paths.ALIGNED["float32"], paths.LABELS, paths.PROBABILITY, paths.ALIGNMENT):
        for path in (finished / name, paths.sidecar_path(finished / name)):
            copy = tmp_path / path.relative_to(finished)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return tmp_path


def test_without_proofread_sections_it_runs_and_says_what_to_expect(untouched, capsys):
    command.main_unet(["--outdir", str(untouched), *QUICK])
    output = capsys.readouterr().out
    assert "no section is proofread" in output
    assert "round 1" in output
    assert (untouched / paths.REFINED_LABELS["unet"]).exists()


def test_without_proofread_sections_nothing_is_trained_unless_asked_for(untouched, capsys):
    command.main_unet(["--outdir", str(untouched), "--threads", "1"])
    output = capsys.readouterr().out
    assert "not trained" in output
    assert "adapted to this stack, kept" in output
    metrics = json.loads((untouched / paths.REFINED_METRICS["unet"]).read_text())
    assert metrics["rounds"] == []
    assert metrics["adapted"]["voted"]
    # What it makes can be made again from the model it leaves.
    before = np.load(untouched / paths.REFINED_LABELS["unet"])
    train(untouched, "--apply", str(model_of(untouched)), "--threads", "1")
    assert np.array_equal(np.load(untouched / paths.REFINED_LABELS["unet"]), before)


@pytest.mark.posix
def test_an_interrupt_leaves_the_checkpoint_and_earlier_results(finished):
    before = (finished / paths.REFINED_LABELS["unet"]).read_bytes()
    script = [sys.executable, "train_unet2d_selftrain.py", "--outdir", str(finished)]
    process = subprocess.Popen(
        [*script, "--minutes", "30", "--quiet"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    checkpoint = finished / paths.MODELS / CHECKPOINT
    try:
        deadline = time.monotonic() + 60
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, output = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, output
    assert "interrupted" in output
    assert "the same command resumes from the last checkpoint" in output
    assert checkpoint.exists()
    assert (finished / paths.REFINED_LABELS["unet"]).read_bytes() == before
    with pytest.raises(DataError, match="--restart"):
        train(finished, *QUICK)
    train(finished, *QUICK, "--restart")
    assert not checkpoint.exists()
