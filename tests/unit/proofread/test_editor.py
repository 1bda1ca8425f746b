"""Every edit does what it should, is recorded, and can be undone."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.core.errors import ConnectomeError, DataError
from connectome.proofread import split
from connectome.proofread.editor import LabelEditor
from connectome.runlog.edit_record import EditRecord

SHAPE = (4, 6, 8)


def stack():
    """Return neurites 1 to 4 in quarters of every section, and no label in the last column."""
    labels = np.empty(SHAPE, np.int32)
    labels[:, :3, :4], labels[:, :3, 4:], labels[:, 3:, :4], labels[:, 3:, 4:] = 1, 2, 3, 4
    labels[..., -1] = 0
    return labels


def candidates():
    return pd.DataFrame(
        {
            "z": [1, 2],
            "y": [2, 3],
            "x": [3, 4],
            "pre_id": [1, 3],
            "post_id": [2, 4],
            "post_ids": ["2;3", "4"],
        }
    )


def make_editor(labels=None, probability=None, tissue=None):
    """Return an editor, and the list of its records."""
    records = []
    labels = stack() if labels is None else labels
    probability = np.ones(labels.shape, np.float32) if probability is None else probability
    tissue = np.ones(labels.shape, bool) if tissue is None else tissue
    editor = LabelEditor(
        labels,
        probability,
        tissue,
        synapses=candidates(),
        sections=[0],
        user="ada",
        on_edit=records.append,
    )
    return editor, records


def voxels(*places):
    return tuple(np.array(places).T)


def test_merging_gives_all_voxels_of_the_other_neurite_to_the_one_kept():
    editor, records = make_editor()
    result = editor.merge(1, 2, position=(0, 1, 4))
    want = stack()
    want[want == 2] = 1
    np.testing.assert_array_equal(editor.labels, want)
    assert result.box == (slice(0, 4), slice(0, 3), slice(4, 7))
    (row,) = records
    assert (row.tool, row.ids, row.position) == ("merge", (1, 2), (0, 1, 4))
    assert (row.voxel_delta, row.user) == (4 * 3 * 3, "ada")
    assert row.time.endswith("+00:00")


def test_labels_are_edited_in_place():
    labels = stack()
    editor, _ = make_editor(labels)
    editor.merge(3, 4)
    assert editor.labels is labels
    assert not (labels == 4).any()


@pytest.mark.parametrize(("keep", "other"), [(1, 1), (1, 0), (0, 1), (1, 9), (9, 1)])
def test_an_impossible_merge_is_refused_and_changes_nothing(keep, other):
    editor, records = make_editor()
    with pytest.raises(ConnectomeError) as error:
        editor.merge(keep, other)
    assert error.value.remedy
    assert not records
    np.testing.assert_array_equal(editor.labels, stack())


def dumbbell():
    """Return one neurite of two parts, joined at a weak boundary, and its probability."""
    labels = np.ones((3, 5, 21), np.int32)
    probability = np.ones(labels.shape, np.float32)
    probability[..., 12] = 0.2
    return labels, probability


@pytest.mark.parametrize("section", [None, 1])
def test_a_split_follows_the_membrane(section):
    labels, probability = dumbbell()
    editor, records = make_editor(labels, probability)
    seeds = np.zeros(labels.shape, np.uint8)
    seeds[1, 2, 0], seeds[1, 2, 20] = 3, 7
    editor.split(1, seeds, section, position=(1, 2, 12))
    where = slice(None) if section is None else section
    assert (editor.labels[where][..., :12] == 1).all()
    assert (editor.labels[where][..., 13:] == 2).all()
    if section is not None:
        assert (editor.labels[[0, 2]] == 1).all()
    assert records[0].ids == (1, 2)
    assert records[0].voxel_delta == (editor.labels == 2).sum()


def test_two_strokes_of_one_colour_are_two_groups_of_seeds():
    labels, probability = dumbbell()
    editor, _ = make_editor(labels, probability)
    seeds = np.zeros(labels.shape, np.uint8)
    seeds[1, 1:3, 1], seeds[2, 2, 19] = 5, 5
    editor.split(1, seeds)
    assert set(np.unique(editor.labels)) == {1, 2}
    assert (editor.labels[..., 13:] == 2).all()


def test_a_split_into_three_gives_two_new_ids_and_keeps_what_no_seed_reaches():
    labels = np.full((1, 3, 12), 5, np.int32)
    labels[..., 9] = 0  # the last two columns lie apart
    editor, records = make_editor(labels)
    seeds = np.zeros(labels.shape, int)
    seeds[0, 1, [0, 4, 8]] = 1, 2, 3
    editor.split(5, seeds)
    assert records[0].ids == (5, 6, 7)
    assert set(editor.labels[0, 1, [0, 4, 8]]) == {5, 6, 7}
    assert (editor.labels[..., 10:] == 5).all()


def test_the_largest_part_of_a_split_keeps_the_id_whichever_seed_came_first():
    labels, probability = dumbbell()
    editor, _ = make_editor(labels, probability)
    seeds = np.zeros(labels.shape, np.uint8)
    seeds[1, 2, 20], seeds[1, 2, 0] = 1, 2
    editor.split(1, seeds)
    assert (editor.labels[..., :12] == 1).all()
    assert (editor.labels[..., 13:] == 2).all()


def test_seeds_outside_the_neurite_are_ignored():
    editor, records = make_editor()
    seeds = np.zeros(SHAPE, int)
    seeds[0, 0, 0], seeds[0, 0, 5] = 1, 2  # the second lies in neurite 2
    with pytest.raises(ConnectomeError, match="1 of the two seeds") as error:
        editor.split(1, seeds)
    assert "stroke" in error.value.remedy
    assert not records


def test_the_probability_is_computed_at_the_first_split_and_only_once():
    labels, probability = dumbbell()
    calls = []

    def compute():
        calls.append(1)
        return probability

    editor, _ = make_editor(labels, compute)
    editor.paint(voxels((0, 0, 0)), 3)
    assert not calls
    seeds = np.zeros(labels.shape, int)
    seeds[1, 2, 2], seeds[1, 2, 20] = 1, 2
    editor.split(1, seeds)
    seeds[1, 2, 10] = 3
    editor.split(1, seeds * (seeds != 2))
    assert len(calls) == 1


def test_a_prepared_split_is_computed_once_and_again_after_an_undo(monkeypatch):
    labels, probability = dumbbell()
    editor, _ = make_editor(labels, probability)
    calls = []
    split_neurite = split.split_neurite
    monkeypatch.setattr(
        split, "split_neurite", lambda *args: calls.append(1) or split_neurite(*args)
    )
    seeds = np.zeros(labels.shape, np.uint8)
    seeds[1, 2, 0], seeds[1, 2, 20] = 1, 2
    editor.prepare_split(1, seeds)
    editor.prepare_split(1, seeds)
    assert (labels == 1).all()
    editor.split(1, seeds)
    assert len(calls) == 1
    assert (labels[..., 13:] == 2).all()
    editor.undo()
    editor.split(1, seeds)
    assert len(calls) == 2


def test_a_split_that_could_not_be_prepared_fails_when_requested_and_may_work_later():
    labels, probability = dumbbell()
    there = []

    def read():
        if not there:
            raise DataError("the probability is not there")
        return probability

    editor, records = make_editor(labels, read)
    seeds = np.zeros(labels.shape, np.uint8)
    seeds[1, 2, 0] = 1
    editor.prepare_split(1, seeds)
    editor.prepare_split(9, seeds)  # refused silently
    seeds[1, 2, 20] = 2
    editor.prepare_split(1, seeds)
    with pytest.raises(DataError, match="not there"):
        editor.split(1, seeds)
    assert not records
    there.append(True)
    editor.split(1, seeds)
    assert (labels[..., 13:] == 2).all()


def test_painting_changes_only_voxels_of_other_ids():
    editor, records = make_editor()
    result = editor.paint(voxels((0, 0, 2), (0, 0, 3), (0, 0, 4), (0, 0, 5)), 1)
    assert (editor.labels[0, 0] == [1, 1, 1, 1, 1, 1, 2, 0]).all()
    assert records[0].voxel_delta == 2
    assert result.box == (slice(0, 1), slice(0, 1), slice(4, 6))


def test_a_stroke_that_changes_nothing_is_not_recorded():
    editor, records = make_editor()
    result = editor.paint(voxels((0, 0, 0)), 1)
    assert result is None
    assert not records
    assert editor.undo() is None


def test_a_stroke_painted_by_the_window_can_be_undone():
    editor, records = make_editor()
    places = voxels((1, 0, 3), (1, 0, 4), (1, 0, 4), (1, 0, 7))
    editor.labels[places] = 3
    # The third voxel was painted twice: its id before the first time counts.
    editor.paint(places, 3, before=np.array([1, 2, 3, 0]))
    assert records[0].voxel_delta == 3
    editor.undo()
    np.testing.assert_array_equal(editor.labels, stack())


def test_painting_with_id_0_erases():
    editor, records = make_editor()
    editor.erase(voxels((0, 0, 0)))
    editor.paint(voxels((0, 0, 1)), 0)
    assert editor.labels[0, 0, :3].tolist() == [0, 0, 1]
    assert [row.tool for row in records] == ["erase", "erase"]


@pytest.mark.parametrize("place", [(4, 0, 0), (0, 0, 8), (0, -1, 0)])
def test_painting_outside_the_stack_is_refused(place):
    editor, records = make_editor()
    with pytest.raises(ConnectomeError, match="outside the stack"):
        editor.paint(voxels((0, 0, 0), place), 2)
    assert not records
    np.testing.assert_array_equal(editor.labels, stack())


@pytest.mark.parametrize("neurite", [-1, 2**31])
def test_an_id_beyond_32_bits_is_refused(neurite):
    editor, _ = make_editor()
    with pytest.raises(ConnectomeError, match="no neurite id"):
        editor.paint(voxels((0, 0, 0)), neurite)


def test_filling_stays_in_the_profile_and_its_section():
    labels = stack()
    labels[1, 0, 2] = 2
    labels[1, :3, 1] = 2  # cuts neurite 1 in two profiles
    editor, _ = make_editor(labels.copy())
    editor.fill((1, 2, 0), 9)
    want = labels.copy()
    want[1, :3, 0] = 9
    np.testing.assert_array_equal(editor.labels, want)


def test_filling_unlabelled_voxels_stops_at_the_edge_of_the_tissue():
    tissue = np.ones(SHAPE, bool)
    tissue[:, 3:, -1] = False
    editor, _ = make_editor(tissue=tissue)
    editor.fill((0, 0, 7), 2)
    assert (editor.labels[0, :3, -1] == 2).all()
    assert (editor.labels[0, 3:, -1] == 0).all()
    with pytest.raises(ConnectomeError, match="no tissue"):
        editor.fill((0, 5, 7), 2)
    with pytest.raises(ConnectomeError, match="already"):
        editor.fill((0, 0, 7), 2)


def test_a_new_id_belonged_to_no_neurite_even_after_undo():
    editor, _ = make_editor()
    assert editor.new_id() == editor.new_id() == 5
    editor.paint(voxels((0, 0, 0)), 5, "new")
    assert editor.new_id() == 6
    editor.undo()
    assert editor.new_id() == 6


def test_ids_may_have_gaps():
    labels = stack()
    labels[labels == 4] = 2_000_000_000
    editor, _ = make_editor(labels)
    editor.merge(1, 2_000_000_000)
    assert (editor.labels == 1).sum() == 4 * (12 + 9)


def test_a_verdict_names_the_reviewer_and_can_be_withdrawn():
    editor, records = make_editor()
    editor.review(1, "rejected")
    assert editor.synapses.loc[1, ["verdict", "reviewer"]].tolist() == ["rejected", "ada"]
    assert editor.synapses.loc[0, "verdict"] == ""
    assert (records[0].tool, records[0].ids, records[0].position) == ("reject", (1,), (2, 3, 4))
    assert editor.review(1, "rejected") is None
    editor.review(1, "")
    assert editor.synapses.loc[1, ["verdict", "reviewer", "time"]].tolist() == ["", "", ""]
    assert records[-1].tool == "unreview"


def test_swapping_twice_restores_the_synapse_and_keeps_other_partners():
    editor, _ = make_editor()
    before = editor.synapses.copy()
    editor.swap(0)
    row = editor.synapses.loc[0]
    assert (row["pre_id"], row["post_id"], row["post_ids"]) == (2, 1, "1;3")
    assert row["swapped"] and row["reviewer"] == "ada"
    editor.swap(0)
    pd.testing.assert_frame_equal(editor.synapses, before)


def test_marking_a_section_twice_is_recorded_once():
    editor, records = make_editor()
    assert editor.mark(0) is None
    editor.mark(2)
    editor.mark(0, done=False)
    assert editor.sections == {2}
    assert [(row.tool, row.ids) for row in records] == [("mark", (2,)), ("unmark", (0,))]


@pytest.mark.parametrize(
    "edit",
    [
        lambda editor: editor.mark(4),
        lambda editor: editor.mark(-1),
        lambda editor: editor.review(2, "accepted"),
        lambda editor: editor.swap(-1),
        lambda editor: editor.fill((0, 6, 0), 1),
        lambda editor: editor.split(1, np.ones(SHAPE, int), section=4),
    ],
)
def test_edits_of_missing_sections_synapses_or_voxels_are_refused(edit):
    editor, records = make_editor()
    with pytest.raises(ConnectomeError):
        edit(editor)
    assert not records


def test_undo_and_redo_record_the_edit_they_refer_to():
    editor, records = make_editor()
    editor.merge(1, 2, position=(0, 0, 4))
    undone, redone = editor.undo(), editor.redo()
    assert undone.box == redone.box == (slice(0, 4), slice(0, 3), slice(4, 7))
    assert [row.tool for row in records] == ["merge", "undo", "redo"]
    for row in records[1:]:
        assert (row.ids, row.position, row.voxel_delta) == ((1, 2), (0, 0, 4), 36)
        assert json.loads(row.payload) == {"tool": "merge"}
    assert editor.redo() is None


def test_a_new_edit_clears_the_redo_stack():
    editor, _ = make_editor()
    editor.merge(1, 2)
    editor.undo()
    editor.mark(1)
    assert editor.redo() is None


def test_an_edit_that_cannot_be_recorded_is_reverted():
    editor, _ = make_editor()
    editor.merge(1, 2)
    after = editor.labels.copy()

    def fail(record):
        raise ConnectomeError("the disk is full")

    editor.on_edit = fail
    editor.labels[0, 0, 0] = 3  # as the window does before it reports
    for edit in (
        lambda: editor.paint(voxels((0, 0, 0)), 3, before=np.array([1])),
        lambda: editor.merge(3, 4),
        lambda: editor.undo(),
        lambda: editor.review(0, "accepted"),
        lambda: editor.mark(3),
    ):
        with pytest.raises(ConnectomeError, match="full"):
            edit()
        np.testing.assert_array_equal(editor.labels, after)
    assert editor.sections == {0}
    assert (editor.synapses["verdict"] == "").all()
    editor.on_edit = lambda record: None
    editor.undo()
    np.testing.assert_array_equal(editor.labels, stack())


@pytest.mark.parametrize("payload", [b"", b"no zlib", b"x\x9c\x03\x00\x00\x00\x00\x01"])
def test_a_damaged_record_is_refused(payload):
    editor, _ = make_editor()
    row = EditRecord("paint", (2,), (0, 0, 0), 1, payload, "2026-01-01T00:00:00+00:00", "ada")
    with pytest.raises(DataError, match="cannot be"):
        editor.replay(row)


@pytest.mark.parametrize(
    "edit",
    [
        lambda editor: editor.merge(1, 2),
        lambda editor: editor.paint(voxels((0, 0, 0), (0, 0, 4)), 4),
        lambda editor: editor.swap(0),
    ],
)
def test_replaying_on_other_labels_is_refused(edit):
    editor, records = make_editor()
    edit(editor)
    other, _ = make_editor()
    other.labels[other.labels == 2] = 4
    other.synapses["x"] += 1
    with pytest.raises(DataError, match="made on other labels"):
        other.replay(records[0])


PLACES = st.tuples(*(st.integers(0, n - 1) for n in SHAPE))
IDS = st.integers(0, 8)
EDITS = st.one_of(
    st.tuples(st.just("merge"), IDS, IDS),
    st.tuples(st.just("split"), IDS, st.lists(PLACES, min_size=2, max_size=4)),
    st.tuples(st.just("paint"), st.lists(PLACES, min_size=1, max_size=20), IDS),
    st.tuples(st.just("fill"), PLACES, IDS),
    st.tuples(st.just("review"), st.integers(0, 1), st.sampled_from(["", "accepted", "rejected"])),
    st.tuples(st.just("swap"), st.integers(0, 1)),
    st.tuples(st.just("mark"), st.integers(0, 3), st.booleans()),
    st.sampled_from([("undo",), ("redo",)]),
)


def perform(editor, edit):
    """Make one edit of a random sequence; an impossible one changes nothing."""
    tool, *arguments = edit
    if tool == "split":
        seeds = np.zeros(SHAPE, int)
        seeds[voxels(*arguments[1])] = np.arange(len(arguments[1])) + 1
        arguments = [arguments[0], seeds]
    elif tool == "paint":
        arguments[0] = voxels(*arguments[0])
    try:
        getattr(editor, tool)(*arguments)
    except DataError:
        raise
    except ConnectomeError:
        pass


def everything(editor):
    return editor.labels.tobytes(), editor.synapses.to_csv(), sorted(editor.sections)


def textured():
    return np.random.default_rng(0).random(SHAPE).astype(np.float32)


@settings(max_examples=60)
@given(st.lists(EDITS, max_size=25))
def test_any_edits_can_be_undone_and_redone(edits):
    editor, _ = make_editor(probability=textured())
    before = everything(editor)
    for edit in edits:
        perform(editor, edit)
    after = everything(editor)
    n_undone = 0
    while editor.undo():
        n_undone += 1
    assert everything(editor) == before
    for _ in range(n_undone):
        editor.redo()
    assert everything(editor) == after


SPLITS = st.sampled_from([(1, 7), (1, 2), (2, 7)])  # columns of the seeds
PREPARED = st.one_of(
    st.tuples(st.just("prepare"), SPLITS),
    st.tuples(st.just("split"), SPLITS),
    st.tuples(st.just("paint"), st.lists(PLACES, min_size=1, max_size=20), st.just(1)),
    st.tuples(st.just("merge"), st.just(1), IDS),
    st.just(("undo",)),
)


@settings(max_examples=60)
@given(st.lists(PREPARED, max_size=12))
def test_preparing_a_split_does_not_change_its_result(edits):
    editor, plain = (make_editor(np.ones(SHAPE, np.int32), textured())[0] for _ in range(2))
    for tool, *arguments in edits:
        if tool == "prepare":
            seeds = np.zeros(SHAPE, int)
            seeds[1, 2, list(arguments[0])] = 1, 2
            editor.prepare_split(1, seeds)
            continue
        if tool == "split":
            arguments = [1, [(1, 2, x) for x in arguments[0]]]
        for each in (editor, plain):
            perform(each, (tool, *arguments))
    assert everything(editor) == everything(plain)


@settings(max_examples=60)
@given(st.lists(EDITS, max_size=25))
def test_replaying_the_records_of_any_edits_gives_the_same_state(edits):
    editor, records = make_editor(probability=textured())
    for edit in edits:
        perform(editor, edit)
    # The probability is not needed: the records contain the result of a split.
    again, silent = make_editor(probability=np.zeros(SHAPE, np.float32))
    for row in records:
        again.replay(row)
    assert everything(again) == everything(editor)
    assert not silent
