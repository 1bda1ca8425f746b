"""The main job from the command line: help, errors, exit status, output and files."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from helpers.bossdb_server import BossServer, serve
from helpers.locations import ROOT

from connectome import runlog
from connectome.cli import arguments
from connectome.cli.commands import run as run_command
from connectome.figures import FIGURES
from connectome.io import paths
from connectome.io.volumes import read_volume
from connectome.phantom import make_phantom

pytestmark = pytest.mark.slow

SIZE = (30.0, 8.0, 8.0)
NOWHERE = "http://127.0.0.1:1"
PHANTOM = ("--dataset", "phantom://neuropil")
PUBLISHED_FLAGS = [
    *("--outdir", "--dataset", "--preset", "--cutout", "--save_minimal", "--aligned_dtype"),
    *("--no-sim-misalignment", "--seed"),
]
NEW_FLAGS = [
    *("--simulate_misalignment", "--resolution", "--origin", "--voxel_size", "--ground_truth"),
    *(
        "--no-align",
        "--align-model",
        "--straighten",
        "--segmentation",
        "--undirected",
        "--threads",
        "--dry_run",
    ),
    *("--quiet", "--debug", "--version"),
    *("--boss_host", "--boss_token"),
]


@pytest.fixture
def environment(tmp_path):
    """An empty cache and home folder, and no proxy for connections to this machine."""
    kept = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    return {**kept, "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}


def script(*words):
    return [sys.executable, str(ROOT / "run_pipeline.py"), *map(str, words)]


def call(environment, *words):
    """Run the script in another process, in a folder that is not the checkout."""
    return subprocess.run(
        script(*words),
        cwd=environment["HOME"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def in_process(*words):
    """Run the command in this process, where it ends before any processing."""
    with pytest.raises(SystemExit) as end:
        arguments.run(run_command.main, [str(word) for word in words], prog="run_pipeline.py")
    return end.value.code


def configured(*words):
    """Return the configuration that a command line makes."""
    return run_command.make_config(run_command.build_parser().parse_args(words))


def contents(outdir):
    """Return the content of every file except those of the run log."""
    files = [path for path in outdir.rglob("*") if path.is_file() and path.parent.name != "runs"]
    return {str(path.relative_to(outdir)): path.read_bytes() for path in files}


# --- help ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", PUBLISHED_FLAGS + NEW_FLAGS)
def test_help_names_every_flag(flag, capsys):
    assert in_process("--help") == 0
    assert re.search(rf"^ +{flag}\b", capsys.readouterr().out, re.MULTILINE)


def test_the_published_command_line_is_accepted():
    published = (
        "--outdir o --dataset bossdb://mulcahy2022/1h_L1/em --preset safe8gb --cutout 256 256 64"
        " --save_minimal --aligned_dtype float16 --no-sim-misalignment --seed 7"
    )
    config = configured(*published.split())
    assert config.source.uri == "bossdb://mulcahy2022/1h_L1/em"
    assert config.source.cutout_xyz == (192, 192, 48)  # a preset wins
    assert (config.outdir, config.save_minimal, config.aligned_dtype) == ("o", True, "float16")
    assert (config.simulate_sigma_px, config.source.seed, config.fall_back_to_phantom) == (
        0,
        7,
        False,
    )
    assert config.graph_params.directed


def test_connections_are_undirected_when_asked():
    assert not configured("--undirected").graph_params.directed


@pytest.mark.parametrize(
    ("words", "sigma"),
    [
        ([], 0),
        (["--simulate_misalignment"], 1),
        (["--simulate-misalignment", "2.5"], 2.5),
        (["--no-sim-misalignment"], 0),
        (["--simulate_misalignment", "--no_sim_misalignment"], 0),
    ],
)
def test_misalignment_is_simulated_only_when_asked(words, sigma):
    assert configured(*words).simulate_sigma_px == sigma


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ([], None),
        (["--preset", "none", "--cutout", "5", "6", "7"], (5, 6, 7)),
        (["--preset", "medium"], (256, 256, 48)),
    ],
)
def test_the_size_comes_from_preset_or_cutout(words, size):
    assert configured(*words).source.cutout_xyz == size


def test_the_source_falls_back_only_if_none_was_chosen():
    assert configured().fall_back_to_phantom
    assert not configured("--dataset", configured().source.uri).fall_back_to_phantom


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sav_minimal"], "did you mean --save_minimal?"),
        (["--cutouts", "1", "2", "3"], "did you mean --cutout?"),
        (["--cutout", "64", "64", "0"], "'0' is not a whole number from 1"),
        (["--origin", "-1", "0", "0"], "'-1' is not a whole number from 0"),
        (["--seed", "seven"], "'seven' is not"),
        (["--voxel_size", "30", "8", "nan"], "'nan' is not a positive number"),
        (["--preset", "huge"], "safe8gb"),
        (["--dataset", "phantom://neuropil?sed=3"], "did you mean seed?"),
        (["--dataset", "s3://bucket/em"], "s3:// is not a supported"),
    ],
)
def test_invalid_arguments_are_usage_errors(tmp_path, capsys, words, message):
    assert in_process("--outdir", tmp_path / "out", "--dry_run", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_named_without_a_traceback(environment, tmp_path):
    done = call(environment, "--dataset", tmp_path / "nowhere.npy", "--outdir", "out")
    assert done.returncode == 1
    assert "nowhere.npy" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(tmp_path / "out") == {}
    assert [past.status for past in runlog.read_history(tmp_path / "out")] == ["failed"]
    shown = call(environment, "--dataset", tmp_path / "nowhere.npy", "--outdir", "out", "--debug")
    assert "Traceback" in shown.stderr


# --- the dry run --------------------------------------------------------------------------------


def test_a_dry_run_prints_the_plan_and_writes_nothing(environment, tmp_path):
    done = call(environment, *PHANTOM, "--preset", "safe8gb", "--dry-run", "--outdir", "out")
    assert (done.returncode, done.stderr) == (0, "")
    for expected in (
        *("phantom://neuropil?seed=7", "192 x 192 x 48 voxels", "30 x 8 x 8 nm", "µm", "MB"),
        *("out/", paths.LABELS, paths.EVALUATION, FIGURES["Figure4"].files[1], paths.RUN_LOG),
    ):
        assert expected in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_downloads_metadata_only(environment, tmp_path):
    boss = BossServer(np.ones((20, 90, 100), np.uint8))
    with serve(boss) as host:
        dataset = ("--dataset", "bossdb://lab/worm/em", "--boss_host", host)
        done = call(environment, *dataset, "--cutout", 40, 30, 8, "--resolution", 1, "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "30 x 16 x 16 nm (Z Y X), mip 1" in done.stdout
    assert boss.requests
    assert boss.cutouts == []


# --- BossDB -------------------------------------------------------------------------------------


def test_a_worm_from_bossdb_is_run_end_to_end(environment, tmp_path):
    phantom = make_phantom((16, 128, 144), seed=5)
    boss = BossServer(phantom.volume.data)
    words = ("--dataset", "bossdb://lab/worm/em", "--cutout", 96, 96, 6, "--outdir", "out")
    with serve(boss) as host:
        done = call(environment, *words, "--boss-host", host, "--origin", 10, 20, 3, "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    volume = read_volume(tmp_path / "out" / paths.CUTOUT)
    assert (volume.source, volume.voxel_size) == ("bossdb://lab/worm/em/0", SIZE)
    assert volume.origin == (3, 20, 10)
    np.testing.assert_array_equal(volume.data, phantom.volume.data[3:9, 20:116, 10:106])
    assert not (tmp_path / "out" / paths.EVALUATION).exists()
    assert "bossdb://lab/worm/em" in runlog.read_history(tmp_path / "out")[0].source
    assert pd.read_csv(tmp_path / "out" / paths.SYNAPSES).columns[0] == "z"


def test_the_phantom_replaces_an_unreachable_source_only_if_none_was_chosen(environment, tmp_path):
    words = ("--boss_host", NOWHERE, "--cutout", 80, 64, 4)
    done = call(environment, *words, "--outdir", "unchosen")
    assert done.returncode == 0, done.stderr
    assert "127.0.0.1" in done.stderr
    assert "nothing below shows a real worm" in " ".join(done.stderr.split())
    assert "phantom://neuropil" in done.stdout
    volume = read_volume(tmp_path / "unchosen" / paths.LABELS)
    assert volume.shape == (4, 64, 80)
    assert volume.source.startswith("phantom://neuropil")
    assert runlog.read_history(tmp_path / "unchosen")[0].source.startswith("phantom://neuropil")

    dataset = ("--dataset", "bossdb://mulcahy2022/1h_L1/em")
    done = call(environment, *words, *dataset, "--outdir", "chosen")
    assert done.returncode == 1
    assert "127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(tmp_path / "chosen") == {}
    (past,) = runlog.read_history(tmp_path / "chosen")
    assert (past.status, past.source) == ("failed", "bossdb://mulcahy2022/1h_L1/em")


# --- Ctrl-C -------------------------------------------------------------------------------------


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the run ended too early"
        assert time.monotonic() < deadline, "the run did not reach the stage"
        time.sleep(0.02)


@pytest.mark.posix
@pytest.mark.parametrize(
    "reached",
    [
        "preprocess",
        # A figure is being drawn by then, and seconds of work lie ahead: a run that is over cannot
        # be interrupted.
        "segment",
    ],
)
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_earlier_results_and_an_interrupted_run(environment, tmp_path, reached, sent):
    outdir = tmp_path / "out"
    for name in paths.MAIN_JOB_FILES:
        (outdir / name).parent.mkdir(parents=True, exist_ok=True)
        (outdir / name).write_bytes(b"earlier")
    before = contents(outdir)
    process = subprocess.Popen(
        script(*PHANTOM, "--cutout", 256, 256, 48, "--outdir", outdir, "--threads", 2),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def stage_is_logged():
        runs = runlog.read_history(outdir) if (outdir / paths.RUN_LOG).exists() else []
        return any(stage.name == reached for past in runs for stage in past.stages)

    wait_for(stage_is_logged, process)
    # A figure may be half drawn by now: it must not bring the run's folder back.
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; earlier results are unchanged" in errors
    assert "Traceback" not in errors
    assert contents(outdir) == before
    assert not list((outdir / "runs").glob(".*.partial"))
    assert [past.status for past in runlog.read_history(outdir)] == ["interrupted"]


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fib25_dev.npz", "isbi_dev.npz"])
def test_real_volumes_are_planned_with_their_own_voxel_size(shared_data, name, capsys):
    path = shared_data / name
    with np.load(path) as arrays:
        size = " x ".join(f"{length:g}" for length in arrays["voxel_size_nm_zyx"])
        z, y, x = arrays["raw"].shape
    assert in_process("--dataset", path, "--ground_truth", path, "--dry_run") == 0
    plan = capsys.readouterr().out
    assert f"{size} nm (Z Y X)" in plan
    assert f"{x} x {y} x {z} voxels" in plan
    assert paths.EVALUATION in plan
