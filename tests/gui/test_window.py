"""Real windows, keys and mouse: from what a person does to the files."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.locations import ROOT
from helpers.stripes import LEFT, MIDDLE, RIGHT, SHAPE, VOXEL, write_stripes

from connectome import runlog
from connectome.io import paths
from connectome.proofread import split
from connectome.proofread.session import (
    find_unsaved_edits,
    open_session,
    replay_saved_labels,
)
from connectome.triage.queue import build_queue

pytestmark = [
    pytest.mark.usefixtures("screen"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("error::DeprecationWarning:connectome"),
]


@pytest.fixture
def outdir(tmp_path):
    """Return a folder for a test that saves, closes or crashes."""
    return write_stripes(tmp_path)


def open_window(outdir, **options):
    from connectome.proofread.viewer.dialogs import CLOSE_UNSAVED
    from connectome.proofread.viewer.window import Window

    session = open_session(outdir, user="tester", **options)
    queue = build_queue(session.folder, session.editor.synapses, [0, 3])
    window = Window(session, queue, ask=lambda *_: CLOSE_UNSAVED)
    window.layers.show_section(0)
    settle()
    return window


def close(window):
    if not window.close_guard.closed:
        window.close()
    window.session.close()
    settle()


@pytest.fixture
def opened(outdir):
    """Return a function that opens a window on the stripes; all are closed at the end."""
    windows = []
    yield lambda **options: windows.append(open_window(outdir, **options)) or windows[-1]
    for window in windows:
        close(window)


@pytest.fixture(scope="module")
def kept_window(screen, tmp_path_factory):
    window = open_window(write_stripes(tmp_path_factory.mktemp("stripes")))
    yield window
    close(window)


@pytest.fixture
def window(kept_window):
    """Return a window shared by many tests, reset after each: opening one takes a second."""
    window = kept_window
    window._before_test = 0
    window._before_test = len(logged(window))
    on_edit = window.session.editor.on_edit
    yield window
    window.session.editor.on_edit = on_edit
    window.viewer.dims.ndisplay, window.viewer.dims.order = 2, (0, 1, 2)
    window._log_painting()
    window.release_tools()
    while window.session.editor.undo():
        pass
    window._watch_plane()
    window.navigator.index, window._synapse_row, window._split_in_3d = -1, None, True
    window.select_ids([])
    window.layers.uncertainty.visible = False
    window.layers.show_section(0)
    window.layers.redraw(tuple(slice(0, n) for n in SHAPE))
    window.viewer.reset_view()
    window._update_panel()
    settle()


def settle(turns=15):
    from qtpy.QtWidgets import QApplication

    for _ in range(turns):
        QApplication.processEvents()
        time.sleep(0.002)


def press(window, key, modifier=None):
    """Press a key while the canvas has the focus, as a person does."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    held = {
        None: Qt.KeyboardModifier.NoModifier,
        "ctrl": Qt.KeyboardModifier.ControlModifier,
        "ctrl+shift": Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier,
    }[modifier]
    native = window.viewer.window._qt_viewer.canvas.native
    QTest.keyClick(native, getattr(Qt.Key, f"Key_{key}"), held)
    settle()


def on_canvas(window, y, x):
    """Return the position of a voxel of the section on the canvas."""
    from qtpy.QtCore import QPoint

    camera = window.viewer.scene.camera
    height, width = window.viewer.window._qt_viewer.canvas.size
    cy, cx = np.array(camera.center[-2:])
    at = (np.array([y * VOXEL[1] - cy, x * VOXEL[2] - cx])) * camera.zoom
    return QPoint(round(width / 2 + at[1]), round(height / 2 + at[0]))


def point(window, y, x):
    """Move the pointer over a voxel."""
    from qtpy.QtTest import QTest

    native = window.viewer.window._qt_viewer.canvas.native
    QTest.mouseMove(native, on_canvas(window, y, x))
    settle()


