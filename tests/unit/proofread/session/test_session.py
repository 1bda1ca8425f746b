"""Sessions on an output folder: no edit is lost, and all can be replayed."""

import json
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from helpers.bars import (
    SHAPE,
    SOURCE,
    VOXEL_SIZE,
    bar,
    seeds,
    stack,
    use_every_tool,
    volume,
    write_bars,
)
from helpers.locations import ROOT

from connectome import runlog
from connectome.core.errors import ConnectomeError, DataError, UsageError
from connectome.io import paths
from connectome.io.files import write_json
from connectome.io.run_folder import RunFolder
from connectome.io.volumes import read_volume, write_volume
from connectome.proofread.editor import LabelEditor
from connectome.proofread.session import (
    find_unsaved_edits,
    open_session,
    replay_saved_labels,
)


@pytest.fixture
def outdir(tmp_path):
    """Write the files of a run that proofreading reads."""
    return write_bars(tmp_path)


def everything(editor):
    return editor.labels.tobytes(), editor.synapses.to_csv(), sorted(editor.sections)


def leave_unsaved_session(outdir, **options):
    """Use every tool in a session and close it unsaved; return its final state."""
    with open_session(outdir, user="ada", **options) as session:
        use_every_tool(session.editor)
        return everything(session.editor)


def start(outdir, body):
    """Start a session in another process, and return when it is ready."""
    code = (
        f"import signal, sys, time\nsys.path[:0] = {sys.path!r}\n"
        "from pathlib import Path\n"
        "from connectome.core.errors import ConnectomeError\n"
        "from connectome.proofread.session import open_session\n"
        "from helpers.bars import *\n"
        f"outdir = Path(sys.argv[1])\nsession = open_session(outdir)\n{body}\n"
        "(outdir / 'ready').touch()\ntime.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(outdir)], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not (outdir / "ready").exists():
        assert process.poll() is None and time.monotonic() < deadline, "it did not get there"
        time.sleep(0.02)
    (outdir / "ready").unlink()
    return process


def killed(outdir, body):
    process = start(outdir, body)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=10) == -signal.SIGKILL


def test_a_session_starts_from_the_draft_and_later_from_the_saved_labels(outdir):
    with open_session(outdir) as session:
        assert session.initial_labels_file == paths.LABELS
        np.testing.assert_array_equal(session.editor.labels, stack())
        session.editor.merge(1, 2)
        session.save()
    with open_session(outdir) as session:
        assert session.initial_labels_file == paths.CORRECTED_LABELS
        assert not (session.editor.labels == 2).any()
        assert session.editor.undo() is None
    with open_session(outdir, "baseline") as session:
        np.testing.assert_array_equal(session.editor.labels, stack())


def test_the_draft_itself_is_never_changed(outdir):
    files = {name: (outdir / name).read_bytes() for name in (paths.LABELS, paths.SYNAPSES)}
    with open_session(outdir) as session:
        use_every_tool(session.editor)
        session.save()
        np.testing.assert_array_equal(session.folder.baseline_labels, stack())
    assert files == {name: (outdir / name).read_bytes() for name in files}


def test_every_edit_is_on_disk_before_the_next(outdir):
    with open_session(outdir, user="ada") as session:
        for n, edit in enumerate(
            (lambda s: s.merge(1, 2), lambda s: s.mark(0), lambda s: s.undo()), start=1
        ):
            edit(session.editor)
            log = sqlite3.connect(outdir / paths.RUN_LOG)
            rows = log.execute("SELECT tool, user FROM corrections").fetchall()
            log.close()
            assert rows == [("merge", "ada"), ("mark", "ada"), ("undo", "ada")][:n]
            assert session.n_unsaved == n


def test_saving_writes_the_three_files_that_the_refiners_read(outdir):
    with open_session(outdir, user="ada") as session:
        session.editor.merge(1, 2)
        session.editor.mark(3)
        session.editor.mark(0)
        written = session.save()
        labels = session.editor.labels.copy()
        assert session.n_unsaved == 0
    assert written == tuple(
        outdir / name
        for name in (paths.CORRECTED_LABELS, paths.PROOFREAD_SECTIONS, paths.REVIEWED_SYNAPSES)
    )
    proofread = RunFolder(outdir).proofread_sections
    np.testing.assert_array_equal(proofread.labels, labels)
    assert proofread.sections == (0, 3)
    stored = read_volume(outdir / paths.CORRECTED_LABELS)
    assert (stored.voxel_size, stored.origin, stored.source) == (VOXEL_SIZE, (1, 2, 3), SOURCE)
    assert json.loads((outdir / paths.PROOFREAD_SECTIONS).read_text()) == {
        "slices": [0, 3],
        "source": SOURCE,
        "origin": [1, 2, 3],
        "voxel_size_nm": list(VOXEL_SIZE),
        "based_on": paths.LABELS,
    }
    assert not list(outdir.rglob(".*")), "nothing private is left behind"


