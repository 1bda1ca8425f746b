"""The window a person proofreads in: every action by a key, every edit told to the log at once."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import napari
import numpy as np
from napari.qt import get_qapp
from qtpy.QtCore import QEvent, QObject, QTimer

from connectome.core.errors import ConnectomeError
from connectome.proofread.edit_runs import find_marked_voxels
from connectome.proofread.editor import LabelEditor
from connectome.proofread.history import EditResult
from connectome.proofread.session import Session, find_unsaved_edits, open_session
from connectome.proofread.viewer.layers import SEED_COLOURS, StackLayers
from connectome.proofread.viewer.panel import Action, Panel, ask_question, colour_swatch
from connectome.proofread.viewer.stroke_watch import StrokeWatcher
from connectome.triage import focused_proofreading
from connectome.triage.queue import N_SECTIONS, ProofreadingQueue, build_queue

SAVE, CLOSE_UNSAVED, CONTINUE = "Save", "Close without saving", "Go on proofreading"
RECOVER, DISCARD, CANCEL = "Bring them back", "Begin without them", "Not now"
SCREEN_SHARE = 0.94
OUTLINE_PX = 2
SIGNAL_CHECK_MS = 200  # how often is looked for Ctrl-C
SYNAPSE_TOOLS = ("accept", "reject", "unreview", "swap")
LINES = {  # under which heading which line stands
    "Places in doubt": "place",
    "Neurites": "picked",
    "Split": "seeds",
    "Synapses": "synapse",
    "Sections": "section",
    "Work": "work",
}


def proofread(
    outdir: Path,
    labels: str = "auto",
    sections: Sequence[int] | None = None,
    n_sections: int = N_SECTIONS,
    user: str | None = None,
    recover: bool | None = None,
    command: Sequence[str] = (),
) -> int | None:
    """Let a person proofread what a run left, until they close the window.

    Parameters
    ----------
    outdir : Path
        Output folder of the run.
    labels, user, command
        As `connectome.proofread.session.open_session` takes them.
    sections, n_sections
        As `connectome.triage.queue.build_queue` takes them.
    recover : bool, optional
        Take up what a session left without saving it, or discard it; None asks.

    Returns
    -------
    int or None
        Corrections that were not saved; None if nothing was opened.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C or SIGTERM, once the window is closed; it says what is in the log.
    """
    left = find_unsaved_edits(outdir)
    if left and recover is None:
        get_qapp()  # a question needs it before there is a window
        answer = ask_question(
            None,
            "Proofreading",
            f"A session ended with {_count_edits(left.n_edits)} not saved"
            f" ({left.user}, {left.time[:16].replace('T', ' ')} UTC).\n"
            "Without them the new session begins from what was saved, and they are not offered"
            " again.",
            (RECOVER, DISCARD, CANCEL),
        )
        if answer == CANCEL:
            return None
        recover = answer == RECOVER
    with open_session(outdir, labels, user=user, recover=bool(recover), command=command) as session:
        synapses = session.editor.synapses
        guide = build_queue(session.folder, synapses, sections, n_sections)
        with _defer_interrupts() as held:
            window = Window(session, guide)
            _run_until_closed(held)
            if held:
                window.close()  # a stroke that is under way gets into the log
        del window  # it was kept alive for Qt
        if held:
            raise KeyboardInterrupt(_interrupt_message(session.n_unsaved))
        return session.n_unsaved


@contextmanager
def _defer_interrupts() -> Iterator[list]:
    """Gather Ctrl-C and SIGTERM: raised in the midst of what Qt calls, they would end nothing."""
    held: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _frame: held.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield held
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _run_until_closed(held: list) -> None:
    """Let Qt run until the window is closed, or a signal is held."""
    timer = QTimer()
    # Also lets Python notice a signal while nobody moves the mouse.
    timer.timeout.connect(lambda: held and get_qapp().exit(0))
    timer.start(SIGNAL_CHECK_MS)
    if not held:
        napari.run()
    timer.stop()


def _interrupt_message(n_unsaved: int) -> str:
    if not n_unsaved:
        return "all corrections are saved"
    verbs = ("is", "it") if n_unsaved == 1 else ("are", "them")
    return "{} {} in the log; the next start offers {} back".format(_count_edits(n_unsaved), *verbs)


class Window:
    """A napari window on a proofreading session.

    Parameters
    ----------
    session : Session
        Open; whoever opened it closes it.
    guide : Guide
        Where to begin.
    asking : callable
        Takes parent, title, question and answers; returns one of the answers.
    show : bool
        Put the window on the screen.

    Attributes
    ----------
    viewer, picture, panel
        What it consists of.
    hand : tuple of int or None
        Voxel pointed at, if by hand.
    closed : bool
        Whether the user has closed it.
    """

    def __init__(
        self,
        session: Session,
        queue: ProofreadingQueue,
        asking: Callable[..., str] = ask_question,
        show: bool = True,
    ):
        self.session = session
        self.queue = queue
        self._ask_question = asking
        self._editor: LabelEditor = session.editor
        self._voxel_size = session.folder.aligned.voxel_size
        self._location_index = -1  # which of the places
        self._synapse_row: int | None = None  # row of the one in question
        self._picked_ids: list[int] = []
        self._split_in_3d = True  # split through all sections
        self.pointed_voxel: tuple[int, int, int] | None = None  # voxel pointed at, if by hand
        self._action_awaiting_click: Action | None = None  # for a click
        self._seed_number = 1
        self.closed = False
        self._stroke_watcher = StrokeWatcher(self._editor.labels)

        self.viewer = napari.Viewer(title=f"Proofreading {session.outdir}", show=show)
        self.layers = StackLayers(self.viewer, session, queue.uncertainty)
        self._actions = self._list_actions()
        self.panel = Panel(self._actions, LINES, self._press)
        self.viewer.window.add_dock_widget(
            self.panel, name="Proofreading", area="right", allowed_areas=["left", "right"]
        )
        self._connect_events()
        self._fit_screen()
        self._watch_plane()
        self.pick_ids([])
        self._update_panel()
        self.panel.show_message(self._opening_message())

    # --- what can be done ---------------------------------------------------------------------

    def _list_actions(self) -> list[Action]:
        """List all actions, in the order in which the panel shows them."""
        places, neurites, split, synapses, sections, work = LINES
        return [
            Action(places, "Next", "N", "Go to the next place in doubt", self.next_location),
            Action(places, "Back", "B", "Go to the place before", self.previous_location),
            Action(
                *(neurites, "Pick", "A", "Pick the neurite under the pointer (or Shift-click)"),
                *(self.pick, "", True),
            ),
            Action(neurites, "Merge", "M", "Make the two picked ones one neurite", self.merge),
            Action(neurites, "Paint", "P", "Paint with the picked id", self.paint, "paint"),
            Action(neurites, "Erase", "E", "Take away what is painted over", self.erase, "erase"),
            Action(
                *(neurites, "Fill", "F", "Give the profile under the pointer to the picked id"),
                *(self.fill, "", True),
            ),
            Action(neurites, "New id", "I", "Paint a neurite that had no id so far", self.new_id),
            Action(
                *(split, "Seeds", "S", "Paint a stroke into each part; again for the next colour"),
                *(self.seed, "seeds"),
            ),
            Action(split, "Split", "C", "Cut the seeded neurite apart", self.split),
            Action(
                split,
                "2D / 3D",
                "T",
                "Split in this section, or through all",
                self.toggle_split_depth,
            ),
            Action(split, "Put down", "Escape", "Put seeds and tools away", self.put_tools_away),
            Action(synapses, "Accept", "Y", "This is a synapse", self.accept),
            Action(synapses, "Reject", "X", "This is none", self.reject),
            Action(synapses, "Swap", "W", "It runs the other way", self.swap),
            Action(synapses, "Clear", "U", "Take the verdict back", self.clear_verdict),
            Action(sections, "Proofread", "K", "Done from edge to edge, or not", self.mark),
            Action(
                sections,
                "Next to do",
                "J",
                "Go to the next section to proofread",
                self.next_section,
            ),
            Action(sections, "Doubt map", "D", "Show or hide it", self.toggle_uncertainty),
            Action(sections, "Outlines", "O", "Show outlines or areas", self.toggle_outlines),
            Action(work, "Undo", "Control-Z", "Take the last edit back", self.undo),
            Action(work, "Redo", "Control-Shift-Z", "Do it again", self.redo),
            Action(work, "Save", "Control-S", "Write labels, sections and synapses", self.save),
        ]

    @property
    def location(self) -> focused_proofreading.Location | None:
        """The place in doubt that the user was led to."""
        return self.queue.locations[self._location_index] if self._location_index >= 0 else None

    def next_location(self) -> str:
        """Go to the next place in doubt that nobody has settled."""
        return self._go_to_location(+1)

    def previous_location(self) -> str:
        """Go to the place in doubt before this one."""
        return self._go_to_location(-1)

    def pick(self) -> str:
        """Pick the neurite pointed at; the last two count."""
        neurite = int(self._editor.labels[self._voxel_under_pointer()])
        if not neurite:
            raise ConnectomeError("this belongs to nobody", remedy="pick a coloured neurite")
        self.pick_ids([*(i for i in self._picked_ids if i != neurite), neurite][-2:])
        return f"picked {neurite}"

    def merge(self) -> str:
        """Make the two picked neurites one."""
        if len(self._picked_ids) < 2:
            raise ConnectomeError(
                "two neurites are to be picked first", remedy="point at each and press A"
            )
        keep, other = self._picked_ids
        self._show_result(self._editor.merge(keep, other, self._edit_position()))
        self.pick_ids([keep])
        return f"merged {other} into {keep}"

    def paint(self) -> str:
        """Take the brush, with the id picked last."""
        neurite = self._last_picked_id()
        self._take_tool(self.layers.labels, "paint")
        return f"drag to paint {neurite}; [ and ] change the brush, Esc puts it down"

    def erase(self) -> str:
        """Take the eraser."""
        self._take_tool(self.layers.labels, "erase")
        return "drag to erase; [ and ] change the brush, Esc puts it down"

    def fill(self) -> str:
        """Give the profile pointed at to the id picked last."""
        neurite = self._last_picked_id()
        self._show_result(self._editor.fill(self._voxel_under_pointer(), neurite))
        return f"filled with {neurite}"

    def new_id(self) -> str:
        """Take the brush, with an id that no neurite has."""
        self.pick_ids([self._editor.new_id()])
        return self.paint()

    def seed(self) -> str:
        """Take the brush for seeds; again, its next colour."""
        in_hand = self.layers.seeds.mode == "paint"
        self._seed_number = self._seed_number % len(SEED_COLOURS) + 1 if in_hand else 1
        self.layers.seeds.selected_label = self._seed_number
        self._take_tool(self.layers.seeds, "paint")
        colour = SEED_COLOURS[self._seed_number]
        return f"paint a {colour} stroke into one part; S for the next, C to split"

    def split(self) -> str:
        """Cut the neurite that was seeded apart."""
        neurite = self._seeded_neurite()
        if neurite is None:
            raise ConnectomeError(
                "there is no seed on a neurite", remedy="S, then a stroke into each of its parts"
            )
        change = self._editor.split(*self._split_arguments(neurite), self._edit_position())
        self._show_result(change)
        self.layers.clear_seeds()
        self.put_tools_away()
        parts = change.record.ids
        self.pick_ids(list(parts[:2]))
        return f"split {neurite}: now {' and '.join(map(str, parts))}"

    def toggle_split_depth(self) -> str:
        """Let splits go through all sections, or only this one."""
        self._split_in_3d = not self._split_in_3d
        self._prepare_split()
        self._update_seeds()
        return "a split goes " + (
            "through all sections" if self._split_in_3d else "through this section"
        )

    def put_tools_away(self) -> str:
        """Put away the tool in hand and the seeds."""
        self._action_awaiting_click = None
        if self.layers.seeds.data.any():
            self.layers.clear_seeds()
        for layer in (self.layers.labels, self.layers.seeds):
            layer.mode = "pan_zoom"
        self.viewer.layers.selection.active = self.layers.labels
        return "drag moves the picture"

    def accept(self) -> str:
        """Accept the synapse in question."""
        return self._review("accepted")

    def reject(self) -> str:
        """Reject the synapse in question."""
        return self._review("rejected")

    def clear_verdict(self) -> str:
        """Take back what was said of the synapse in question."""
        return self._review("")

    def swap(self) -> str:
        """Let the synapse in question run the other way."""
        row = self._current_synapse_row()
        self._show_result(self._editor.swap(row))
        return f"swapped: {self._describe_synapse(row)}"

    def mark(self) -> str:
        """Say that this section is proofread, or that it is not."""
        section = self.layers.current_section
        done = section not in self._editor.sections
        self._show_result(self._editor.mark(section, done))
        return f"section {section} is {'proofread' if done else 'not proofread any more'}"

    def next_section(self) -> str:
        """Go to the next section that is to be proofread."""
        left = [z for z in self.queue.sections if z not in self._editor.sections]
        if not left:
            raise ConnectomeError(
                "all sections to proofread are done", remedy="save, then train_refine_rf.py"
            )
        here = self.layers.current_section
        section = next((z for z in left if z > here), left[0])
        self.layers.show_section(section)
        return f"section {section}: press K when it is right from edge to edge"

    def toggle_uncertainty(self) -> str:
        """Show the doubt map and outlines of neurites, or neurites alone."""
        shown = self.layers.doubt.visible = not self.layers.doubt.visible
        self.layers.labels.contour = OUTLINE_PX if shown else 0
        return "the brighter, the more in doubt" if shown else "doubt hidden"

    def toggle_outlines(self) -> str:
        """Show neurites as outlines or as areas."""
        self.layers.labels.contour = 0 if self.layers.labels.contour else OUTLINE_PX
        return "neurites as " + ("outlines" if self.layers.labels.contour else "areas")

    def undo(self) -> str:
        """Take the last edit back; while seeds are painted, the last stroke of them."""
        if self._is_seeding():
            self.layers.seeds.undo()
            self._prepare_split()
            return "took back a seed"
        return self._show_undo(self._editor.undo(), "nothing to undo")

    def redo(self) -> str:
        """Do again what was taken back."""
        if self._is_seeding():
            self.layers.seeds.redo()
            self._prepare_split()
            return "painted a seed again"
        return self._show_undo(self._editor.redo(), "nothing to redo")

    def save(self) -> str:
        """Write what there is."""
        written = self.session.save()
        return "saved " + ", ".join(path.name for path in written)

    def perform(self, action: Action) -> None:
        """Do something and say what came of it; failures are said, too."""
        self._log_painting()
        try:
            self.panel.show_message(action.callback() or "")
        except (ConnectomeError, OSError, sqlite3.Error) as error:
            self.panel.show_message(str(error), failed=True)
        self.pointed_voxel = None
        self._update_panel()

    def close(self) -> None:
        """Close the window without a question; what is not saved stays in the log."""
        self._ask_question = lambda *_: CLOSE_UNSAVED
        self.viewer.close()

    # --- keys, buttons, pointer ---------------------------------------------------------------

    def _connect_events(self) -> None:
        for action in self._actions:
            for keeper in (self.viewer, *self.layers.all_layers):
                # Bound to the layers, too: napari asks the active one first.
                keeper.bind_key(action.key, self._on_key(action), overwrite=True)
        # Should napari find another way to its own history, it gets to this one.
        self.layers.labels.undo = lambda: self.perform(self.action("Undo"))
        self.layers.labels.redo = lambda: self.perform(self.action("Redo"))
        self.layers.labels.events.paint.connect(lambda event: self._log_painting())
        # Not at once: napari tells of some strokes before it writes them.
        self._seed_timer = QTimer(singleShot=True, interval=0)
        self._seed_timer.timeout.connect(self._prepare_split)
        self.layers.seeds.events.paint.connect(lambda event: self._seed_timer.start())
        for layer in (self.layers.labels, self.layers.seeds):
            layer.events.mode.connect(lambda event: self._update_tool())
        self.viewer.dims.events.current_step.connect(lambda event: self._on_step())
        self.viewer.dims.events.order.connect(lambda event: self._watch_plane())
        self.viewer.dims.events.ndisplay.connect(lambda event: self._watch_plane())
        self.viewer.mouse_drag_callbacks.append(self._on_click)
        # Kept: Qt does not own its event filters.
        self._close_filter = _CloseFilter(self._may_close)
        self.viewer.window._qt_window.installEventFilter(self._close_filter)

    def _on_key(self, action: Action) -> Callable:
        def pressed(_layer_or_viewer):
            self._action_awaiting_click = None
            self._set_pointed_voxel(self.viewer.cursor.position)
            self.perform(action)

        return pressed

    def _press(self, action: Action) -> None:
        """Follow a button: what is about a place in the picture waits for a click there."""
        self.pointed_voxel = None
        if not action.needs_pointer:
            self.perform(action)
            return
        self.put_tools_away()
        self._action_awaiting_click = action
        self.panel.show_message(f"{action.name}: click into the picture")

    def _on_click(self, _viewer, event) -> None:
        """Do what waits for a click; with Shift, pick."""
        layers = (self.layers.labels, self.layers.seeds)
        idle = all(layer.mode == "pan_zoom" for layer in layers)
        shifted = "Shift" in event.modifiers and idle
        action = self._action_awaiting_click or (self.action("Pick") if shifted else None)
        if action:
            self._action_awaiting_click = None
            self._set_pointed_voxel(event.position)
            self.perform(action)

    def _set_pointed_voxel(self, position: Sequence[float]) -> None:
        try:
            self.pointed_voxel = self.layers.voxel_at(position)
        except ConnectomeError:
            self.pointed_voxel = None

    def _voxel_under_pointer(self) -> tuple[int, int, int]:
        """Return the voxel under the pointer, or say why there is none."""
        return self.pointed_voxel or self.layers.voxel_at(self.viewer.cursor.position)

    def action(self, name: str) -> Action:
        """Return an action by what is on its button."""
        return next(action for action in self._actions if action.name == name)

    def _take_tool(self, layer, mode: str) -> None:
        if self.viewer.dims.ndisplay == 3:
            raise ConnectomeError("painting is done in 2D", remedy="Ctrl+Y, back to 2D")
        for other in (self.layers.labels, self.layers.seeds):
            if other is not layer:
                other.mode = "pan_zoom"
        self.viewer.layers.selection.active = layer
        layer.mode = mode

    # --- places, neurites, synapses -----------------------------------------------------------

    def _go_to_location(self, step: int) -> str:
        if not self.queue.locations:
            raise ConnectomeError(
                "no place is known to be in doubt",
                "the run rated no boundary, as with --segmentation watershed",
                "J, the sections to proofread",
            )
        at = self._location_index + step
        while 0 <= at < len(self.queue.locations) and self._is_settled(self.queue.locations[at]):
            at += step
        if not 0 <= at < len(self.queue.locations):
            raise ConnectomeError(
                "there is no further place" if step > 0 else "there is no place before this one"
            )
        self._location_index = at
        place = self.queue.locations[at]
        self.layers.go_to((place.z, place.y, place.x))
        self._synapse_row = place.synapse_row
        self.pick_ids([i for i in dict.fromkeys(self._current_ids(place)) if i][:2])
        return {
            "join": "Two neurites? S and a stroke into each, then C. One? N goes on.",
            "apart": "One neurite? M. Two? N goes on.",
            "neurite": "Follow it through the sections with the arrow keys; N goes on.",
            "synapse": "A synapse? Y. None? X. The wrong way round? W. N goes on.",
        }[place.kind]

    def _is_settled(self, place: focused_proofreading.Location) -> bool:
        """Tell whether there is nothing left to decide: merged since, or reviewed."""
        if place.synapse_row is not None:
            return bool(self._editor.synapses.at[place.synapse_row, "verdict"])
        ids = self._current_ids(place)
        return len(ids) == 2 and (ids[0] == ids[1] or 0 in ids)

    def _current_ids(self, place: focused_proofreading.Location) -> tuple[int, ...]:
        session = self.session
        # Tables of the run name neurites of the draft, synapses those the session began with.
        before = (
            session.folder.baseline_labels if place.synapse_row is None else session.initial_labels
        )
        return focused_proofreading.current_ids(
            place, before, self._editor.labels, self._voxel_size
        )

    def _edit_position(self) -> tuple[int, int, int]:
        """Return the place for the log: the one pointed at, or the middle of the picture."""
        if self.pointed_voxel:
            return self.pointed_voxel
        middle = np.rint(np.array(self.viewer.scene.camera.center) / self._voxel_size).astype(int)
        middle[0] = self.layers.current_section
        return tuple(np.clip(middle, 0, np.array(self._editor.labels.shape) - 1).tolist())

    def pick_ids(self, ids: list[int]) -> None:
        """Take these neurites as picked, the last for painting."""
        self._picked_ids = ids
        # napari has brushes of its own: with nothing picked they paint what was nobody's.
        self.layers.labels.selected_label = ids[-1] if ids else self._editor.new_id()

    def _last_picked_id(self) -> int:
        if not self._picked_ids:
            raise ConnectomeError(
                "no neurite is picked", remedy="point at one and press A, or take a new id with I"
            )
        return self._picked_ids[-1]

    def _current_synapse_row(self) -> int:
        """Return the row of the synapse pointed at, or else of the place the user was led to."""
        near = self.layers.find_synapse_near(self.pointed_voxel) if self.pointed_voxel else None
        self._synapse_row = self._synapse_row if near is None else near
        if self._synapse_row is None:
            raise ConnectomeError(
                "no synapse is in question", remedy="point at one, or let N lead you to one"
            )
        return self._synapse_row

    def _review(self, verdict: str) -> str:
        row = self._current_synapse_row()
        self._show_result(self._editor.review(row, verdict))
        return f"{self._describe_synapse(row)} {verdict or 'is open again'}"

    def _describe_synapse(self, row: int) -> str:
        """Name a synapse by the ids that its partners have now."""
        synapse = self._editor.synapses.iloc[row]
        ids = (int(synapse.pre_id), int(synapse.post_id))
        place = focused_proofreading.Location(
            *map(int, synapse[["z", "y", "x"]]), "synapse", ids, "", 0.0, row
        )
        return place.describe(self._current_ids(place)).strip()

    # --- what has changed ---------------------------------------------------------------------

    def _show_result(self, change: EditResult | None) -> None:
        if change:
            self._redraw_edit(change.box, change.record.tool)

    def _redraw_edit(self, box: tuple[slice, ...] | None, tool: str) -> None:
        """Draw again what an edit changed, and only that."""
        self.layers.redraw(box)
        if tool in SYNAPSE_TOOLS:
            self.layers.show_synapses(self._editor.synapses)
        self._watch_plane()

    def _show_undo(self, change: EditResult | None, nothing: str) -> str:
        """Show what was undone or done again, where it was."""
        if change is None:
            raise ConnectomeError(nothing)
        correction = change.record
        tool = json.loads(correction.payload)["tool"]
        if correction.position and correction.position[0] != self.layers.current_section:
            self.layers.go_to(correction.position, ring=False)
        self._redraw_edit(change.box, tool)
        if tool in SYNAPSE_TOOLS:
            return f"{correction.tool}: {tool} of {self._describe_synapse(correction.ids[0])}"
        return f"{correction.tool}: {tool} of {' and '.join(map(str, correction.ids))}"

    def _watch_plane(self) -> None:
        """Remember the ids in the plane that is seen: what a brush changes shows against them."""
        hidden = self.viewer.dims.not_displayed
        at = self.viewer.dims.current_step
        self._stroke_watcher.watch_plane(*((hidden[0], int(at[hidden[0]])) if hidden else (None,)))

    def _log_painting(self) -> None:
        """Tell the log what napari's brush has changed since the plane was last looked at."""
        strokes = self._stroke_watcher.take_strokes()
        if not strokes:
            return
        try:
            for voxels, neurite, before in strokes:
                tool = "new" if neurite >= self._editor.new_id() else "paint"
                self._editor.paint(voxels, neurite, tool, before)
            self.panel.show_message(
                f"painted {sum(len(stroke.before) for stroke in strokes)} voxels"
            )
        except (ConnectomeError, OSError, sqlite3.Error) as error:
            self.panel.show_message(str(error), failed=True)
            self.layers.labels.refresh()
        self._update_panel()

    def _on_step(self) -> None:
        self._log_painting()
        self._watch_plane()
        self._update_sections()

    def _seeded_neurite(self) -> int | None:
        """Return the neurite that most of the seeds lie on, if any."""
        ids = self._editor.labels[find_marked_voxels(self.layers.seeds.data)]
        neurites, sizes = np.unique(ids[ids > 0], return_counts=True)
        return int(neurites[sizes.argmax()]) if neurites.size else None

    def _split_arguments(self, neurite: int) -> tuple[int, np.ndarray, int | None]:
        """Return what a split of a neurite, as it is set now, takes."""
        return (
            neurite,
            self.layers.seeds.data,
            None if self._split_in_3d else self.layers.current_section,
        )

    def _prepare_split(self) -> None:
        """Begin with a split as soon as seeds are there: nobody has to wait for it then."""
        if neurite := self._seeded_neurite():
            self._editor.prepare_split(*self._split_arguments(neurite))

    def _is_seeding(self) -> bool:
        seeds = self.layers.seeds
        return self.viewer.layers.selection.active is seeds and bool(seeds.data.any())

    # --- what the panel says ------------------------------------------------------------------

    def _opening_message(self) -> str:
        recovered = self.session.n_recovered
        if recovered:
            return f"{_count_edits(recovered)} of an earlier session taken up. N goes to a place."
        return "N goes to the place where most is in doubt; arrow keys go through the sections."

    def _update_panel(self) -> None:
        self._update_location()
        self._update_picked()
        self._update_seeds()
        self._update_synapse()
        self._update_sections()
        self._update_tool()
        n = self.session.n_unsaved
        self.panel.set_line(
            "work", f"{_count_edits(n)} not saved yet" if n else "all corrections are saved"
        )

    def _update_location(self) -> None:
        n = len(self.queue.locations)
        place = self.location
        if place is None:
            self.panel.set_line("place", f"{n} places to look at, the worst first")
            return
        ids = tuple(
            now or was for now, was in zip(self._current_ids(place), place.ids, strict=True)
        )
        words = place.describe(ids)
        if place.synapse_row is not None:  # its direction may have been swapped
            words = f"{self._describe_synapse(place.synapse_row)} {place.reason}"
        done = " ✓" if self._is_settled(place) else ""
        self.panel.set_line(
            "place", f"<b>place {self._location_index + 1} of {n}{done}:</b> {words}"
        )

    def _update_picked(self) -> None:
        shown = [colour_swatch(self.layers.neurite_colour(i), str(i)) for i in self._picked_ids]
        text = {0: "none picked", 1: "picked {}", 2: "picked {} and {}"}[len(shown)]
        self.panel.set_line("picked", text.format(*shown))

    def _update_seeds(self) -> None:
        self.panel.set_line("seeds", f"a split goes {self._split_depth()}")

    def _split_depth(self) -> str:
        return "through all sections (3D)" if self._split_in_3d else "in this section only (2D)"

    def _update_synapse(self) -> None:
        if self._synapse_row is None:
            counts = self._editor.synapses["verdict"].ne("").sum()
            text = f"{len(self._editor.synapses)} candidates, {counts} reviewed"
        else:
            row = self._editor.synapses.iloc[self._synapse_row]
            name = self._describe_synapse(self._synapse_row)
            text = f"{name}, score {row.score:.2f}, {row.verdict or 'open'}"
        self.panel.set_line("synapse", text)

    def _update_sections(self) -> None:
        done = self._editor.sections
        here = self.layers.current_section
        state = "proofread" if here in done else "not proofread"
        asked = ", ".join(f"{z}{' ✓' if z in done else ''}" for z in self.queue.sections)
        self.panel.set_line(
            "section",
            f"section {here} of {len(self._editor.labels)}: {state}<br>to proofread: {asked}",
        )

    def _update_tool(self) -> None:
        seeds, labels = self.layers.seeds.mode, self.layers.labels.mode
        self.panel.highlight_tool("seeds" if seeds == "paint" else str(labels))

    # --- closing ------------------------------------------------------------------------------

    def _may_close(self) -> bool:
        """Ask about what is not saved, and tell whether the window may go."""
        self._log_painting()
        answer = CLOSE_UNSAVED
        if self.session.n_unsaved:
            answer = self._ask_question(
                self.viewer.window._qt_window,
                "Proofreading",
                f"Not saved yet: {_count_edits(self.session.n_unsaved)}.\n"
                "What is in the log will be offered at the next start.",
                (SAVE, CLOSE_UNSAVED, CONTINUE),
            )
        if answer == SAVE:
            self.perform(self.action("Save"))
            self.closed = not self.session.n_unsaved
        else:
            self.closed = answer == CLOSE_UNSAVED
        return self.closed

    def _fit_screen(self) -> None:
        window = self.viewer.window._qt_window
        there = window.screen().availableGeometry()
        window.resize(there.size() * SCREEN_SHARE)
        window.move(there.topLeft())


def _count_edits(n: int) -> str:
    return f"{n} correction{'s' * (n != 1)}"


class _CloseFilter(QObject):
    """Asks before a window closes, once, and leaves napari no reason to ask again."""

    def __init__(self, may_close: Callable[[], bool]):
        super().__init__()
        self._may_close = may_close
        self._allowed = False

    def eventFilter(self, window, event) -> bool:
        if event.type() != QEvent.Type.Close or self._allowed:
            return False
        if event.spontaneous():
            # napari asks whenever the user closes a window; what a program closes it lets go.
            QTimer.singleShot(0, window.close)
        elif self._may_close():
            self._allowed = True
            return False
        event.ignore()
        return True