def drag(window, *places, shift=False):
    """Press the mouse button, drag it through voxels of the section, and release it."""
    from qtpy.QtCore import QEvent, QPointF, Qt
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    native = window.viewer.window._qt_viewer.canvas.native
    held = Qt.KeyboardModifier.ShiftModifier if shift else Qt.KeyboardModifier.NoModifier
    points = [on_canvas(window, *place) for place in places]
    QTest.mouseMove(native, points[0])
    settle(3)
    QTest.mousePress(native, Qt.MouseButton.LeftButton, held, points[0])
    for at in points[1:]:
        # QTest moves the mouse with no button held.
        where = QPointF(at), QPointF(native.mapToGlobal(at))
        button = Qt.MouseButton.LeftButton
        QApplication.sendEvent(
            native, QMouseEvent(QEvent.Type.MouseMove, *where, button, button, held)
        )
        settle(3)
    QTest.mouseRelease(native, Qt.MouseButton.LeftButton, held, points[-1])
    settle()


def ids(window):
    return set(np.unique(window.session.editor.labels).tolist())


def logged(window):
    """Return the tools of all logged edits; of a shared window, those of this test."""
    outdir = window.session.outdir
    runs = [run.run_id for run in runlog.read_history(outdir)]
    tools = [made.tool for run_id in runs for made in runlog.read_edits(outdir, run_id)]
    return tools[getattr(window, "_before_test", 0) :]


def test_the_viewer_has_all_layers_at_the_true_scale(window):
    layers = window.viewer.layers
    assert [layer.name for layer in layers] == [
        *(
            "EM",
            "neurites",
            "uncertainty",
            "seeds",
            "direction (heuristic)",
            "synapses",
            "location",
        ),
    ]
    assert all(tuple(layer.scale) == VOXEL for layer in layers)
    assert {str(unit) for layer in layers for unit in layer.units} == {"nanometer"}
    assert window.viewer.canvas.overlays.scale_bar.visible
    assert not layers["uncertainty"].visible
    assert layers["neurites"].opacity == 0.45
    assert layers["neurites"].data is window.session.editor.labels


def test_every_action_has_its_key_beside_its_button(window):
    from qtpy.QtWidgets import QLabel

    from connectome.proofread.viewer.actions import ACTION_BY_NAME
    from connectome.proofread.viewer.panel import format_key

    keys = [label.text() for label in window.panel.findChildren(QLabel, "key")]
    assert len(keys) == len(set(keys)) == len(window.panel.buttons)
    assert keys == [format_key(ACTION_BY_NAME[name].key) for name in window.panel.buttons]


def test_the_panel_fits_a_small_screen(window):
    panel = window.panel
    assert panel.sizeHint().height() <= panel.height()
    buttons = panel.buttons.values()
    assert all(b.fontMetrics().horizontalAdvance(b.text()) < b.width() - 8 for b in buttons)
    frame = window.viewer.window._qt_window.frameGeometry()
    assert frame.width() <= 1280
    assert frame.height() <= 1024


def test_n_and_b_go_to_doubtful_places_and_select_their_neurites(window):
    assert "4 places" in window.panel.line_text("location")
    press(window, "N")
    assert window.layers.current_section == 2
    assert "Place 1 of 4" in window.panel.line_text("location")
    assert "Neurite 2 may contain two neurites" in window.panel.line_text("location")
    press(window, "N")
    assert window.layers.current_section == 4
    assert "Neurites 1 and 2 may be one neurite" in window.panel.line_text("location")
    assert "1" in window.panel.line_text("selection")
    press(window, "B")
    assert window.layers.current_section == 2
    press(window, "B")
    assert window.panel.message == "There is no doubtful place before this one"


def test_m_merges_the_neurites_of_a_place_and_settles_it(window):
    press(window, "N")
    press(window, "N")
    press(window, "M")
    assert ids(window) == {LEFT, RIGHT}
    assert window.panel.message == "Merged neurite 2 into 1"
    assert "✓" in window.panel.line_text("location")
    assert logged(window) == ["merge"]
    press(window, "B")
    press(window, "N")
    assert "Synapse" in window.panel.line_text("location")  # the settled place is skipped


def test_neurites_are_selected_by_key_by_shift_click_and_by_button_and_click(window):
    point(window, 60, 20)
    press(window, "A")
    assert window.panel.message == "Selected neurite 1"
    drag(window, (60, 130), shift=True)
    assert window.panel.message == "Selected neurite 3"
    window.panel.buttons["Select"].click()
    assert "click in the image" in window.panel.message
    drag(window, (60, 80))
    assert window.panel.message == "Selected neurite 2"
    press(window, "M")
    assert ids(window) == {LEFT, RIGHT}