def test_reviewed_synapses_carry_the_ids_of_the_corrected_labels(outdir):
    with open_session(outdir, user="ada") as session:
        editor = session.editor
        editor.swap(0)
        editor.review(0, "accepted")
        editor.merge(6, 1)
        marks = np.zeros(SHAPE, np.uint8)
        marks[2, [10, 48], 40] = 1, 2
        editor.split(3, marks)  # the synapse with 4 is on the smaller part, above
        session.save()
    table = pd.read_csv(outdir / paths.REVIEWED_SYNAPSES, dtype={"post_ids": str})
    columns = ["pre_id", "post_id", "post_ids", "verdict", "swapped", "reviewer"]
    assert table.loc[0, columns].tolist() == [2, 6, "6", "accepted", True, "ada"]
    assert table.loc[1, ["pre_id", "post_id"]].tolist() == [7, 4]
    assert table.loc[1, "verdict":"reviewer"].isna().tolist() == [True, False, True]
    assert list(table)[-4:] == ["verdict", "swapped", "reviewer", "time"]


@pytest.mark.posix
def test_a_killed_session_is_offered_and_resumed(outdir):
    killed(outdir, "use_every_tool(session.editor)")
    left = find_unsaved_edits(outdir)
    assert left.n_edits == 13
    assert [run.status for run in runlog.read_history(outdir)] == ["died"]
    with open_session(outdir) as session:
        editor = session.editor
        assert (session.n_recovered, session.n_unsaved) == (13, 13)
        editor.redo()  # the last undo can still be redone
        editor.undo()
        with_everything = everything(editor)
        while editor.undo():
            pass
        np.testing.assert_array_equal(editor.labels, stack())
    in_one_go = LabelEditor(
        stack(),
        read_volume(outdir / paths.PROBABILITY).data.astype(np.float32),
        np.ones(SHAPE, bool),
        synapses=pd.read_csv(outdir / paths.SYNAPSES, dtype={"post_ids": str}),
    )
    use_every_tool(in_one_go)
    labels, _, sections = everything(in_one_go)
    assert (with_everything[0], with_everything[2]) == (labels, sections)
    assert in_one_go.synapses["verdict"].tolist() == ["accepted", "", "rejected"]


@pytest.mark.posix
def test_a_session_killed_after_a_save_can_undo_what_was_saved(outdir):
    body = (
        "session.editor.merge(1, 2)\nsession.save()\n"
        "session.editor.mark(1)\nsession.editor.undo()\nsession.editor.undo()"
    )
    killed(outdir, body)
    assert find_unsaved_edits(outdir).n_edits == 3
    with open_session(outdir) as session:
        np.testing.assert_array_equal(session.editor.labels, stack())
        session.editor.redo()
        assert not (session.editor.labels == 2).any()


@pytest.mark.posix
def test_edits_survive_two_kills(outdir):
    killed(outdir, "session.editor.merge(1, 2)")
    killed(outdir, "session.editor.merge(3, 4)")
    assert find_unsaved_edits(outdir).n_edits == 2
    with open_session(outdir) as session:
        assert set(np.unique(session.editor.labels)) == {1, 3, 5, 6}
        session.save()
    assert find_unsaved_edits(outdir) is None
    np.testing.assert_array_equal(
        replay_saved_labels(outdir), np.load(outdir / paths.CORRECTED_LABELS)
    )


def test_discarded_edits_are_not_offered_again(outdir):
    leave_unsaved_session(outdir)
    with open_session(outdir, recover=False) as session:
        np.testing.assert_array_equal(session.editor.labels, stack())
    assert find_unsaved_edits(outdir) is None
    leave_unsaved_session(outdir)
    open_session(outdir).discard()
    assert find_unsaved_edits(outdir) is None
    with open_session(outdir) as session:
        np.testing.assert_array_equal(session.editor.labels, stack())


