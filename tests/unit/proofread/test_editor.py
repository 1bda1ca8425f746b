"""Every edit does what it says, is told of, and can be taken back."""

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
    """Neurites 1 to 4 in quarters of every section, and nobody in the last column."""
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


def proofread(labels=None, probability=None, tissue=None):
    """Return what is edited, and the list of what it tells."""
    told = []
    labels = stack() if labels is None else labels
    probability = np.ones(labels.shape, np.float32) if probability is None else probability
    tissue = np.ones(labels.shape, bool) if tissue is None else tissue
    state = LabelEditor(
        labels,
        probability,
        tissue,
        synapses=candidates(),
        sections=[0],
        user="ada",
        on_edit=told.append,
    )
    return state, told


def voxels(*places):
    return tuple(np.array(places).T)


def test_merging_gives_all_of_the_other_neurite_to_the_one_that_is_kept():
    state, told = proofread()
    change = state.merge(1, 2, place=(0, 1, 4))
    want = stack()
    want[want == 2] = 1
    np.testing.assert_array_equal(state.labels, want)
    assert change.box == (slice(0, 4), slice(0, 3), slice(4, 7))
    (row,) = told
    assert (row.tool, row.ids, row.position) == ("merge", (1, 2), (0, 1, 4))
    assert (row.voxel_delta, row.user) == (4 * 3 * 3, "ada")
    assert row.time.endswith("+00:00")


def test_the_array_that_is_shown_is_the_one_that_changes():
    labels = stack()
    state, _ = proofread(labels)
    state.merge(3, 4)
    assert state.labels is labels
    assert not (labels == 4).any()


@pytest.mark.parametrize(("keep", "other"), [(1, 1), (1, 0), (0, 1), (1, 9), (9, 1)])
def test_merging_what_cannot_be_merged_is_refused_and_changes_nothing(keep, other):
    state, told = proofread()
    with pytest.raises(ConnectomeError) as error:
        state.merge(keep, other)
    assert error.value.remedy
    assert not told
    np.testing.assert_array_equal(state.labels, stack())


def dumbbell():
    """Two bright blobs joined through a dim neck, as one neurite, in an anisotropic stack."""
    labels = np.ones((3, 5, 21), np.int32)
    probability = np.ones(labels.shape, np.float32)
    probability[..., 12] = 0.2
    return labels, probability


@pytest.mark.parametrize("section", [None, 1])
def test_a_split_follows_the_membrane_not_the_middle(section):
    labels, probability = dumbbell()
    state, told = proofread(labels, probability)
    seeds = np.zeros(labels.shape, np.uint8)
    seeds[1, 2, 0], seeds[1, 2, 20] = 3, 7
    state.split(1, seeds, section, place=(1, 2, 12))
    where = slice(None) if section is None else section
    assert (state.labels[where][..., :12] == 1).all()
    assert (state.labels[where][..., 13:] == 2).all()
    if section is not None:
        assert (state.labels[[0, 2]] == 1).all()
    assert told[0].ids == (1, 2)
    assert told[0].voxel_delta == (state.labels == 2).sum()


def test_two_strokes_of_one_brush_are_two_seeds():
    labels, probability = dumbbell()
    state, _ = proofread(labels, probability)
    seeds = np.zeros(labels.shape, np.uint8)
    seeds[1, 1:3, 1], seeds[2, 2, 19] = 5, 5
    state.split(1, seeds)
    assert set(np.unique(state.labels)) == {1, 2}
    assert (state.labels[..., 13:] == 2).all()


def test_a_split_into_three_gives_two_new_ids_and_leaves_what_no_seed_reaches():
    labels = np.full((1, 3, 12), 5, np.int32)
    labels[..., 9] = 0  # the last two columns lie apart
    state, told = proofread(labels)
    seeds = np.zeros(labels.shape, int)
    seeds[0, 1, [0, 4, 8]] = 1, 2, 3
    state.split(5, seeds)
    assert told[0].ids == (5, 6, 7)
    assert set(state.labels[0, 1, [0, 4, 8]]) == {5, 6, 7}
    assert (state.labels[..., 10:] == 5).all()


def test_of_a_split_neurite_the_largest_part_keeps_its_id_whichever_seed_came_first():
    labels, probability = dumbbell()
    state, _ = proofread(labels, probability)
    seeds = np.zeros(labels.shape, np.uint8)
    seeds[1, 2, 20], seeds[1, 2, 0] = 1, 2
    state.split(1, seeds)
    assert (state.labels[..., :12] == 1).all()
    assert (state.labels[..., 13:] == 2).all()