def test_a_painted_stroke_is_one_edit_and_undone_by_the_shared_history(window):
    labels = window.session.editor.labels
    before = labels.copy()
    point(window, 60, 20)
    press(window, "A")
    press(window, "P")
    drag(window, (60, 60), (60, 70), (60, 80))
    assert (labels[0, 58:63, 60:80] == LEFT).all()
    assert logged(window) == ["paint"]
    press(window, "Z", "ctrl")
    np.testing.assert_array_equal(labels, before)
    press(window, "Z", "ctrl+shift")
    assert labels[0, 60, 70] == LEFT
    assert logged(window) == ["paint", "undo", "redo"]
    assert (labels[1:] == before[1:]).all()


def test_erasing_is_logged_with_the_ids_before(window):
    press(window, "E")
    drag(window, (60, 20), (60, 25))
    labels = window.session.editor.labels
    assert labels[0, 60, 22] == 0
    press(window, "Escape")
    press(window, "Z", "ctrl")
    assert labels[0, 60, 22] == LEFT
    assert logged(window) == ["erase", "undo"]


def test_painting_needs_a_selected_neurite(window):
    press(window, "P")
    assert "No neurite is selected" in window.panel.message
    assert window.layers.labels.mode == "pan_zoom"


def test_with_nothing_selected_the_brush_of_napari_paints_a_new_id(window):
    new = window.session.editor.new_id()
    window.layers.labels.mode = "paint"
    drag(window, (60, 20), (60, 25))
    assert ids(window) == {LEFT, MIDDLE, RIGHT, new}


def test_a_new_id_belonged_to_no_neurite_before(window):
    new = window.session.editor.new_id()
    press(window, "I")
    drag(window, (60, 20), (60, 25))
    assert ids(window) == {LEFT, MIDDLE, RIGHT, new}
    assert logged(window) == ["new"]


def test_f_fills_the_profile_under_the_pointer_in_its_section(window):
    point(window, 60, 20)
    press(window, "A")
    point(window, 60, 80)
    press(window, "F")
    labels = window.session.editor.labels
    assert (labels[0, :, 50:110] == LEFT).all()
    assert (labels[1, :, 50:110] == MIDDLE).all()


@pytest.mark.parametrize("through", [True, False])
def test_seeds_split_a_neurite_through_all_sections_or_in_one(window, through):
    new = window.session.editor.new_id()
    if not through:
        press(window, "T")
    press(window, "S")
    drag(window, (50, 60), (60, 60))
    press(window, "S")
    drag(window, (50, 100), (60, 100))
    press(window, "C")
    labels = window.session.editor.labels
    assert labels[0, 60, 60] == MIDDLE
    assert labels[0, 60, 100] == new
    assert (labels[3, 60, 100] == new) == through
    assert not window.layers.seeds.data.any()
    assert window.panel.message == f"Split neurite 2 into 2 and {new}"


def test_a_split_is_computed_before_it_is_requested(window, monkeypatch):
    calls = []
    split_neurite = split.split_neurite
    monkeypatch.setattr(
        split, "split_neurite", lambda *args: calls.append(1) or split_neurite(*args)
    )
    press(window, "S")
    drag(window, (50, 60), (60, 60))
    assert not calls
    press(window, "S")
    drag(window, (50, 100), (60, 100))
    until = time.monotonic() + 10
    while not calls and time.monotonic() < until:
        settle(1)
    assert len(calls) == 1
    press(window, "Z", "ctrl")  # the last stroke
    press(window, "Z", "ctrl+shift")
    press(window, "C")
    assert len(calls) == 1
    assert logged(window) == ["split"]


def test_while_seeds_are_painted_undo_removes_a_seed(window):
    press(window, "S")
    drag(window, (50, 60), (60, 60))
    assert window.layers.seeds.data.any()
    press(window, "Z", "ctrl")
    assert not window.layers.seeds.data.any()
    assert logged(window) == []