def test_discarding_is_logged_with_the_user(outdir):
    leave_unsaved_session(outdir)
    declined = find_unsaved_edits(outdir)
    with open_session(outdir, user="bob", recover=False):
        pass
    *made, last = runlog.read_edits(outdir, declined.run_id)
    assert len(made) == declined.n_edits
    assert (last.tool, last.user) == ("discard", "bob")
    assert find_unsaved_edits(outdir) is None


def test_a_session_that_cannot_start_discards_nothing(outdir):
    leave_unsaved_session(outdir)
    with pytest.raises(UsageError):
        open_session(outdir, "unet", recover=False)
    assert find_unsaved_edits(outdir).n_edits == 13


def test_edits_that_could_not_be_saved_are_offered_after_the_save_of_another_session(outdir):
    with open_session(outdir, user="ada") as first:
        first.editor.merge(1, 2)
        with open_session(outdir, user="bob") as second:
            second.editor.merge(3, 4)
            second.save()
        with pytest.raises(ConnectomeError, match="meanwhile"):
            first.save()
    left = find_unsaved_edits(outdir)
    assert (left.n_edits, left.user) == (1, "ada")
    saved = (outdir / paths.CORRECTED_LABELS).read_bytes()
    with open_session(outdir) as session:
        assert set(np.unique(session.editor.labels)) == {1, 3, 4, 5, 6}
        with pytest.raises(ConnectomeError, match="meanwhile"):  # its labels lack the edits of bob
            session.save()
        assert (outdir / paths.CORRECTED_LABELS).read_bytes() == saved
        (outdir / paths.CORRECTED_LABELS).rename(outdir / "second.npy")
        session.save()
    assert find_unsaved_edits(outdir) is None
    np.testing.assert_array_equal(
        replay_saved_labels(outdir), np.load(outdir / paths.CORRECTED_LABELS)
    )


def test_the_newest_unsaved_session_is_offered_first(outdir):
    with open_session(outdir, user="ada") as first:
        first.editor.merge(1, 2)
        with open_session(outdir, user="bob") as second:
            second.editor.merge(3, 4)
            second.editor.merge(5, 6)
    assert find_unsaved_edits(outdir).user == "bob"
    with open_session(outdir) as session:
        assert session.n_recovered == 2
        session.save()
        session.editor.mark(2)
        assert find_unsaved_edits(outdir).user == "ada"
    assert find_unsaved_edits(outdir).n_edits == 1  # after the save
    open_session(outdir, recover=False).close()
    assert find_unsaved_edits(outdir).user == "ada"
    open_session(outdir).discard()
    assert find_unsaved_edits(outdir) is None
    np.testing.assert_array_equal(
        replay_saved_labels(outdir), np.load(outdir / paths.CORRECTED_LABELS)
    )


@pytest.mark.posix
def test_a_session_resumed_after_its_own_save_can_save_again(outdir):
    killed(outdir, "session.editor.merge(1, 2)\nsession.save()\nsession.editor.mark(1)")
    with open_session(outdir) as session:
        session.save()
    assert RunFolder(outdir).proofread_sections.sections == (1,)


@pytest.mark.posix
def test_a_session_that_is_open_elsewhere_is_not_offered(outdir):
    process = start(outdir, "session.editor.merge(1, 2)")
    assert find_unsaved_edits(outdir) is None
    process.kill()
    process.wait(timeout=10)
    assert find_unsaved_edits(outdir).n_edits == 1


@pytest.mark.posix
def test_a_save_that_fails_leaves_the_last_one_unchanged(outdir):
    with open_session(outdir) as session:
        session.editor.mark(2)
        session.save()
    files = [
        outdir / n
        for n in (paths.CORRECTED_LABELS, paths.PROOFREAD_SECTIONS, paths.REVIEWED_SYNAPSES)
    ]
    before = [path.read_bytes() for path in files]
    body = (
        "import resource\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "session.editor.merge(1, 2)\n"
        # No file may grow beyond this: as if the disk were full.
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    session.save()\n"
        "except ConnectomeError as error:\n    assert 'none is lost' in str(error)\n"
        "else:\n    raise SystemExit('it fitted')\n"
    )
    killed(outdir, body)
    assert [path.read_bytes() for path in files] == before
    assert not [path for path in outdir.rglob("*.npy") if path.name.startswith(".")]
    assert find_unsaved_edits(outdir).n_edits == 1


