"""The road that refiners share: what they are given, what is scored, what is left behind."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from connectome import runlog
from connectome.cli.reporter import Reporter
from connectome.core.errors import DataError
from connectome.core.params import RunConfig, Source
from connectome.io import model_files, paths
from connectome.io.files import write_json
from connectome.io.run_folder import RunFolder
from connectome.io.volumes import read_volume
from connectome.refine.data import RefinedResult, mask_interiors, split_held_out
from connectome.workflows import pipeline, refine
from connectome.workflows.neurites import baseline_probability

QUIET = Reporter(quiet=True)
SOURCE = Source(uri="phantom://neuropil?seed=7", cutout_xyz=(128, 128, 12), seed=7)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    pipeline.run(RunConfig(source=SOURCE, outdir=str(folder)), QUIET)
    return folder


@pytest.fixture
def outdir(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "outputs"))


def proofread(outdir, *sections):
    """Have some sections corrected by somebody who knows the truth."""
    shutil.copy(outdir / paths.TRUE_LABELS, outdir / paths.CORRECTED_LABELS)
    write_json(outdir / paths.PROOFREAD_SECTIONS, {"slices": list(sections)})


def run(outdir, learn, **more):
    more = {"ground_truth": None, "seed": 7, "threads": 2, "params": Source()} | more
    config = refine.RefineConfig("rf", str(outdir), **more)
    return refine.refine(config, learn, QUIET, ["test"])


def untrained(material, _config, _console):
    """Learn nothing."""
    metrics = {"feature_importances": {"grey": 1.0}}
    meta = {"kind": "rf", "features": ["grey"], "voxel_size_nm": list(material.voxel_size)}
    return RefinedResult(material.untrained_probability, metrics, meta, {"weights": np.arange(3.0)})


def test_without_corrections_or_learning_the_draft_comes_out_again(outdir):
    metrics = run(outdir, untrained)
    assert np.array_equal(*(np.load(outdir / n) for n in (paths.LABELS, refined("LABELS"))))
    assert metrics["scores"]["before"] == metrics["scores"]["after"]


def test_a_probability_that_was_not_kept_is_found_again(outdir):
    kept = baseline_probability(RunFolder(outdir))
    (outdir / paths.PROBABILITY).unlink()
    assert np.array_equal(baseline_probability(RunFolder(outdir)), kept)
    # Without the sections as imaged it is made of those that alignment blurred.
    (outdir / paths.PREPROCESSED).unlink()
    again = baseline_probability(RunFolder(outdir))
    assert 0 < abs(again - kept).mean() < 0.05


def refined(what):
    return getattr(paths, f"REFINED_{what}")["rf"]


def test_corrections_alone_make_the_other_sections_better(outdir):
    proofread(outdir, 2, 9)
    metrics = run(outdir, untrained)
    scores = metrics["scores"]
    assert scores["sections"] == 10
    assert scores["after"]["voi"] < scores["before"]["voi"]
    labels, truth = (np.load(outdir / n) for n in (refined("LABELS"), paths.TRUE_LABELS))
    assert np.array_equal(labels[[2, 9]], truth[[2, 9]])


def test_sections_held_back_are_as_if_nobody_had_seen_them(outdir):
    proofread(outdir, 2, 9)
    seen = {}

    def learn(material, *_):
        seen["none"] = material.segment(material.untrained_probability, (2, 9))
        seen["one"] = material.segment(material.untrained_probability, (9,))
        seen["draft"], seen["true"] = material.labels, material.proofread.labels
        return untrained(material, *_)

    run(outdir, learn)
    assert np.array_equal(seen["none"], seen["draft"])
    assert np.array_equal(seen["one"][2], seen["true"][2])
    assert not np.array_equal(seen["one"][9], seen["true"][9])


def test_what_is_left_behind_can_be_read_again(outdir):
    proofread(outdir, 4)
    metrics = run(outdir, untrained)
    probability = read_volume(outdir / refined("PROBABILITY"))
    assert probability.data.dtype == np.float16 and probability.voxel_size == (30, 8, 8)
    stored = json.loads((outdir / refined("METRICS")).read_text())
    assert stored["scores"] == metrics["scores"] and stored["proofread_sections"] == [4]
    (model,) = (outdir / paths.MODELS).glob("rf_*.npz")
    meta, arrays = model_files.read_model(model, "rf")
    assert meta["features"] == ["grey"] and arrays["weights"].tolist() == [0, 1, 2]
    assert runlog.read_history(outdir)[-1].status == "finished"


def test_truth_may_be_given_as_it_was_drawn(outdir):
    (known := outdir / paths.TRUE_LABELS).rename(outdir / "mine.npy")
    paths.sidecar_path(known).unlink()
    assert "scores" not in run(outdir, untrained)
    scores = run(outdir, untrained, ground_truth=str(outdir / "mine.npy"))["scores"]
    # The truth in the folder has been carried along the alignment already: once more is too far.
    assert scores["after"]["are"] < 0.5
    np.save(outdir / "small.npy", np.ones((3, 9, 9), np.int32))
    with pytest.raises(DataError, match="cannot be laid over"):
        run(outdir, untrained, ground_truth=str(outdir / "small.npy"))


def test_what_fails_leaves_everything_as_it_was(outdir):
    run(outdir, untrained)
    kept = {name: (outdir / name).read_bytes() for name in (refined("LABELS"), refined("METRICS"))}

    def fail(*_):
        raise DataError("no")

    with pytest.raises(DataError):
        run(outdir, fail)
    assert {name: (outdir / name).read_bytes() for name in kept} == kept
    assert runlog.read_history(outdir)[-1].status == "failed"


# --- what is learned ------------------------------------------------------------------------------


def test_the_inside_of_a_neurite_ends_where_another_begins():
    labels = np.zeros((1, 6, 12), np.int32)
    labels[0, :, :5], labels[0, :, 5:10] = 1, 2
    coarse = mask_interiors(labels, (30, 8, 8))[0, 3]
    assert coarse.tolist() == [True] * 4 + [False] * 2 + [True] * 3 + [False] * 3
    fine = mask_interiors(labels, (50, 4, 4))[0, 3]
    assert fine.tolist() == [True] * 3 + [False] * 4 + [True] + [False] * 4


@pytest.mark.parametrize(
    ("sections", "expected"),
    [([5], []), ([2, 8], [8]), ([1, 2, 3, 4], [2]), (list(range(8)), [1, 5])],
)
def test_some_sections_are_held_out_for_scoring(sections, expected):
    learn, held_out = split_held_out(sections)
    assert held_out == expected
    assert sorted(learn + held_out) == sections
