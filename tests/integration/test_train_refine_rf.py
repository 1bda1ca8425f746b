"""The forest as a person runs it: on what a run left, in a folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from connectome import runlog
from connectome.cli import arguments
from connectome.cli.commands.refine import build_rf_parser, main_rf
from connectome.cli.reporter import Reporter
from connectome.core.params import RunConfig, Source
from connectome.figures import REFINER_FIGURES
from connectome.io import model_files, paths
from connectome.io.files import write_json
from connectome.refine import forest
from connectome.workflows import pipeline

SMALL = ["--n_estimators", "12", "--max_pixels", "4000", "--threads", "2"]
FILES = (
    paths.REFINED_PROBABILITY["rf"],
    paths.REFINED_LABELS["rf"],
    paths.REFINED_METRICS["rf"],
    *REFINER_FIGURES["rf"].files,
)


def drafted(folder, seed):
    source = Source(uri=f"phantom://neuropil?seed={seed}", cutout_xyz=(96, 96, 10), seed=seed)
    pipeline.run(RunConfig(source=source, outdir=str(folder)), Reporter(quiet=True))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return drafted(tmp_path_factory.mktemp("run"), 7)


@pytest.fixture(scope="module")
def learned(finished, tmp_path_factory):
    """Return a folder in which sections were proofread and a forest has learned from them."""
    outdir = shutil.copytree(finished, tmp_path_factory.mktemp("learned") / "outputs")
    shutil.copy(outdir / paths.TRUE_LABELS, outdir / paths.CORRECTED_LABELS)
    write_json(outdir / paths.PROOFREAD_SECTIONS, {"slices": [1, 4, 8]})
    assert script(outdir, *SMALL) == 0
    return outdir


@pytest.fixture
def outdir(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "outputs"))


def script(outdir, *flags):
    with pytest.raises(SystemExit) as ended:
        arguments.run(main_rf, ["--outdir", str(outdir), *flags], prog="train_refine_rf.py")
    return ended.value.code


def model_in(outdir):
    (path,) = (outdir / paths.MODELS).iterdir()
    return path


def test_everything_promised_is_left_and_logged(learned):
    log = runlog.read_history(learned)[-1]
    assert all((learned / name).stat().st_size for name in FILES)
    assert model_in(learned).name == f"rf_{log.run_id}.npz"
    assert [stage.name for stage in log.stages][:2] == ["membranes", "learn"]
    probability = np.load(learned / paths.REFINED_PROBABILITY["rf"])
    assert probability.dtype == np.float16
    assert probability.min() >= 0 and probability.max() <= 1


def test_proofread_sections_are_kept_and_the_others_are_scored(learned):
    metrics = json.loads((learned / paths.REFINED_METRICS["rf"]).read_text())
    labels, truth = (
        np.load(learned / name) for name in (paths.REFINED_LABELS["rf"], paths.TRUE_LABELS)
    )
    assert np.array_equal(labels[[1, 4, 8]], truth[[1, 4, 8]])
    assert metrics["learned_from"] == [1, 4, 8]
    assert metrics["held_out"]["sections"] == [4]
    assert metrics["scores"]["sections"] == 7
    assert metrics["scores"]["after"]["voi"] < metrics["scores"]["before"]["voi"]


def test_the_same_command_gives_the_same_bytes(learned):
    outdir = shutil.copytree(learned, learned.with_name("again"))
    shutil.rmtree(outdir / paths.MODELS)
    assert script(outdir, *SMALL, "--quiet") == 0
    arrays = FILES[:2]
    assert all((outdir / n).read_bytes() == (learned / n).read_bytes() for n in arrays)
    first, again = (model_files.read_model(model_in(o), forest.KIND) for o in (learned, outdir))
    assert first[0] == again[0]


def test_a_model_is_applied_where_nothing_is_proofread(learned, tmp_path, capsys):
    other = drafted(tmp_path / "other", 8)
    assert script(other, "--apply", str(model_in(learned)), "--quiet") == 0
    assert capsys.readouterr().out == ""
    metrics = json.loads((other / paths.REFINED_METRICS["rf"]).read_text())
    assert metrics["model"] == str(model_in(learned))
    assert metrics["proofread_sections"] == []
    assert not (other / paths.MODELS).exists()
    ratio = metrics["scores"]["after"]["voi"] / metrics["scores"]["before"]["voi"]
    assert ratio < 1.1


def test_without_proofread_sections_it_says_what_to_do_and_leaves_all_as_it_was(outdir, capsys):
    before = {path for path in outdir.rglob("*") if path.is_file()}
    assert script(outdir) == 1
    output = capsys.readouterr().err
    assert "no section has been proofread" in output
    assert "try: napari_proofread.py" in output and "--apply" in output
    left = {path for path in outdir.rglob("*") if path.is_file()} - before
    assert all(path.parent.name == "runs" for path in left)


def test_a_missing_model_is_a_usage_error(outdir, capsys):
    assert script(outdir, "--apply", str(outdir / "none.npz")) == 2
    assert "there is no model" in capsys.readouterr().err


def test_an_empty_name_of_a_model_is_a_usage_error_and_nothing_is_learned(tmp_path, capsys):
    assert script(tmp_path, "--apply", "") == 2
    assert "--apply: '' is not the path of a file" in capsys.readouterr().err


def test_a_folder_without_a_run_is_a_usage_error(tmp_path, capsys):
    assert script(tmp_path) == 2
    assert "run_pipeline.py" in capsys.readouterr().err


def test_defaults_are_those_of_the_forest():
    args = build_rf_parser().parse_args([])
    assert (args.n_estimators, args.max_pixels) == (
        forest.ForestParams.n_estimators,
        forest.ForestParams.max_pixels,
    )