def test_a_save_does_not_overwrite_the_save_of_another_session(outdir):
    with open_session(outdir) as first, open_session(outdir) as second:
        first.editor.merge(1, 2)
        second.editor.merge(3, 4)
        first.save()
        first.save()
        with pytest.raises(ConnectomeError, match="meanwhile") as error:
            second.save()
        assert "move it away" in error.value.remedy
        assert not (np.load(outdir / paths.CORRECTED_LABELS) == 2).any()
        (outdir / paths.CORRECTED_LABELS).rename(outdir / "first.npy")
        second.save()
        assert not (np.load(outdir / paths.CORRECTED_LABELS) == 4).any()


def test_replay_gives_the_saved_labels(outdir):
    """Over three sessions: one with every tool, one resumed, one with edits after its save."""
    leave_unsaved_session(outdir)
    with open_session(outdir) as session:
        session.editor.merge(5, 6)
        session.save()
    with open_session(outdir) as session:
        session.editor.paint(bar(0, 0), 77)
        session.save()
        session.editor.paint(bar(0, 1), 78)
    (outdir / paths.PROBABILITY).unlink()  # the result of a split is in the log
    saved = np.load(outdir / paths.CORRECTED_LABELS)
    again = replay_saved_labels(outdir)
    assert again.dtype == saved.dtype == np.int32
    assert again.tobytes() == saved.tobytes()
    (outdir / paths.CORRECTED_LABELS).unlink()
    assert replay_saved_labels(outdir).tobytes() == saved.tobytes()


def test_replay_on_another_draft_is_refused(outdir):
    with open_session(outdir) as session:
        session.editor.merge(1, 2)
        session.save()
    other = stack()
    other[0, 0, 0] = 5
    write_volume(outdir / paths.LABELS, volume(other))
    with pytest.raises(DataError, match="is not what session"):
        replay_saved_labels(outdir)


@pytest.mark.parametrize("n_later_sessions", [0, 1])
def test_replay_of_a_modified_log_is_refused(outdir, n_later_sessions):
    with open_session(outdir) as session:
        session.editor.paint(bar(0, 0), 6)
        session.editor.paint(bar(0, 1), 6)
        session.save()
    for _ in range(n_later_sessions):  # their initial labels are still there
        with open_session(outdir) as session:
            session.save()
    log = sqlite3.connect(outdir / paths.RUN_LOG)
    log.execute("DELETE FROM corrections WHERE position = 0 AND tool = 'paint'")
    log.commit()
    log.close()
    with pytest.raises(DataError, match="does not give the labels that it saved"):
        replay_saved_labels(outdir)


def test_replay_without_a_save_is_refused(outdir):
    with pytest.raises(UsageError, match="no session has saved"):
        replay_saved_labels(outdir)


def foreign(outdir):
    """Leave the two files as another program would: no sidecar, another type of number."""
    labels = stack().astype(np.int64)
    labels[2, :, :40] = 10**9
    np.save(outdir / paths.CORRECTED_LABELS, labels)
    (outdir / paths.PROOFREAD_SECTIONS).write_text('{"slices": [2], "by": "another program"}')
    return labels


def test_files_of_another_program_are_read(outdir):
    labels = foreign(outdir)
    with open_session(outdir) as session:
        np.testing.assert_array_equal(session.editor.labels, labels)
        assert session.editor.sections == {2}
        session.editor.merge(1, 10**9)
        session.save()
        saved = session.editor.labels.copy()
    # What it began with was overwritten, and yet can be made again.
    np.testing.assert_array_equal(replay_saved_labels(outdir), saved)


@pytest.mark.posix
def test_a_session_on_files_of_another_program_survives_a_kill_after_saving(outdir):
    labels = foreign(outdir)
    killed(
        outdir,
        "session.editor.merge(1, 2)\nsession.save()\nsession.editor.undo()",
    )
    with open_session(outdir) as session:
        np.testing.assert_array_equal(session.editor.labels, labels)


def test_corrected_labels_without_a_list_of_sections_are_read(outdir):
    foreign(outdir)
    (outdir / paths.PROOFREAD_SECTIONS).unlink()
    with open_session(outdir) as session:
        assert session.initial_labels_file == paths.CORRECTED_LABELS
        assert session.editor.sections == set()


