"""Reading what a run left, and what other programs put beside it."""

import json
from pathlib import Path

import numpy as np
import pytest

from connectome import layout
from connectome.draft import read_draft, read_labels, read_probability, read_proofread
from connectome.errors import DataError, UsageError
from connectome.volume import Volume

SHAPE = (4, 10, 12)


@pytest.fixture
def outdir(tmp_path):
    """Leave the least a run leaves."""
    aligned = np.full(SHAPE, 0.5, np.float16)
    aligned[:, 0] = 0
    labels = (aligned > 0).astype(np.int32)
    for name, stack in ((layout.ALIGNED["float16"], aligned), (layout.LABELS, labels)):
        layout.write_volume(tmp_path / name, Volume(stack, (30, 8, 8), (1, 2, 3), "here"))
    layout.write_json(tmp_path / layout.SHIFTS, {"shifts": [[0, 0]] * 4, "damaged_sections": [2]})
    return tmp_path


def correct(outdir, slices, labels=None):
    labels = np.ones(SHAPE, np.int32) if labels is None else labels
    np.save(outdir / layout.CORRECTED, labels)
    (outdir / layout.PROOFREAD).write_text(json.dumps({"slices": slices, "by": "me"}))


def test_a_draft_knows_its_tissue_and_its_place(outdir):
    draft = read_draft(outdir)
    assert draft.aligned.voxel_size == (30, 8, 8)
    assert draft.aligned.data.dtype == np.float32
    assert draft.damaged == (2,)
    assert not draft.tissue[:, 0].any() and draft.tissue[:, 1:].all()
    assert draft.truth.labels is None and draft.truth.synapses is None
    assert read_probability(draft) is None


def test_two_files_from_any_program_are_enough(outdir):
    correct(outdir, [3, 1, 3], np.ones(SHAPE, np.uint64))
    proofread = read_proofread(read_draft(outdir))
    assert proofread.sections == (1, 3)
    assert proofread.labels.dtype == np.int32


@pytest.mark.parametrize("slices", [[], None])
def test_no_section_is_no_proofreading(outdir, slices):
    if slices is not None:
        correct(outdir, slices)
    assert read_proofread(read_draft(outdir)) is None


@pytest.mark.parametrize(
    ("slices", "problem"), [([4], "section 4"), (["1"], "section numbers"), ({"z": 1}, "slices")]
)
def test_sections_that_are_not_there_are_refused(outdir, slices, problem):
    correct(outdir, slices)
    with pytest.raises(DataError, match=problem):
        read_proofread(read_draft(outdir))


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (np.ones((4, 10, 11), np.int32), "shape"),
        (np.full(SHAPE, -1, np.int32), "whole numbers"),
        (np.ones(SHAPE, np.float32), "float32"),
        (np.full(SHAPE, 2**31, np.int64), "2147483647"),
    ],
)
def test_labels_that_do_not_fit_are_refused(outdir, labels, problem):
    correct(outdir, [1], labels)
    with pytest.raises(DataError, match=problem):
        read_proofread(read_draft(outdir))


def test_labels_of_another_place_are_refused(outdir):
    path = outdir / layout.CORRECTED
    other = Volume(np.ones(SHAPE, np.int32), (30, 8, 8), (0, 0, 0), "here")
    layout.write_volume(path, other)
    with pytest.raises(DataError, match="origin"):
        read_labels(path, read_draft(outdir).aligned)


def test_a_list_without_labels_is_refused(outdir):
    correct(outdir, [1])
    (outdir / layout.CORRECTED).unlink()
    with pytest.raises(DataError, match="corrected"):
        read_proofread(read_draft(outdir))


def test_damaged_files_are_named(outdir):
    (outdir / layout.CORRECTED).write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(outdir / layout.CORRECTED, read_draft(outdir).aligned)


@pytest.mark.parametrize("outdir", [Path("nowhere")], indirect=False)
def test_without_a_run_one_is_asked_for(outdir):
    with pytest.raises(UsageError, match=r"run_pipeline\.py"):
        read_draft(outdir)