def test_the_synapse_of_a_place_is_accepted_rejected_and_swapped(window):
    table = window.session.editor.synapses
    for _ in range(3):
        press(window, "N")
    assert window.layers.current_section == 1
    assert "synapse 1 → 2" in window.panel.line_text("synapse")
    start = window.layers.arrows.data[0, 1, 2]
    press(window, "W")
    assert "synapse 2 → 1" in window.panel.message
    assert window.layers.arrows.data[0, 1, 2] == -start
    press(window, "Y")
    assert table.verdict.tolist() == ["accepted", ""]
    press(window, "X")
    assert table.verdict.tolist() == ["rejected", ""]
    assert str(window.layers.synapses.symbol[0]) == "x"
    press(window, "U")
    assert str(window.layers.synapses.symbol[0]) == "disc"
    press(window, "Z", "ctrl")
    assert table.verdict.tolist() == ["rejected", ""]
    assert window.panel.message == "Undone: withdrawing the verdict on synapse 2 → 1"
    assert str(window.layers.synapses.symbol[0]) == "x"
    for _ in range(3):
        press(window, "Z", "ctrl")
    assert window.layers.arrows.data[0, 1, 2] == start, "the arrow shows that the swap is undone"
    press(window, "Z", "ctrl+shift")
    assert window.layers.arrows.data[0, 1, 2] == -start


def test_a_synapse_under_the_pointer_takes_precedence_over_the_current_one(window):
    window.layers.show_section(3)
    point(window, 91, 111)
    press(window, "Y")
    assert window.session.editor.synapses.verdict.tolist() == ["", "accepted"]


def test_a_verdict_without_a_synapse_is_refused(window):
    window.panel.buttons["Accept"].click()
    assert "No synapse is selected" in window.panel.message


def test_sections_are_marked_and_the_next_one_is_shown(window):
    press(window, "K")
    assert "section 0 of 6: proofread" in window.panel.line_text("section")
    assert "0 ✓, 3" in window.panel.line_text("section")
    press(window, "J")
    assert window.layers.current_section == 3
    press(window, "K")
    press(window, "J")
    assert "All proposed sections are proofread" in window.panel.message
    press(window, "K")
    assert window.session.editor.sections == {0}


def test_the_doubt_map_and_outlines_are_toggled(window):
    press(window, "D")
    assert window.layers.uncertainty.visible
    assert window.layers.labels.contour
    press(window, "D")
    assert not window.layers.uncertainty.visible
    assert not window.layers.labels.contour
    press(window, "O")
    assert window.layers.labels.contour
    press(window, "O")
    assert not window.layers.labels.contour


def test_keys_work_whatever_layer_is_active(window):
    for layer in window.viewer.layers:
        window.viewer.layers.selection.active = layer
        press(window, "K")
    assert len(window.session.editor.sections) == len(window.viewer.layers) % 2


def test_in_3d_nothing_can_be_painted(window):
    window.viewer.dims.ndisplay = 3
    settle()
    press(window, "E")
    assert "Painting works in 2D only" in window.panel.message
    window.viewer.dims.ndisplay = 2
    settle()
    press(window, "E")
    drag(window, (60, 20), (60, 25))
    assert 0 in ids(window)


def test_painting_across_sections_is_logged_too(window):
    window.viewer.dims.order = (1, 0, 2)
    settle()
    window._log_painting()
    window.layers.labels.data_setitem((np.array([3]), np.array([60]), np.array([20])), 3)
    window.viewer.dims.set_current_step(1, 60)
    window.layers.labels.data_setitem((np.array([3]), np.array([60]), np.array([21])), 3)
    window._log_painting()
    window.undo()
    assert window.session.editor.labels[3, 60, 21] == LEFT


def test_ctrl_s_saves_the_files_that_the_refiners_read(opened, outdir):
    window = opened()
    press(window, "N")
    press(window, "N")
    press(window, "M")
    press(window, "K")
    assert "2 edits not saved" in window.panel.line_text("session")
    press(window, "S", "ctrl")
    assert "all edits are saved" in window.panel.line_text("session")
    saved = np.load(outdir / paths.CORRECTED_LABELS)
    np.testing.assert_array_equal(saved, window.session.editor.labels)
    assert json.loads((outdir / paths.PROOFREAD_SECTIONS).read_text())["slices"] == [4]
    np.testing.assert_array_equal(replay_saved_labels(outdir), saved)


def test_a_stroke_that_cannot_be_logged_is_undone_and_reported(window):
    def fail(record):
        raise OSError(28, "No space left on device")

    window.session.editor.on_edit = fail
    press(window, "E")
    drag(window, (60, 20), (60, 25))
    assert "No space left" in window.panel.message
    assert ids(window) == {LEFT, MIDDLE, RIGHT}