def test_sections_of_refined_labels_are_proofread_if_they_equal_the_corrected_ones(outdir):
    with open_session(outdir) as session:
        session.editor.merge(1, 2)
        session.editor.mark(1)
        session.editor.mark(4)
        session.save()
        refined = session.editor.labels.copy()
    refined[4, 0, 0] = 5
    write_volume(outdir / paths.REFINED_LABELS["rf"], volume(refined))
    with open_session(outdir, "rf") as session:
        assert session.initial_labels_file == paths.REFINED_LABELS["rf"]
        assert session.editor.sections == {1}
        session.editor.merge(5, 6)
        session.save()
    # The next forest overwrites the initial labels of this session.
    write_volume(outdir / paths.REFINED_LABELS["rf"], volume(stack()))
    np.testing.assert_array_equal(
        replay_saved_labels(outdir), np.load(outdir / paths.CORRECTED_LABELS)
    )


def test_labels_may_be_any_file(outdir, tmp_path_factory):
    path = tmp_path_factory.mktemp("elsewhere") / "mine.npy"
    np.save(path, stack() + 1)
    with open_session(outdir, str(path)) as session:
        assert session.initial_labels_file == str(path)
        assert session.editor.labels.max() == 7


def test_missing_labels_are_named(outdir):
    with pytest.raises(UsageError, match="neurite_labels_unet"):
        open_session(outdir, "unet")
    with pytest.raises(UsageError, match="no aligned stack"):
        open_session(outdir / "nowhere")
    assert not (outdir / paths.RUN_LOG).exists(), "a session that could not start is not logged"


def test_verdicts_are_kept_in_the_next_session_whoever_opens_it(outdir):
    with open_session(outdir, user="ada") as session:
        session.editor.swap(1)
        session.editor.review(2, "rejected")
        session.save()
        before = session.editor.synapses
    with open_session(outdir, user="bob") as session:
        editor = session.editor
        pd.testing.assert_frame_equal(editor.synapses, before)
        assert editor.synapses["reviewer"].tolist() == ["", "ada", "ada"]
        editor.swap(1)
        pd.testing.assert_series_equal(
            editor.synapses["pre_id"], pd.Series([1, 3, 5], name="pre_id")
        )


def test_a_synapse_whose_partners_were_merged_is_dropped(outdir):
    with open_session(outdir) as session:
        session.editor.review(0, "accepted")
        session.editor.merge(1, 2)
        assert len(session.editor.synapses) == 3
        assert session.current_synapses()["z"].tolist() == [4, 5]
        session.editor.undo()
        assert session.current_synapses()["verdict"].tolist() == ["accepted", "", ""]


def test_candidates_of_a_rebuilt_graph_get_the_ids_of_the_session(outdir):
    np.save(outdir / paths.CORRECTED_LABELS, stack() + 10)
    write_json(
        outdir / paths.GRAPH_LABELS,
        {"labels": paths.CORRECTED_LABELS, "sha256": "", "source": SOURCE},
    )
    table = pd.read_csv(outdir / paths.SYNAPSES)
    table["pre_id"] += 10
    table["post_id"] += 10
    table["post_ids"] += 10
    table.assign(verdict="accepted").to_csv(outdir / paths.SYNAPSES, index=False)
    for labels, first in (("baseline", 1), ("corrected", 11)):
        with open_session(outdir, labels) as session:
            row = session.editor.synapses.loc[0]
            assert row[["pre_id", "post_id", "post_ids"]].tolist() == [
                first,
                first + 1,
                str(first + 1),
            ]
            assert row["verdict"] == "", "verdicts are read from the table of reviews"


def test_verdicts_of_another_program_are_read(outdir):
    table = pd.DataFrame(
        {
            "z": [1, 0],
            "y": [10, 40],
            "x": [16, 32],
            "pre_id": [2, 2],
            "post_id": [1, 3],
            "verdict": ["Accepted", "rejected"],
        }
    )
    table.to_csv(outdir / paths.REVIEWED_SYNAPSES, index=False)
    with open_session(outdir) as session:
        found = session.editor.synapses
    assert found["verdict"].tolist() == ["accepted", "", "", "rejected"]
    assert found.loc[0, ["pre_id", "post_id"]].tolist() == [2, 1]
    table.drop(columns="verdict").to_csv(outdir / paths.REVIEWED_SYNAPSES, index=False)
    with pytest.raises(DataError, match="no column verdict"):
        open_session(outdir)


