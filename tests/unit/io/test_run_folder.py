"""Reading what a run left, and what other programs put beside it."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from connectome.core.errors import DataError, UsageError
from connectome.core.volume import Volume
from connectome.io import paths
from connectome.io.files import write_json
from connectome.io.run_folder import RunFolder
from connectome.io.volumes import write_volume

SHAPE = (4, 10, 12)


@pytest.fixture
def outdir(tmp_path):
    """Leave the least a run leaves."""
    aligned = np.full(SHAPE, 0.5, np.float16)
    aligned[:, 0] = 0
    labels = (aligned > 0).astype(np.int32)
    for name, stack in ((paths.ALIGNED["float16"], aligned), (paths.LABELS, labels)):
        write_volume(tmp_path / name, Volume(stack, (30, 8, 8), (1, 2, 3), "here"))
    write_json(tmp_path / paths.ALIGNMENT, {"shifts": [[0, 0]] * 4, "damaged_sections": [2]})
    return tmp_path


def correct(outdir, slices, labels=None):
    labels = np.ones(SHAPE, np.int32) if labels is None else labels
    np.save(outdir / paths.CORRECTED_LABELS, labels)
    (outdir / paths.PROOFREAD_SECTIONS).write_text(json.dumps({"slices": slices, "by": "me"}))


def read_proofread(outdir):
    draft = RunFolder(outdir)
    draft.check_complete()
    return draft.proofread_sections


def test_a_draft_knows_its_tissue_and_its_place(outdir):
    draft = RunFolder(outdir)
    assert draft.aligned.voxel_size == (30, 8, 8)
    assert draft.aligned.data.dtype == np.float32
    assert draft.damaged_sections == (2,)
    assert not draft.tissue[:, 0].any() and draft.tissue[:, 1:].all()
    assert draft.ground_truth.labels is None and draft.ground_truth.synapses is None
    assert draft.probability is None


def test_two_files_from_any_program_are_enough(outdir):
    correct(outdir, [3, 1, 3], np.ones(SHAPE, np.uint64))
    proofread = RunFolder(outdir).proofread_sections
    assert proofread.sections == (1, 3)
    assert proofread.labels.dtype == np.int32


@pytest.mark.parametrize("slices", [[], None])
def test_no_section_is_no_proofreading(outdir, slices):
    if slices is not None:
        correct(outdir, slices)
    assert RunFolder(outdir).proofread_sections is None


@pytest.mark.parametrize(
    ("slices", "problem"), [([4], "section 4"), (["1"], "section numbers"), ({"z": 1}, "slices")]
)
def test_sections_that_are_not_there_are_refused(outdir, slices, problem):
    correct(outdir, slices)
    with pytest.raises(DataError, match=problem) as refused:
        read_proofread(outdir)
    assert refused.value.consequence and refused.value.remedy


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (np.ones((4, 10, 11), np.int32), "shape"),
        (np.full(SHAPE, -1, np.int32), "whole numbers"),
        (np.ones(SHAPE, np.float32), "float32"),
        (np.full(SHAPE, 2**31, np.int64), "2147483647"),
        (np.full(SHAPE, "1"), "whole numbers"),
        (np.zeros(SHAPE, [("id", np.int32)]), "whole numbers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(outdir, labels, problem):
    correct(outdir, [1], labels)
    with pytest.raises(DataError, match=problem) as refused:
        read_proofread(outdir)
    assert refused.value.consequence and refused.value.remedy


def test_the_labels_of_the_run_itself_are_checked_too(outdir):
    np.save(outdir / paths.LABELS, np.full(SHAPE, -1, np.int32))
    with pytest.raises(DataError, match="from -1 to -1"):
        RunFolder(outdir).check_complete()


@pytest.mark.parametrize("damaged", [7, [999], [-1], [1.0], [True], ["1"], "all", None, {"1": 2}])
def test_damaged_sections_that_are_none_of_the_stack_are_refused(outdir, damaged):
    write_json(outdir / paths.ALIGNMENT, {"damaged_sections": damaged})
    with pytest.raises(DataError, match=r"damaged_sections is .*, of 4 sections") as refused:
        RunFolder(outdir).check_complete()
    assert refused.value.remedy


def test_where_no_section_is_said_to_be_damaged_none_is(outdir):
    write_json(outdir / paths.ALIGNMENT, {"shifts": [[0, 0]] * 4})
    assert RunFolder(outdir).damaged_sections == ()


def test_labels_of_another_place_are_refused(outdir):
    path = outdir / paths.CORRECTED_LABELS
    other = Volume(np.ones(SHAPE, np.int32), (30, 8, 8), (0, 0, 0), "here")
    write_volume(path, other)
    with pytest.raises(DataError, match="origin"):
        RunFolder(outdir).read_labels(path)


def test_a_list_without_labels_is_refused(outdir):
    correct(outdir, [1])
    (outdir / paths.CORRECTED_LABELS).unlink()
    with pytest.raises(DataError, match="corrected"):
        read_proofread(outdir)


def stored(save, content, **more) -> bytes:
    file = io.BytesIO()
    save(file, content, **more)
    return file.getvalue()


NO_ARRAYS = {
    "text": b"nothing",
    "nothing": b"",
    "an archive": stored(np.savez, np.ones(SHAPE, np.int32)),
    "half an archive": stored(np.savez, np.ones(SHAPE, np.int32))[:99],
    "half an array": stored(np.save, np.ones(SHAPE, np.int32))[:99],
    "objects": stored(np.save, np.array([{}, None]), allow_pickle=True),
    "a pickle": pickle.dumps([1]),
}


@pytest.mark.parametrize("content", NO_ARRAYS.values(), ids=NO_ARRAYS)
@pytest.mark.parametrize("name", [paths.CORRECTED_LABELS, paths.LABELS])
def test_damaged_files_are_named_and_nobody_is_told_to_load_them_unsafely(outdir, name, content):
    correct(outdir, [1])
    (outdir / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} cannot be read") as refused:
        read_proofread(outdir)
    assert refused.value.consequence and refused.value.remedy
    assert "allow_pickle" not in str(refused.value)


@pytest.mark.parametrize("content", ["{", "[]", "\0", "[" * 100_000])
@pytest.mark.parametrize(
    "name",
    [paths.PROOFREAD_SECTIONS, paths.sidecar_path(Path(paths.CORRECTED_LABELS)), paths.ALIGNMENT],
)
def test_descriptions_that_are_none_are_named_with_what_to_do(outdir, name, content):
    correct(outdir, [1])
    (outdir / name).write_text(content)
    with pytest.raises(DataError, match=Path(name).name) as refused:
        read_proofread(outdir)
    assert refused.value.consequence and refused.value.remedy


@pytest.mark.parametrize("outdir", [Path("nowhere")], indirect=False)
def test_without_a_run_one_is_asked_for(outdir):
    with pytest.raises(UsageError, match=r"run_pipeline\.py"):
        RunFolder(outdir).check_complete()