def test_closing_asks_about_unsaved_edits_and_can_be_cancelled(opened, outdir):
    from connectome.proofread.viewer.dialogs import CONTINUE, SAVE

    window = opened()
    asked = []

    def answering(answer):
        def asking(parent, title, question, answers):
            asked.append(question)
            return answer

        window.close_guard.ask = asking

    qt_window = window.viewer.window._qt_window
    press(window, "K")
    answering(CONTINUE)
    qt_window.close()
    assert not window.close_guard.closed
    assert "Not saved yet: 1 edit." in asked[0]
    answering(SAVE)
    qt_window.close()
    assert window.close_guard.closed
    assert (outdir / paths.PROOFREAD_SECTIONS).exists()
    assert len(asked) == 2


def test_closing_asks_nothing_if_all_is_saved(opened):
    window = opened()
    window.close_guard.ask = lambda *_: pytest.fail("asked")
    window.viewer.window._qt_window.close()
    assert window.close_guard.closed


def test_closing_by_the_window_manager_asks_once_and_napari_does_not_ask(opened):
    from connectome.proofread.viewer.dialogs import CLOSE_UNSAVED

    window = opened()
    press(window, "K")
    asked = []
    window.close_guard.ask = lambda *_: asked.append(1) or CLOSE_UNSAVED
    # As a window manager does; napari has a question of its own for that.
    window.viewer.window._qt_window.windowHandle().close()
    settle()
    assert window.close_guard.closed
    assert asked == [1]


def test_a_question_closed_by_the_end_of_the_program_gets_its_last_answer(window):
    from napari.qt import get_qapp
    from qtpy.QtCore import QTimer

    from connectome.proofread.viewer.dialogs import ask_question

    QTimer.singleShot(100, lambda: get_qapp().exit(0))
    assert ask_question(None, "Proofreading", "Save?", ("Save", "Go on")) == "Go on"


@pytest.mark.parametrize(
    ("answer", "n_unsaved"), [("Restore them", 1), ("Discard them", 0), ("Cancel", None)]
)
def test_unsaved_edits_are_offered_at_the_next_start(outdir, monkeypatch, answer, n_unsaved):
    from connectome.proofread.viewer import launch
    from connectome.proofread.viewer.dialogs import ask_to_restore

    with open_session(outdir) as session:
        session.editor.merge(LEFT, MIDDLE)
    asked = []

    def ask(parent, title, question, answers):
        asked.append(question)
        return answer

    monkeypatch.setattr(launch, "ask_to_restore", lambda left: ask_to_restore(left, ask))
    opened = []
    monkeypatch.setattr(launch, "Window", lambda *given: opened.append(given))
    monkeypatch.setattr(launch.napari, "run", settle)
    assert launch.proofread(outdir) == n_unsaved
    assert "with 1 edit not saved" in asked[0]
    assert len(opened) == (answer != "Cancel")


@pytest.mark.parametrize("recover", [True, False])
def test_nothing_is_asked_if_recover_is_given(outdir, monkeypatch, recover):
    from connectome.proofread.viewer import launch

    with open_session(outdir) as session:
        session.editor.merge(LEFT, MIDDLE)
    monkeypatch.setattr(launch, "ask_to_restore", lambda *_: pytest.fail("asked"))
    monkeypatch.setattr(launch, "Window", lambda *given: None)
    monkeypatch.setattr(launch.napari, "run", settle)
    assert launch.proofread(outdir, recover=recover) == int(recover)


CRASHING = """
import sys, time
from pathlib import Path
from connectome.triage.queue import build_queue
from connectome.proofread.session import open_session
from connectome.proofread.viewer.actions import ACTION_BY_NAME
from connectome.proofread.viewer.window import Window
session = open_session(Path(sys.argv[1]), user="tester")
window = Window(session, build_queue(session.folder, session.editor.synapses))
for name in ("Next", "Next", "Merge", "Proofread"):
    window.perform(ACTION_BY_NAME[name])
print("merged", flush=True)
time.sleep(60)
"""


@pytest.mark.posix
def test_after_a_crash_the_edits_come_back(opened, outdir):
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CRASHING, str(outdir)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert process.stdout.readline() == "merged\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert find_unsaved_edits(outdir).n_edits == 2
    window = opened(recover=True)
    assert ids(window) == {LEFT, RIGHT}
    assert "2 edits of an earlier session restored" in window.panel.message
    assert "2 edits not saved" in window.panel.line_text("session")
    press(window, "Z", "ctrl")
    press(window, "Z", "ctrl")
    assert ids(window) == {LEFT, MIDDLE, RIGHT}