def test_seeds_beyond_the_neurite_do_not_count():
    state, told = proofread()
    seeds = np.zeros(SHAPE, int)
    seeds[0, 0, 0], seeds[0, 0, 5] = 1, 2  # the second lies in neurite 2
    with pytest.raises(ConnectomeError, match="1 of the two seeds") as error:
        state.split(1, seeds)
    assert "stroke" in error.value.remedy
    assert not told


def test_evidence_is_computed_at_the_first_split_and_only_once():
    labels, probability = dumbbell()
    asked = []

    def compute():
        asked.append(1)
        return probability

    state, _ = proofread(labels, compute)
    state.paint(voxels((0, 0, 0)), 3)
    assert not asked
    seeds = np.zeros(labels.shape, int)
    seeds[1, 2, 2], seeds[1, 2, 20] = 1, 2
    state.split(1, seeds)
    seeds[1, 2, 10] = 3
    state.split(1, seeds * (seeds != 2))
    assert len(asked) == 1


def test_a_neurite_is_divided_once_when_foreseen_and_anew_when_asked_again(monkeypatch):
    labels, probability = dumbbell()
    state, _ = proofread(labels, probability)
    calls = []
    divide = split.split_neurite
    monkeypatch.setattr(split, "split_neurite", lambda *what: calls.append(1) or divide(*what))
    seeds = np.zeros(labels.shape, np.uint8)
    seeds[1, 2, 0], seeds[1, 2, 20] = 1, 2
    state.prepare_split(1, seeds)
    state.prepare_split(1, seeds)
    assert (labels == 1).all()
    state.split(1, seeds)
    assert len(calls) == 1
    assert (labels[..., 13:] == 2).all()
    state.undo()
    state.split(1, seeds)
    assert len(calls) == 2


def test_what_could_not_be_foreseen_fails_when_it_is_asked_for_and_may_work_later():
    labels, probability = dumbbell()
    there = []

    def read():
        if not there:
            raise DataError("the probability is not there")
        return probability

    state, told = proofread(labels, read)
    seeds = np.zeros(labels.shape, np.uint8)
    seeds[1, 2, 0] = 1
    state.prepare_split(1, seeds)
    state.prepare_split(9, seeds)  # nothing that a split would not refuse
    seeds[1, 2, 20] = 2
    state.prepare_split(1, seeds)
    with pytest.raises(DataError, match="not there"):
        state.split(1, seeds)
    assert not told
    there.append(True)
    state.split(1, seeds)
    assert (labels[..., 13:] == 2).all()


def test_painting_changes_only_what_had_another_id():
    state, told = proofread()
    change = state.paint(voxels((0, 0, 2), (0, 0, 3), (0, 0, 4), (0, 0, 5)), 1)
    assert (state.labels[0, 0] == [1, 1, 1, 1, 1, 1, 2, 0]).all()
    assert told[0].voxel_delta == 2
    assert change.box == (slice(0, 1), slice(0, 1), slice(4, 6))


def test_a_stroke_that_changes_nothing_is_not_logged():
    state, told = proofread()
    change = state.paint(voxels((0, 0, 0)), 1)
    assert change is None
    assert not told
    assert state.undo() is None


def test_a_stroke_the_window_has_painted_already_can_be_taken_back():
    state, told = proofread()
    places = voxels((1, 0, 3), (1, 0, 4), (1, 0, 4), (1, 0, 7))
    state.labels[places] = 3
    # The third voxel was painted twice: what it was before the first time counts.
    state.paint(places, 3, before=np.array([1, 2, 3, 0]))
    assert told[0].voxel_delta == 3
    state.undo()
    np.testing.assert_array_equal(state.labels, stack())


def test_painting_with_nobody_erases():
    state, told = proofread()
    state.erase(voxels((0, 0, 0)))
    state.paint(voxels((0, 0, 1)), 0)
    assert state.labels[0, 0, :3].tolist() == [0, 0, 1]
    assert [row.tool for row in told] == ["erase", "erase"]


@pytest.mark.parametrize("place", [(4, 0, 0), (0, 0, 8), (0, -1, 0)])
def test_painting_beyond_the_stack_is_refused(place):
    state, told = proofread()
    with pytest.raises(ConnectomeError, match="outside the stack"):
        state.paint(voxels((0, 0, 0), place), 2)
    assert not told
    np.testing.assert_array_equal(state.labels, stack())


