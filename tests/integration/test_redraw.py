"""Figures again from files: the same bytes, only those asked for, nothing lost in failure."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.locations import ROOT

from connectome.cli.reporter import Reporter
from connectome.core.errors import DataError, UsageError
from connectome.core.params import RunConfig, Source
from connectome.io import paths
from connectome.io.files import file_sha256
from connectome.io.run_folder import RunFolder
from connectome.workflows import pipeline
from connectome.workflows.drawing import redraw

QUIET = Reporter(quiet=True)
CONFIG = RunConfig(Source("phantom://neuropil", (160, 160, 24), seed=7), fall_back_to_phantom=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    pipeline.run(replace(CONFIG, outdir=str(folder)), QUIET)
    return folder


@pytest.fixture
def outdir(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "outputs"))


def drawn(outdir):
    return {path.name: path.read_bytes() for path in (outdir / "figures").iterdir()}


def everything(outdir):
    return {path: path.read_bytes() for path in outdir.rglob("*") if path.is_file()}


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "connectome.figures", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_figures_drawn_again_are_the_same_byte_for_byte(outdir):
    before = drawn(outdir)
    for path in (outdir / "figures").iterdir():
        path.unlink()
    redraw.redraw(outdir, redraw.NAMES, QUIET)
    assert drawn(outdir) == before


def test_only_what_is_asked_for_is_drawn(outdir):
    for path in (outdir / "figures").iterdir():
        path.unlink()
    done = command(outdir, "--only", "Figure3", "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert set(drawn(outdir)) == {"Figure3_graph.pdf", "Figure3_graph.png"}


def test_a_report_can_be_written_alone(outdir):
    (outdir / paths.REPORT).unlink()
    redraw.redraw(outdir, {"report"}, QUIET)
    assert (outdir / paths.REPORT).exists()


def test_stacks_that_were_not_saved_leave_figure_1_out(outdir):
    (outdir / paths.PREPROCESSED).unlink()
    before = drawn(outdir)
    redraw.redraw(outdir, {"Figure1", "Figure4"}, QUIET)
    assert drawn(outdir) == before


def test_an_unknown_figure_is_refused(outdir):
    done = command(outdir, "--only", "NoFigure")
    assert done.returncode == 2 and "NoFigure" in done.stderr and "Traceback" not in done.stderr


def test_a_folder_without_a_run_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        done = command(folder)
        assert done.returncode == 2, done.stderr
        assert "run_pipeline.py" in done.stderr and "Traceback" not in done.stderr


def spoil(name, change):
    def spoiled(outdir):
        path = outdir / name
        change(pd.read_csv(path, dtype={"post_ids": str})).to_csv(path, index=False)

    return spoiled


def cut_short(name):
    return lambda outdir: (outdir / name).write_bytes(b"\xff\xfe\x00")


def rewrite(name, **changed):
    def rewritten(outdir):
        content = json.loads((outdir / name).read_text()) | changed
        (outdir / name).write_text(json.dumps(content))

    return rewritten


@pytest.mark.parametrize(
    ("spoiled", "problem"),
    [
        (spoil(paths.SYNAPSES, lambda t: t.drop(columns="score")), "no column score"),
        (spoil(paths.SYNAPSES, lambda t: t.assign(score=np.nan)), "row 1: score is nan"),
        (spoil(paths.SYNAPSES, lambda t: t.assign(post_ids="seven")), "row 1: post_ids"),
        (spoil(paths.EDGES, lambda t: t.drop(columns="weight")), "no column weight"),
        (spoil(paths.EDGES, lambda t: t.assign(weight="heavy")), "row 1: weight is heavy"),
        (spoil(paths.NODES, lambda t: t.assign(n_pre=np.inf)), "row 1: n_pre is inf"),
        (cut_short(paths.EVALUATION), "cannot be read"),
        (cut_short(paths.NODES), "cannot be read"),
        (cut_short(paths.ALIGNMENT), "cannot be read"),
        (lambda outdir: (outdir / paths.EDGES).unlink(), "there is no"),
        (lambda outdir: (outdir / paths.ALIGNMENT).write_text("{}"), "no shifts"),
        (rewrite(paths.ALIGNMENT, shifts=[[0, 0]]), "shifts is not of 24 sections"),
        (rewrite(paths.ALIGNMENT, shifts="far"), "shifts is not of 24 sections"),
        (rewrite(paths.ALIGNMENT, true_shifts=24 * [[None, 0]]), "true_shifts is not of"),
        (rewrite(paths.ALIGNMENT, matrices=[[1, 0]]), "matrices is not of 24 sections"),
        (rewrite(paths.ALIGNMENT, confidence=[1]), "confidence is not of 24 sections"),
        (rewrite(paths.ALIGNMENT, damaged_sections=[99]), r"damaged_sections is \[99\]"),
        (rewrite(paths.ALIGNMENT, damaged_sections="all"), "damaged_sections is all"),
        (rewrite(paths.EVALUATION, segmentation={"voi": 1}), "segmentation: are is None"),
        (rewrite(paths.EVALUATION, segmentation=[1]), "segmentation is no JSON object"),
        (rewrite(paths.EVALUATION, synapses={"200": {}}), "200: precision is None"),
        (lambda outdir: (outdir / paths.GRAPH_LABELS).write_text('{"labels": 5}'), "no labels: 5"),
        (lambda outdir: (outdir / paths.LABELS).write_bytes(b"junk"), "cannot be read"),
    ],
)
def test_damaged_files_are_named_and_nothing_is_overwritten(outdir, spoiled, problem):
    spoiled(outdir)
    before = everything(outdir)
    with pytest.raises((DataError, UsageError), match=problem):
        redraw.redraw(outdir, redraw.NAMES, QUIET)
    assert everything(outdir) == before


def test_labels_of_the_graph_are_drawn(outdir):
    """After a rebuild from corrected labels, the figures show these."""
    labels = np.load(outdir / paths.LABELS)
    np.save(outdir / paths.CORRECTED_LABELS, np.where(labels > 0, 7, 0).astype(np.int32))
    used = {
        "labels": paths.CORRECTED_LABELS,
        "sha256": file_sha256(outdir / paths.CORRECTED_LABELS),
    }
    (outdir / paths.GRAPH_LABELS).write_text(json.dumps(used))
    results = RunFolder(outdir)
    assert set(np.unique(results.graph_labels)) == {0, 7} and not results.graph_labels_changed
    np.save(outdir / paths.CORRECTED_LABELS, labels)
    assert RunFolder(outdir).graph_labels_changed
