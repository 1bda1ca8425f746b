"""The proofreading window: its actions, and what it shows after each."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import napari
from qtpy.QtCore import QTimer

from connectome.core.errors import ConnectomeError
from connectome.proofread.edit_runs import Box
from connectome.proofread.history import EditResult
from connectome.proofread.session import Session, status_text
from connectome.proofread.session.queue_navigator import QueueNavigator
from connectome.proofread.viewer.actions import (
    ACTION_BY_NAME,
    ACTIONS,
    LINE_OF_GROUP,
    Action,
    ActionInput,
)
from connectome.proofread.viewer.dialogs import (
    CLOSE_UNSAVED,
    AskQuestion,
    CloseGuard,
    ask_question,
)
from connectome.proofread.viewer.layers import StackLayers
from connectome.proofread.viewer.panel import Panel, colour_swatch
from connectome.proofread.viewer.stroke_watch import StrokeWatcher
from connectome.triage.queue import ProofreadingQueue

SCREEN_FRACTION = 0.94
HINTS = {  # by the kind of a location
    "join": "Two neurites? S, a stroke in each, C to split. One? N goes on.",
    "apart": "One neurite? M to merge. Two? N goes on.",
    "neurite": "Follow it through the sections with the arrow keys. N goes on.",
    "synapse": "Y accept, X reject, W swap direction. N goes on.",
}


class Window:
    """A napari window on a proofreading session.

    The public methods without parameters that return a message are the actions of
    `connectome.proofread.viewer.actions.ACTIONS`.

    Parameters
    ----------
    session : Session
        Open session; the caller closes it.
    queue : ProofreadingQueue
        Locations to look at and sections to proofread.
    ask : callable
        Takes parent, title, question and answers; returns one of the answers.
    show : bool
        Show the window on the screen.

    Attributes
    ----------
    viewer, layers, panel, input, close_guard
        Parts of the window.
    navigator : QueueNavigator
        Position in the queue.
    """

    def __init__(
        self,
        session: Session,
        queue: ProofreadingQueue,
        *,
        ask: AskQuestion = ask_question,
        show: bool = True,
    ):
        self.session = session
        self.navigator = QueueNavigator(session, queue)
        self._editor = session.editor
        self._selected_ids: list[int] = []
        self._synapse_row: int | None = None
        self._split_in_3d = True
        self._stroke_watcher = StrokeWatcher(self._editor.labels)

        self.viewer = napari.Viewer(title=f"Proofreading {session.outdir}", show=show)
        self.layers = StackLayers(self.viewer, session, queue.uncertainty)
        self.input = ActionInput(
            self.viewer, self.layers, perform=self.perform, wait_for_click=self._wait_for_click
        )
        self.panel = Panel(ACTIONS, LINE_OF_GROUP, self.input.press_button)
        self.viewer.window.add_dock_widget(
            self.panel,
            name="Proofreading",
            area="right",
            allowed_areas=["left", "right"],
            add_vertical_stretch=False,  # the panel has its own, above the message
        )
        self.close_guard = CloseGuard(
            self.viewer.window._qt_window,
            session,
            finish=self._log_painting,
            save=lambda: self.perform(ACTION_BY_NAME["Save"]),
            ask=ask,
        )
        self._connect_events()
        self._fit_screen()
        self._watch_plane()
        self.select_ids([])
        self._update_panel()
        self.panel.show_message(status_text.describe_start(session.n_recovered))

    def _connect_events(self) -> None:
        labels, seeds, dims = self.layers.labels, self.layers.seeds, self.viewer.dims
        # Whatever triggers napari's own undo of a brush must undo ours.
        labels.undo = lambda: self.perform(ACTION_BY_NAME["Undo"])
        labels.redo = lambda: self.perform(ACTION_BY_NAME["Redo"])
        labels.events.paint.connect(lambda event: self._log_painting())
        # Delayed: napari announces some strokes before it writes them.
        self._seed_timer = QTimer(singleShot=True, interval=0)
        self._seed_timer.timeout.connect(self._prepare_split)
        seeds.events.paint.connect(lambda event: self._seed_timer.start())
        for layer in (labels, seeds):
            layer.events.mode.connect(lambda event: self._update_tool())
        dims.events.current_step.connect(lambda event: self._on_step())
        dims.events.order.connect(lambda event: self._watch_plane())
        dims.events.ndisplay.connect(lambda event: self._watch_plane())

    def perform(self, action: Action) -> None:
        """Perform an action, and show its message or why it failed."""
        self._log_painting()
        try:
            self.panel.show_message(getattr(self, action.method)())
        except (ConnectomeError, OSError, sqlite3.Error) as error:
            self.panel.show_message(str(error), failed=True)
        self.input.pointed_voxel = None
        self._update_panel()

    def close(self) -> None:
        """Close the window without a question; unsaved edits stay in the log."""
        self.close_guard.ask = lambda *_: CLOSE_UNSAVED
        self.viewer.close()

    # --- actions: doubtful places ---------------------------------------------------------------

    def next_location(self) -> str:
        """Go to the next doubtful place that is not settled."""
        return self._move(+1)

    def previous_location(self) -> str:
        """Go to the previous doubtful place that is not settled."""
        return self._move(-1)

    def _move(self, step: int) -> str:
        location = self.navigator.move(step)
        self.layers.go_to((location.z, location.y, location.x))
        self._synapse_row = location.synapse_row
        ids = dict.fromkeys(i for i in self.navigator.current_ids(location) if i)
        self.select_ids(list(ids)[:2])
        return HINTS[location.kind]

    # --- actions: neurites ----------------------------------------------------------------------

    def select(self) -> str:
        """Select the neurite under the pointer; the last two remain selected."""
        neurite = int(self._editor.labels[self.input.voxel_under_pointer()])
        if not neurite:
            raise ConnectomeError("there is no neurite here", remedy="select a coloured neurite")
        self.select_ids([*(i for i in self._selected_ids if i != neurite), neurite][-2:])
        return f"selected neurite {neurite}"

    def select_ids(self, ids: list[int]) -> None:
        """Select neurites; the last one is for painting."""
        self._selected_ids = ids
        # napari's own brush paints with this id: with nothing selected, one that no neurite has.
        self.layers.labels.selected_label = ids[-1] if ids else self._editor.new_id()

    def merge(self) -> str:
        """Merge the two selected neurites."""
        if len(self._selected_ids) < 2:
            raise ConnectomeError(
                "a merge needs two selected neurites", remedy="point at each and press A"
            )
        keep, other = self._selected_ids
        self._show_result(self._editor.merge(keep, other, self._edit_position()))
        self.select_ids([keep])
        return f"merged neurite {other} into {keep}"

    def paint(self) -> str:
        """Activate the brush, with the neurite selected last."""
        neurite = self._last_selected_id()
        self.layers.activate_brush(self.layers.labels, "paint")
        return f"drag to paint neurite {neurite}; [ and ] change the brush size, Esc ends"

    def erase(self) -> str:
        """Activate the eraser."""
        self.layers.activate_brush(self.layers.labels, "erase")
        return "drag to erase; [ and ] change the brush size, Esc ends"

    def fill(self) -> str:
        """Give the profile under the pointer to the neurite selected last."""
        neurite = self._last_selected_id()
        self._show_result(self._editor.fill(self.input.voxel_under_pointer(), neurite))
        return f"filled the profile with neurite {neurite}"

    def new_id(self) -> str:
        """Activate the brush, with an id that no neurite has."""
        self.select_ids([self._editor.new_id()])
        return self.paint()

    def _last_selected_id(self) -> int:
        if not self._selected_ids:
            raise ConnectomeError(
                "no neurite is selected", remedy="point at one and press A, or I for a new id"
            )
        return self._selected_ids[-1]

    def _edit_position(self) -> tuple[int, int, int]:
        """Return the voxel to log: the one pointed at, or the centre of the view."""
        return self.input.pointed_voxel or self.layers.view_centre

    # --- actions: split -------------------------------------------------------------------------

    def paint_seeds(self) -> str:
        """Activate the brush for seeds; again, with the next colour."""
        colour = self.layers.next_seed_colour()
        return f"paint a {colour} stroke into one part; S for the next colour, C to split"

    def split(self) -> str:
        """Split the neurite between the seeds."""
        neurite = self.layers.seeded_neurite()
        if neurite is None:
            raise ConnectomeError(
                "there are no seeds in a neurite", remedy="S, then a stroke into each of its parts"
            )
        result = self._editor.split(
            neurite, self.layers.seeds.data, self._split_section(), self._edit_position()
        )
        self._show_result(result)
        self.release_tools()
        ids = result.record.ids
        self.select_ids(list(ids[:2]))
        return f"split neurite {neurite} into {_join(ids)}"

    def toggle_split_depth(self) -> str:
        """Split in all sections, or in this one only."""
        self._split_in_3d = not self._split_in_3d
        self._prepare_split()
        return f"a split {status_text.describe_split(self._split_in_3d)}"

    def release_tools(self) -> str:
        """Remove the seeds and put the tool away."""
        self.input.stop_waiting()
        if self.layers.has_seeds:
            self.layers.clear_seeds()
        self.layers.release_brushes()
        return "drag to move the view"

    def _split_section(self) -> int | None:
        return None if self._split_in_3d else self.layers.current_section

    def _prepare_split(self) -> None:
        """Start computing the split that the seeds suggest, before it is requested."""
        if neurite := self.layers.seeded_neurite():
            self._editor.prepare_split(neurite, self.layers.seeds.data, self._split_section())

    # --- actions: synapses ----------------------------------------------------------------------

    def accept(self) -> str:
        """Accept the current synapse."""
        return self._review("accepted")

    def reject(self) -> str:
        """Reject the current synapse."""
        return self._review("rejected")

    def withdraw(self) -> str:
        """Withdraw the verdict on the current synapse."""
        return self._review("")

    def swap(self) -> str:
        """Swap pre- and postsynaptic neurite of the current synapse."""
        row = self._find_synapse_row()
        self._show_result(self._editor.swap(row))
        return f"swapped: now {self.navigator.describe_synapse(row)}"

    def _review(self, verdict: str) -> str:
        row = self._find_synapse_row()
        self._show_result(self._editor.review(row, verdict))
        return f"{self.navigator.describe_synapse(row)}: {verdict or 'verdict withdrawn'}"

    def _find_synapse_row(self) -> int:
        """Return the row of the synapse pointed at, or else of the current one."""
        voxel = self.input.pointed_voxel
        row = self.layers.find_synapse_near(voxel) if voxel else None
        self._synapse_row = self._synapse_row if row is None else row
        if self._synapse_row is None:
            raise ConnectomeError(
                "no synapse is selected", remedy="point at one, or go to one with N"
            )
        return self._synapse_row

    # --- actions: sections ----------------------------------------------------------------------

    def mark(self) -> str:
        """Mark this section as proofread, or remove the mark."""
        section = self.layers.current_section
        is_proofread = section not in self._editor.sections
        self._show_result(self._editor.mark(section, is_proofread))
        return f"section {section} is {'proofread' if is_proofread else 'no longer proofread'}"

    def next_section(self) -> str:
        """Go to the next section to proofread."""
        section = self.navigator.next_section(self.layers.current_section)
        self.layers.show_section(section)
        return f"section {section}: correct it from edge to edge, then press K"

    def toggle_uncertainty(self) -> str:
        """Show the uncertainty map with outlines of the neurites, or the neurites alone."""
        shown = self.layers.toggle_uncertainty()
        return "uncertainty map: brighter is less certain" if shown else "uncertainty map hidden"

    def toggle_outlines(self) -> str:
        """Show neurites as outlines or as areas."""
        return f"neurites as {'outlines' if self.layers.toggle_outlines() else 'areas'}"

    # --- actions: session -----------------------------------------------------------------------

    def undo(self) -> str:
        """Undo the last edit; while seeds are painted, the last stroke of seeds."""
        if self._is_seeding():
            self.layers.seeds.undo()
            self._prepare_split()
            return "removed the last seed"
        return self._show_undo(self._editor.undo(), "nothing to undo")

    def redo(self) -> str:
        """Redo what was undone last."""
        if self._is_seeding():
            self.layers.seeds.redo()
            self._prepare_split()
            return "restored the seed"
        return self._show_undo(self._editor.redo(), "nothing to redo")

    def save(self) -> str:
        """Save labels, sections and synapses."""
        return "saved " + ", ".join(path.name for path in self.session.save())

    def _is_seeding(self) -> bool:
        active_layer = self.viewer.layers.selection.active
        return active_layer is self.layers.seeds and self.layers.has_seeds

    def _show_undo(self, result: EditResult | None, problem: str) -> str:
        """Show what was undone or redone, and go to its section."""
        if result is None:
            raise ConnectomeError(problem)
        record = result.record
        tool = json.loads(record.payload)["tool"]
        if record.position and record.position[0] != self.layers.current_section:
            self.layers.go_to(record.position, ring=False)
        self._redraw(result.box, tool)
        text = status_text.describe_edit(self.navigator, tool, record.ids)
        return f"{'undone' if record.tool == 'undo' else 'redone'}: {text}"

    # --- painting -------------------------------------------------------------------------------

    def _log_painting(self) -> None:
        """Log what napari's brush has changed in the plane on the screen."""
        strokes = self._stroke_watcher.take_strokes()
        if not strokes:
            return
        try:
            for voxels, neurite, before in strokes:
                tool = "new" if neurite >= self._editor.new_id() else "paint"
                self._editor.paint(voxels, neurite, tool, before)
            n_voxels = sum(len(stroke.before) for stroke in strokes)
            self.panel.show_message(f"painted {n_voxels} voxels")
        except (ConnectomeError, OSError, sqlite3.Error) as error:
            self.panel.show_message(str(error), failed=True)
            self.layers.labels.refresh()
        self._update_panel()

    def _watch_plane(self) -> None:
        """Watch the plane on the screen for changes by a brush."""
        hidden = self.viewer.dims.not_displayed
        if hidden:
            self._stroke_watcher.watch_plane(
                hidden[0], int(self.viewer.dims.current_step[hidden[0]])
            )
        else:
            self._stroke_watcher.watch_plane(None)

    def _on_step(self) -> None:
        self._log_painting()
        self._watch_plane()
        self._update_sections()

    # --- display --------------------------------------------------------------------------------

    def _show_result(self, result: EditResult | None) -> None:
        if result:
            self._redraw(result.box, result.record.tool)

    def _redraw(self, box: Box | None, tool: str) -> None:
        """Redraw what an edit changed, and only that."""
        self.layers.redraw(box)
        if tool in status_text.SYNAPSE_TOOLS:
            self.layers.show_synapses(self._editor.synapses)
        self._watch_plane()

    def _update_panel(self) -> None:
        self.panel.set_line("location", status_text.describe_location(self.navigator))
        selected = [colour_swatch(self.layers.neurite_colour(i), i) for i in self._selected_ids]
        self.panel.set_line("selection", f"selected: {_join(selected) or 'none'}")
        self.panel.set_line("split", status_text.describe_split(self._split_in_3d))
        self.panel.set_line(
            "synapse",
            status_text.describe_synapse(self.navigator, self.session, self._synapse_row),
        )
        self._update_sections()
        self._update_tool()
        self.panel.set_line("session", status_text.describe_unsaved(self.session.n_unsaved))

    def _update_sections(self) -> None:
        section = self.layers.current_section
        text = status_text.describe_sections(self.navigator, self.session, section)
        self.panel.set_line("section", text)

    def _update_tool(self) -> None:
        is_seeding = self.layers.seeds.mode == "paint"
        self.panel.highlight_tool("seeds" if is_seeding else str(self.layers.labels.mode))

    def _wait_for_click(self, action: Action) -> None:
        self.release_tools()
        self.panel.show_message(f"{action.name}: click in the image")

    def _fit_screen(self) -> None:
        window = self.viewer.window._qt_window
        available = window.screen().availableGeometry()
        window.resize(available.size() * SCREEN_FRACTION)
        window.move(available.topLeft())


def _join(items: Any) -> str:
    return " and ".join(map(str, items))