@pytest.mark.parametrize("neurite", [-1, 2**31])
def test_an_id_that_no_file_could_hold_is_refused(neurite):
    state, _ = proofread()
    with pytest.raises(ConnectomeError, match="no neurite id"):
        state.paint(voxels((0, 0, 0)), neurite)


def test_filling_stays_in_the_profile_and_in_its_section():
    labels = stack()
    labels[1, 0, 2] = 2
    labels[1, :3, 1] = 2  # cuts neurite 1 in two profiles
    state, _ = proofread(labels.copy())
    state.fill((1, 2, 0), 9)
    want = labels.copy()
    want[1, :3, 0] = 9
    np.testing.assert_array_equal(state.labels, want)


def test_filling_what_belongs_to_nobody_stops_at_the_rim_of_the_tissue():
    tissue = np.ones(SHAPE, bool)
    tissue[:, 3:, -1] = False
    state, _ = proofread(tissue=tissue)
    state.fill((0, 0, 7), 2)
    assert (state.labels[0, :3, -1] == 2).all()
    assert (state.labels[0, 3:, -1] == 0).all()
    with pytest.raises(ConnectomeError, match="no tissue"):
        state.fill((0, 5, 7), 2)
    with pytest.raises(ConnectomeError, match="already"):
        state.fill((0, 0, 7), 2)


def test_a_new_id_is_one_no_neurite_has_had_even_after_undo():
    state, _ = proofread()
    assert state.new_id() == state.new_id() == 5
    state.paint(voxels((0, 0, 0)), 5, "new")
    assert state.new_id() == 6
    state.undo()
    assert state.new_id() == 6


def test_ids_of_another_program_may_have_any_gaps():
    labels = stack()
    labels[labels == 4] = 2_000_000_000
    state, _ = proofread(labels)
    state.merge(1, 2_000_000_000)
    assert (state.labels == 1).sum() == 4 * (12 + 9)


def test_a_verdict_names_who_gave_it_and_can_be_withdrawn():
    state, told = proofread()
    state.review(1, "rejected")
    assert state.synapses.loc[1, ["verdict", "reviewer"]].tolist() == ["rejected", "ada"]
    assert state.synapses.loc[0, "verdict"] == ""
    assert (told[0].tool, told[0].ids, told[0].position) == ("reject", (1,), (2, 3, 4))
    assert state.review(1, "rejected") is None
    state.review(1, "")
    assert state.synapses.loc[1, ["verdict", "reviewer", "time"]].tolist() == ["", "", ""]
    assert told[-1].tool == "unreview"


def test_swapping_twice_is_no_change_and_keeps_other_partners():
    state, _ = proofread()
    before = state.synapses.copy()
    state.swap(0)
    row = state.synapses.loc[0]
    assert (row["pre_id"], row["post_id"], row["post_ids"]) == (2, 1, "1;3")
    assert row["swapped"] and row["reviewer"] == "ada"
    state.swap(0)
    pd.testing.assert_frame_equal(state.synapses, before)


def test_sections_are_marked_once():
    state, told = proofread()
    assert state.mark(0) is None
    state.mark(2)
    state.mark(0, done=False)
    assert state.sections == {2}
    assert [(row.tool, row.ids) for row in told] == [("mark", (2,)), ("unmark", (0,))]


@pytest.mark.parametrize(
    "edit",
    [
        lambda state: state.mark(4),
        lambda state: state.mark(-1),
        lambda state: state.review(2, "accepted"),
        lambda state: state.swap(-1),
        lambda state: state.fill((0, 6, 0), 1),
        lambda state: state.split(1, np.ones(SHAPE, int), section=4),
    ],
)
def test_what_is_not_there_is_refused(edit):
    state, told = proofread()
    with pytest.raises(ConnectomeError):
        edit(state)
    assert not told


def test_undo_and_redo_tell_what_they_were_about():
    state, told = proofread()
    state.merge(1, 2, place=(0, 0, 4))
    undone, redone = state.undo(), state.redo()
    assert undone.box == redone.box == (slice(0, 4), slice(0, 3), slice(4, 7))
    assert [row.tool for row in told] == ["merge", "undo", "redo"]
    for row in told[1:]:
        assert (row.ids, row.position, row.voxel_delta) == ((1, 2), (0, 0, 4), 36)
        assert json.loads(row.payload) == {"tool": "merge"}
    assert state.redo() is None


def test_a_new_edit_forgets_what_was_taken_back():
    state, _ = proofread()
    state.merge(1, 2)
    state.undo()
    state.mark(1)
    assert state.redo() is None


