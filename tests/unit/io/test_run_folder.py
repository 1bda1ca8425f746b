"""Reading the results of a run, and files that other programs added."""

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
    """Write the fewest files that a run leaves."""
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


def test_aligned_stack_tissue_and_damaged_sections_are_read(outdir):
    draft = RunFolder(outdir)
    assert draft.aligned.voxel_size == (30, 8, 8)
    assert draft.aligned.data.dtype == np.float32
    assert draft.damaged_sections == (2,)
    assert not draft.tissue[:, 0].any() and draft.tissue[:, 1:].all()
    assert draft.ground_truth.labels is None and draft.ground_truth.synapses is None
    assert draft.probability is None


def test_corrections_need_two_files_of_any_program(outdir):
    correct(outdir, [3, 1, 3], np.ones(SHAPE, np.uint64))
    proofread = RunFolder(outdir).proofread_sections
    assert proofread.sections == (1, 3)
    assert proofread.labels.dtype == np.int32


@pytest.mark.parametrize("slices", [[], None])
def test_without_proofread_sections_there_is_nothing_to_read(outdir, slices):
    if slices is not None:
        correct(outdir, slices)
    assert RunFolder(outdir).proofread_sections is None


@pytest.mark.parametrize(
    ("slices", "problem"), [([4], "section 4"), (["1"], "section numbers"), ({"z": 1}, "slices")]
)
def test_sections_outside_the_stack_are_refused(outdir, slices, problem):
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
def test_labels_that_do_not_fit_the_stack_are_refused(outdir, labels, problem):
    correct(outdir, [1], labels)
    with pytest.raises(DataError, match=problem) as refused:
        read_proofread(outdir)
    assert refused.value.consequence and refused.value.remedy


def test_the_labels_of_the_main_job_are_checked_too(outdir):
    np.save(outdir / paths.LABELS, np.full(SHAPE, -1, np.int32))
    with pytest.raises(DataError, match="from -1 to -1"):
        RunFolder(outdir).check_complete()


@pytest.mark.parametrize("damaged", [7, [999], [-1], [1.0], [True], ["1"], "all", None, {"1": 2}])
def test_damaged_sections_outside_the_stack_are_refused(outdir, damaged):
    write_json(outdir / paths.ALIGNMENT, {"damaged_sections": damaged})
    with pytest.raises(DataError, match=r"damaged_sections is .*, of 4 sections") as refused:
        RunFolder(outdir).check_complete()
    assert refused.value.remedy


def test_damaged_sections_are_optional(outdir):
    write_json(outdir / paths.ALIGNMENT, {"shifts": [[0, 0]] * 4})
    assert RunFolder(outdir).damaged_sections == ()


def test_labels_with_another_origin_are_refused(outdir):
    path = outdir / paths.CORRECTED_LABELS
    other = Volume(np.ones(SHAPE, np.int32), (30, 8, 8), (0, 0, 0), "here")
    write_volume(path, other)
    with pytest.raises(DataError, match="origin"):
        RunFolder(outdir).read_labels(path)


def test_proofread_sections_without_labels_are_refused(outdir):
    correct(outdir, [1])
    (outdir / paths.CORRECTED_LABELS).unlink()
    with pytest.raises(DataError, match="corrected"):
        read_proofread(outdir)


def stored(save, content, **more) -> bytes:
    file = io.BytesIO()
    save(file, content, **more)
    return file.getvalue()


INVALID_FILES = {
    "text": b"text",
    "empty": b"",
    "an archive": stored(np.savez, np.ones(SHAPE, np.int32)),
    "half an archive": stored(np.savez, np.ones(SHAPE, np.int32))[:99],
    "half an array": stored(np.save, np.ones(SHAPE, np.int32))[:99],
    "objects": stored(np.save, np.array([{}, None]), allow_pickle=True),
    "a pickle": pickle.dumps([1]),
}


@pytest.mark.parametrize("content", INVALID_FILES.values(), ids=INVALID_FILES)
@pytest.mark.parametrize("name", [paths.CORRECTED_LABELS, paths.LABELS])
def test_damaged_files_are_named_and_the_error_does_not_explain_pickles(outdir, name, content):
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
def test_invalid_json_files_are_named_with_a_remedy(outdir, name, content):
    correct(outdir, [1])
    (outdir / name).write_text(content)
    with pytest.raises(DataError, match=Path(name).name) as refused:
        read_proofread(outdir)
    assert refused.value.consequence and refused.value.remedy


@pytest.mark.parametrize("outdir", [Path("nowhere")], indirect=False)
def test_without_a_run_the_error_names_the_command(outdir):
    with pytest.raises(UsageError, match=r"run_pipeline\.py"):
        RunFolder(outdir).check_complete()


def test_a_file_is_read_from_the_first_folder_that_has_it(outdir, tmp_path_factory):
    staged = tmp_path_factory.mktemp("staged")
    write_json(staged / paths.EVALUATION, {"segmentation": {}})
    run = RunFolder(staged, outdir)
    assert run.outdir == outdir
    assert run.path(paths.EVALUATION).parent.parent == staged
    assert run.path(paths.LABELS).parent.parent == outdir
    assert run.path(paths.NODES).parent.parent == staged  # where a missing file would be written
    assert run.has(paths.EVALUATION, paths.LABELS) and not run.has(paths.LABELS, paths.NODES)


@pytest.mark.parametrize("matrices", [None, [[[1.0, 0.1], [0.0, 1.0]]] * 4])
def test_the_transforms_of_the_sections_are_read(outdir, matrices):
    content = {"shifts": [[0, 1], [2, 3], [4, 5], [6, 7]]}
    write_json(outdir / paths.ALIGNMENT, content | ({"matrices": matrices} if matrices else {}))
    transforms = RunFolder(outdir).transforms
    np.testing.assert_array_equal(transforms.shifts, np.arange(8.0).reshape(4, 2))
    if matrices is None:
        assert transforms.matrices is None
    else:
        np.testing.assert_array_equal(transforms.matrices, matrices)


def test_without_shifts_there_are_no_transforms(outdir):
    write_json(outdir / paths.ALIGNMENT, {"damaged_sections": []})
    with pytest.raises(DataError, match="no shifts"):
        _ = RunFolder(outdir).transforms


def test_labels_are_found_by_name_or_path(outdir):
    run = RunFolder(outdir)
    assert run.find_labels("baseline") == outdir / paths.LABELS
    assert run.find_labels("my/labels.npy") == Path("my/labels.npy")
    with pytest.raises(UsageError, match="no rf labels") as refused:
        run.find_labels("rf")
    assert refused.value.consequence == f"{outdir} has baseline"
    assert refused.value.remedy == "--labels baseline"


def test_reviewed_synapses_have_a_verdict_or_a_swapped_direction(outdir):
    columns = "z,y,x,pre_id,post_id,verdict,swapped\n"
    rows = "1,2,3,1,2,Accepted,False\n1,4,5,1,2,,False\n1,6,7,1,2,,True\n1,8,9,1,2,maybe,False\n"
    (outdir / paths.REVIEWED_SYNAPSES).write_text(columns + rows)
    reviewed = RunFolder(outdir).reviewed_synapses
    assert reviewed["y"].tolist() == [2, 6]
    assert reviewed["verdict"].tolist() == ["accepted", ""]


def test_the_ids_of_reviewed_synapses_are_those_of_corrected_labels(outdir):
    assert RunFolder(outdir).reviewed_labels.max() == 1
    correct(outdir, [1], np.full(SHAPE, 7, np.int32))
    assert RunFolder(outdir).reviewed_labels.max() == 7