PLACED = "z,y,x,pre_id,post_id,score,verdict\n"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (paths.SYNAPSES, b"", "cannot be read"),
        (paths.SYNAPSES, b"\x93\xff\x00\x1b", "cannot be read"),
        (paths.SYNAPSES, PLACED.encode() + b"1,,3,1,2,0.5,\n", "row 1: y is nan"),
        (paths.SYNAPSES, PLACED.encode() + b"999,1,3,1,2,0.5,\n", "z is 999, and the stack"),
        (
            paths.REVIEWED_SYNAPSES,
            PLACED.encode() + b"999,1,3,1,2,0.5,accepted\n",
            "row 1: z is 999",
        ),
        (paths.REVIEWED_SYNAPSES, PLACED.encode() + b"-1,1,3,1,2,0.5,accepted\n", "row 1: z is -1"),
        (paths.GRAPH_LABELS, b"{", "cannot be read"),
        (paths.GRAPH_LABELS, b"[]", "is no JSON object"),
        (paths.GRAPH_LABELS, b'{"labels": 5}', "names no labels: 5"),
    ],
)
def test_a_damaged_file_of_the_run_is_refused_with_a_remedy(outdir, name, content, problem):
    (outdir / name).write_bytes(content)
    with pytest.raises(DataError, match=problem) as error:
        open_session(outdir)
    assert str(outdir / name) in error.value.problem
    assert error.value.remedy
    assert not (outdir / paths.RUN_LOG).exists(), "a session that could not start is not logged"


def test_a_graph_without_the_name_of_its_labels_was_made_from_the_draft(outdir):
    (outdir / paths.GRAPH_LABELS).write_text("{}")
    with open_session(outdir) as session:
        assert session.editor.synapses["pre_id"].tolist() == [1, 3, 5]


def test_a_run_without_synapses_and_without_probability_can_be_proofread(outdir):
    (outdir / paths.SYNAPSES).unlink()
    (outdir / paths.PROBABILITY).unlink()
    with open_session(outdir) as session:
        assert session.editor.synapses.empty
        session.editor.split(3, seeds(33, 46))
        assert set(np.unique(session.editor.labels)) == set(range(1, 8))
        session.save()
    with open_session(outdir) as session:
        assert session.editor.labels.max() == 7


def test_edits_that_cannot_be_replayed_are_refused_with_a_remedy(outdir):
    leave_unsaved_session(outdir)
    write_volume(outdir / paths.LABELS, volume(stack()[..., ::-1].copy()))
    with pytest.raises(ConnectomeError) as error:
        open_session(outdir)
    assert "start without" in error.value.remedy
    with open_session(outdir, recover=False) as session:
        assert session.n_recovered == 0


@pytest.mark.parametrize("column", ["payload", "ids_json"])
def test_a_damaged_record_is_refused_with_a_remedy(outdir, column):
    with open_session(outdir) as session:
        session.editor.paint(bar(0, 0), 6)
        session.editor.merge(1, 2)
    log = sqlite3.connect(outdir / paths.RUN_LOG)
    log.execute(f"UPDATE corrections SET {column} = ?", (b"\x93" if column == "payload" else "[]",))
    log.commit()
    log.close()
    with pytest.raises(DataError, match="cannot be") as error:
        open_session(outdir)
    assert "--no-recover" in error.value.remedy
    with open_session(outdir, recover=False) as session:
        assert session.n_recovered == 0


def test_a_damaged_save_in_the_log_stops_replay_and_no_session(outdir):
    with open_session(outdir) as session:
        session.editor.merge(1, 2)
        session.save()
    log = sqlite3.connect(outdir / paths.RUN_LOG)
    log.execute("UPDATE corrections SET payload = ? WHERE tool = 'save'", (b"{",))
    log.commit()
    log.close()
    with pytest.raises(DataError, match="does not give the labels that it saved"):
        replay_saved_labels(outdir)
    with open_session(outdir) as session:
        assert not (session.editor.labels == 2).any()


def test_an_error_that_ends_a_session_is_logged(outdir):
    with pytest.raises(ZeroDivisionError), open_session(outdir) as session:
        session.editor.merge(1, 2)
        _ = 1 / 0
    (run,) = runlog.read_history(outdir)
    assert (run.status, run.n_edits) == ("failed", 1)
    assert find_unsaved_edits(outdir).n_edits == 1


def test_the_log_has_the_kind_of_run_and_the_user(outdir):
    with open_session(outdir, user="ada", command=["napari_proofread.py"]) as session:
        session.editor.merge(1, 2)
        session.save()
    (run,) = runlog.read_history(outdir)
    assert run.config["job"] == "proofreading"
    assert (run.config["user"], run.config["labels"]) == ("ada", paths.LABELS)
    assert (run.source, run.cutout_xyz) == (SOURCE, SHAPE[::-1])
    assert [row.tool for row in runlog.read_edits(outdir, run.run_id)] == ["merge", "save"]