def test_what_cannot_be_logged_is_not_done():
    state, _ = proofread()
    state.merge(1, 2)
    after = state.labels.copy()

    def full(correction):
        raise ConnectomeError("the disk is full")

    state.on_edit = full
    state.labels[0, 0, 0] = 3  # as the window does before it tells
    for edit in (
        lambda: state.paint(voxels((0, 0, 0)), 3, before=np.array([1])),
        lambda: state.merge(3, 4),
        lambda: state.undo(),
        lambda: state.review(0, "accepted"),
        lambda: state.mark(3),
    ):
        with pytest.raises(ConnectomeError, match="full"):
            edit()
        np.testing.assert_array_equal(state.labels, after)
    assert state.sections == {0}
    assert (state.synapses["verdict"] == "").all()
    state.on_edit = lambda correction: None
    state.undo()
    np.testing.assert_array_equal(state.labels, stack())


@pytest.mark.parametrize("payload", [b"", b"no zlib", b"x\x9c\x03\x00\x00\x00\x00\x01"])
def test_a_damaged_log_is_noticed(payload):
    state, _ = proofread()
    row = EditRecord("paint", (2,), (0, 0, 0), 1, payload, "2026-01-01T00:00:00+00:00", "ada")
    with pytest.raises(DataError, match="cannot be"):
        state.replay(row)


@pytest.mark.parametrize(
    "edit",
    [
        lambda state: state.merge(1, 2),
        lambda state: state.paint(voxels((0, 0, 0), (0, 0, 4)), 4),
        lambda state: state.swap(0),
    ],
)
def test_repeating_on_other_labels_is_noticed(edit):
    state, told = proofread()
    edit(state)
    other, _ = proofread()
    other.labels[other.labels == 2] = 4
    other.synapses["x"] += 1
    with pytest.raises(DataError, match="made on other labels"):
        other.replay(told[0])


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


def perform(state, edit):
    """Do one edit of a random sequence; what the person gets wrong changes nothing."""
    tool, *what = edit
    if tool == "split":
        seeds = np.zeros(SHAPE, int)
        seeds[voxels(*what[1])] = np.arange(len(what[1])) + 1
        what = [what[0], seeds]
    elif tool == "paint":
        what[0] = voxels(*what[0])
    try:
        getattr(state, tool)(*what)
    except DataError:
        raise
    except ConnectomeError:
        pass


def everything(state):
    return state.labels.tobytes(), state.synapses.to_csv(), sorted(state.sections)


def textured():
    return np.random.default_rng(0).random(SHAPE).astype(np.float32)


@settings(max_examples=60)
@given(st.lists(EDITS, max_size=25))
def test_any_edits_can_all_be_taken_back_and_done_again(edits):
    state, _ = proofread(probability=textured())
    before = everything(state)
    for edit in edits:
        perform(state, edit)
    after = everything(state)
    n_undone = 0
    while state.undo():
        n_undone += 1
    assert everything(state) == before
    for _ in range(n_undone):
        state.redo()
    assert everything(state) == after


SPLITS = st.sampled_from([(1, 7), (1, 2), (2, 7)])  # between which columns
FORESEEN = st.one_of(
    st.tuples(st.just("foresee"), SPLITS),
    st.tuples(st.just("split"), SPLITS),
    st.tuples(st.just("paint"), st.lists(PLACES, min_size=1, max_size=20), st.just(1)),
    st.tuples(st.just("merge"), st.just(1), IDS),
    st.just(("undo",)),
)


@settings(max_examples=60)
@given(st.lists(FORESEEN, max_size=12))
def test_whatever_was_foreseen_a_split_is_what_it_would_have_been(edits):
    state, plain = (proofread(np.ones(SHAPE, np.int32), textured())[0] for _ in range(2))
    for tool, *what in edits:
        if tool == "foresee":
            seeds = np.zeros(SHAPE, int)
            seeds[1, 2, list(what[0])] = 1, 2
            state.prepare_split(1, seeds)
            continue
        if tool == "split":
            what = [1, [(1, 2, x) for x in what[0]]]
        for each in (state, plain):
            perform(each, (tool, *what))
    assert everything(state) == everything(plain)


@settings(max_examples=60)
@given(st.lists(EDITS, max_size=25))
def test_the_log_of_any_edits_gives_the_same_again(edits):
    state, told = proofread(probability=textured())
    for edit in edits:
        perform(state, edit)
    # Evidence is not needed again: the log has what came of it.
    again, silent = proofread(probability=np.zeros(SHAPE, np.float32))
    for row in told:
        again.replay(row)
    assert everything(again) == everything(state)
    assert not silent
