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
from connectome.proofread.edit_runs import marked
from connectome.proofread.editor import Change, Proofreading
from connectome.proofread.session.session import Session, open_session, unsaved
from connectome.proofread.viewer.layers import SEEDS, Picture
from connectome.proofread.viewer.panel import Action, Panel, ask, swatch
from connectome.proofread.viewer.stroke_watch import PlaneWatch
from connectome.triage import focused_proofreading
from connectome.triage.queue import N_SECTIONS, ProofreadingQueue, build_queue

SAVE, LATER, STAY = "Save", "Close without saving", "Go on proofreading"
BACK, WITHOUT, NOT_NOW = "Bring them back", "Begin without them", "Not now"
SCREEN_SHARE = 0.94
OUTLINE_PX = 2
INTERRUPTS_MS = 200  # how often is looked for Ctrl-C
OF_SYNAPSES = ("accept", "reject", "unreview", "swap")
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
        As `connectome.proofread.session.session.open_session` takes them.
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
    left = unsaved(outdir)
    if left and recover is None:
        get_qapp()  # a question needs it before there is a window
        answer = ask(
            None,
            "Proofreading",
            f"A session ended with {_corrections(left.n_edits)} not saved"
            f" ({left.user}, {left.time[:16].replace('T', ' ')} UTC).\n"
            "Without them the new session begins from what was saved, and they are not offered"
            " again.",
            (BACK, WITHOUT, NOT_NOW),
        )
        if answer == NOT_NOW:
            return None
        recover = answer == BACK
    with open_session(outdir, labels, user, bool(recover), command) as session:
        synapses = session.proofreading.synapses
        guide = build_queue(session.draft, synapses, sections, n_sections)
        with _interrupts_held() as held:
            window = Window(session, guide)
            _run_until(held)
            if held:
                window.close()  # a stroke that is under way gets into the log
        del window  # it was kept alive for Qt
        if held:
            raise KeyboardInterrupt(_left_words(session.n_unsaved))
        return session.n_unsaved


@contextmanager
def _interrupts_held() -> Iterator[list]:
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


def _run_until(held: list) -> None:
    """Let Qt run until the window is closed, or a signal is held."""
    timer = QTimer()
    # Also lets Python notice a signal while nobody moves the mouse.
    timer.timeout.connect(lambda: held and get_qapp().exit(0))
    timer.start(INTERRUPTS_MS)
    if not held:
        napari.run()
    timer.stop()


def _left_words(n_unsaved: int) -> str:
    if not n_unsaved:
        return "all corrections are saved"
    verbs = ("is", "it") if n_unsaved == 1 else ("are", "them")
    return "{} {} in the log; the next start offers {} back".format(_corrections(n_unsaved), *verbs)


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
        guide: ProofreadingQueue,
        asking: Callable[..., str] = ask,
        show: bool = True,
    ):
        self.session = session
        self.guide = guide
        self._ask = asking
        self._work: Proofreading = session.proofreading
        self._voxel_size = session.draft.aligned.voxel_size
        self._at = -1  # which of the places
        self._synapse: int | None = None  # row of the one in question
        self._picked: list[int] = []
        self._through = True  # split through all sections
        self.hand: tuple[int, int, int] | None = None  # voxel pointed at, if by hand
        self._waiting: Action | None = None  # for a click
        self._seed = 1
        self.closed = False
        self._watch = PlaneWatch(self._work.labels)

        self.viewer = napari.Viewer(title=f"Proofreading {session.outdir}", show=show)
        self.picture = Picture(self.viewer, session, guide.uncertainty)
        self._actions = self._listed()
        self.panel = Panel(self._actions, LINES, self._press)
        self.viewer.window.add_dock_widget(
            self.panel, name="Proofreading", area="right", allowed_areas=["left", "right"]
        )
        self._listen()
        self._fit_screen()
        self._keep_plane()
        self.pick_ids([])
        self._tell_all()
        self.panel.say(self._greeting())

    # --- what can be done ---------------------------------------------------------------------

    def _listed(self) -> list[Action]:
        """List all actions, in the order in which the panel shows them."""
        places, neurites, split, synapses, sections, work = LINES
        return [
            Action(places, "Next", "N", "Go to the next place in doubt", self.next_place),
            Action(places, "Back", "B", "Go to the place before", self.previous_place),
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
            Action(split, "2D / 3D", "T", "Split in this section, or through all", self.turn_2d),
            Action(split, "Put down", "Escape", "Put seeds and tools away", self.put_down),
            Action(synapses, "Accept", "Y", "This is a synapse", self.accept),
            Action(synapses, "Reject", "X", "This is none", self.reject),
            Action(synapses, "Swap", "W", "It runs the other way", self.swap),
            Action(synapses, "Clear", "U", "Take the verdict back", self.unreview),
            Action(sections, "Proofread", "K", "Done from edge to edge, or not", self.mark),
            Action(sections, "Next to do", "J", "Go to the next section to proofread", self.go_on),
            Action(sections, "Doubt map", "D", "Show or hide it", self.show_doubt),
            Action(sections, "Outlines", "O", "Show outlines or areas", self.outline),
            Action(work, "Undo", "Control-Z", "Take the last edit back", self.undo),
            Action(work, "Redo", "Control-Shift-Z", "Do it again", self.redo),
            Action(work, "Save", "Control-S", "Write labels, sections and synapses", self.save),
        ]

    @property
    def place(self) -> focused_proofreading.Location | None:
        """The place in doubt that the user was led to."""
        return self.guide.locations[self._at] if self._at >= 0 else None

    def next_place(self) -> str:
        """Go to the next place in doubt that nobody has settled."""
        return self._go(+1)

    def previous_place(self) -> str:
        """Go to the place in doubt before this one."""
        return self._go(-1)

    def pick(self) -> str:
        """Pick the neurite pointed at; the last two count."""
        neurite = int(self._work.labels[self._pointed()])
        if not neurite:
            raise ConnectomeError("this belongs to nobody", remedy="pick a coloured neurite")
        self.pick_ids([*(i for i in self._picked if i != neurite), neurite][-2:])
        return f"picked {neurite}"

    def merge(self) -> str:
        """Make the two picked neurites one."""
        if len(self._picked) < 2:
            raise ConnectomeError(
                "two neurites are to be picked first", remedy="point at each and press A"
            )
        keep, other = self._picked
        self._changed(self._work.merge(keep, other, self._here()))
        self.pick_ids([keep])
        return f"merged {other} into {keep}"

    def paint(self) -> str:
        """Take the brush, with the id picked last."""
        neurite = self._last_picked()
        self._take(self.picture.labels, "paint")
        return f"drag to paint {neurite}; [ and ] change the brush, Esc puts it down"

    def erase(self) -> str:
        """Take the eraser."""
        self._take(self.picture.labels, "erase")
        return "drag to erase; [ and ] change the brush, Esc puts it down"

    def fill(self) -> str:
        """Give the profile pointed at to the id picked last."""
        neurite = self._last_picked()
        self._changed(self._work.fill(self._pointed(), neurite))
        return f"filled with {neurite}"

    def new_id(self) -> str:
        """Take the brush, with an id that no neurite has."""
        self.pick_ids([self._work.new_id()])
        return self.paint()

    def seed(self) -> str:
        """Take the brush for seeds; again, its next colour."""
        in_hand = self.picture.seeds.mode == "paint"
        self._seed = self._seed % len(SEEDS) + 1 if in_hand else 1
        self.picture.seeds.selected_label = self._seed
        self._take(self.picture.seeds, "paint")
        return f"paint a {SEEDS[self._seed]} stroke into one part; S for the next, C to split"

    def split(self) -> str:
        """Cut the neurite that was seeded apart."""
        neurite = self._seeded()
        if neurite is None:
            raise ConnectomeError(
                "there is no seed on a neurite", remedy="S, then a stroke into each of its parts"
            )
        change = self._work.split(*self._splitting(neurite), self._here())
        self._changed(change)
        self.picture.clear_seeds()
        self.put_down()
        parts = change.correction.ids
        self.pick_ids(list(parts[:2]))
        return f"split {neurite}: now {' and '.join(map(str, parts))}"

    def turn_2d(self) -> str:
        """Let splits go through all sections, or only this one."""
        self._through = not self._through
        self._foresee_split()
        self._tell_seeds()
        return "a split goes " + (
            "through all sections" if self._through else "through this section"
        )

    def put_down(self) -> str:
        """Put away the tool in hand and the seeds."""
        self._waiting = None
        if self.picture.seeds.data.any():
            self.picture.clear_seeds()
        for layer in (self.picture.labels, self.picture.seeds):
            layer.mode = "pan_zoom"
        self.viewer.layers.selection.active = self.picture.labels
        return "drag moves the picture"

    def accept(self) -> str:
        """Accept the synapse in question."""
        return self._review("accepted")

    def reject(self) -> str:
        """Reject the synapse in question."""
        return self._review("rejected")

    def unreview(self) -> str:
        """Take back what was said of the synapse in question."""
        return self._review("")

    def swap(self) -> str:
        """Let the synapse in question run the other way."""
        row = self._questioned()
        self._changed(self._work.swap(row))
        return f"swapped: {self._named(row)}"

    def mark(self) -> str:
        """Say that this section is proofread, or that it is not."""
        section = self.picture.section
        done = section not in self._work.sections
        self._changed(self._work.mark(section, done))
        return f"section {section} is {'proofread' if done else 'not proofread any more'}"

    def go_on(self) -> str:
        """Go to the next section that is to be proofread."""
        left = [z for z in self.guide.sections if z not in self._work.sections]
        if not left:
            raise ConnectomeError(
                "all sections to proofread are done", remedy="save, then train_refine_rf.py"
            )
        here = self.picture.section
        section = next((z for z in left if z > here), left[0])
        self.picture.show_section(section)
        return f"section {section}: press K when it is right from edge to edge"

    def show_doubt(self) -> str:
        """Show the doubt map and outlines of neurites, or neurites alone."""
        shown = self.picture.doubt.visible = not self.picture.doubt.visible
        self.picture.labels.contour = OUTLINE_PX if shown else 0
        return "the brighter, the more in doubt" if shown else "doubt hidden"

    def outline(self) -> str:
        """Show neurites as outlines or as areas."""
        self.picture.labels.contour = 0 if self.picture.labels.contour else OUTLINE_PX
        return "neurites as " + ("outlines" if self.picture.labels.contour else "areas")

    def undo(self) -> str:
        """Take the last edit back; while seeds are painted, the last stroke of them."""
        if self._seeding():
            self.picture.seeds.undo()
            self._foresee_split()
            return "took back a seed"
        return self._turned(self._work.undo(), "nothing to undo")

    def redo(self) -> str:
        """Do again what was taken back."""
        if self._seeding():
            self.picture.seeds.redo()
            self._foresee_split()
            return "painted a seed again"
        return self._turned(self._work.redo(), "nothing to redo")

    def save(self) -> str:
        """Write what there is."""
        written = self.session.save()
        return "saved " + ", ".join(path.name for path in written)

    def perform(self, action: Action) -> None:
        """Do something and say what came of it; failures are said, too."""
        self._note_painting()
        try:
            self.panel.say(action.do() or "")
        except (ConnectomeError, OSError, sqlite3.Error) as error:
            self.panel.say(str(error), failed=True)
        self.hand = None
        self._tell_all()

    def close(self) -> None:
        """Close the window without a question; what is not saved stays in the log."""
        self._ask = lambda *_: LATER
        self.viewer.close()

    # --- keys, buttons, pointer ---------------------------------------------------------------

    def _listen(self) -> None:
        for action in self._actions:
            for keeper in (self.viewer, *self.picture.layers):
                # Bound to the layers, too: napari asks the active one first.
                keeper.bind_key(action.key, self._on_key(action), overwrite=True)
        # Should napari find another way to its own history, it gets to this one.
        self.picture.labels.undo = lambda: self.perform(self.action("Undo"))
        self.picture.labels.redo = lambda: self.perform(self.action("Redo"))
        self.picture.labels.events.paint.connect(lambda event: self._note_painting())
        # Not at once: napari tells of some strokes before it writes them.
        self._seeds_at_rest = QTimer(singleShot=True, interval=0)
        self._seeds_at_rest.timeout.connect(self._foresee_split)
        self.picture.seeds.events.paint.connect(lambda event: self._seeds_at_rest.start())
        for layer in (self.picture.labels, self.picture.seeds):
            layer.events.mode.connect(lambda event: self._tell_tool())
        self.viewer.dims.events.current_step.connect(lambda event: self._on_step())
        self.viewer.dims.events.order.connect(lambda event: self._keep_plane())
        self.viewer.dims.events.ndisplay.connect(lambda event: self._keep_plane())
        self.viewer.mouse_drag_callbacks.append(self._on_click)
        # Kept: Qt does not own its event filters.
        self._keeper = _CloseFilter(self._may_close)
        self.viewer.window._qt_window.installEventFilter(self._keeper)

    def _on_key(self, action: Action) -> Callable:
        def pressed(_layer_or_viewer):
            self._waiting = None
            self._point(self.viewer.cursor.position)
            self.perform(action)

        return pressed

    def _press(self, action: Action) -> None:
        """Follow a button: what is about a place in the picture waits for a click there."""
        self.hand = None
        if not action.points:
            self.perform(action)
            return
        self.put_down()
        self._waiting = action
        self.panel.say(f"{action.name}: click into the picture")

    def _on_click(self, _viewer, event) -> None:
        """Do what waits for a click; with Shift, pick."""
        layers = (self.picture.labels, self.picture.seeds)
        idle = all(layer.mode == "pan_zoom" for layer in layers)
        shifted = "Shift" in event.modifiers and idle
        action = self._waiting or (self.action("Pick") if shifted else None)
        if action:
            self._waiting = None
            self._point(event.position)
            self.perform(action)

    def _point(self, position: Sequence[float]) -> None:
        try:
            self.hand = self.picture.voxel_at(position)
        except ConnectomeError:
            self.hand = None

    def _pointed(self) -> tuple[int, int, int]:
        """Return the voxel under the pointer, or say why there is none."""
        return self.hand or self.picture.voxel_at(self.viewer.cursor.position)

    def action(self, name: str) -> Action:
        """Return an action by what is on its button."""
        return next(action for action in self._actions if action.name == name)

    def _take(self, layer, mode: str) -> None:
        if self.viewer.dims.ndisplay == 3:
            raise ConnectomeError("painting is done in 2D", remedy="Ctrl+Y, back to 2D")
        for other in (self.picture.labels, self.picture.seeds):
            if other is not layer:
                other.mode = "pan_zoom"
        self.viewer.layers.selection.active = layer
        layer.mode = mode

    # --- places, neurites, synapses -----------------------------------------------------------

    def _go(self, step: int) -> str:
        if not self.guide.locations:
            raise ConnectomeError(
                "no place is known to be in doubt",
                "the run rated no boundary, as with --segmentation watershed",
                "J, the sections to proofread",
            )
        at = self._at + step
        while 0 <= at < len(self.guide.locations) and self._settled(self.guide.locations[at]):
            at += step
        if not 0 <= at < len(self.guide.locations):
            raise ConnectomeError(
                "there is no further place" if step > 0 else "there is no place before this one"
            )
        self._at = at
        place = self.guide.locations[at]
        self.picture.go_to((place.z, place.y, place.x))
        self._synapse = place.synapse_row
        self.pick_ids([i for i in dict.fromkeys(self._ids_now(place)) if i][:2])
        return {
            "join": "Two neurites? S and a stroke into each, then C. One? N goes on.",
            "apart": "One neurite? M. Two? N goes on.",
            "neurite": "Follow it through the sections with the arrow keys; N goes on.",
            "synapse": "A synapse? Y. None? X. The wrong way round? W. N goes on.",
        }[place.kind]

    def _settled(self, place: focused_proofreading.Location) -> bool:
        """Tell whether there is nothing left to decide: merged since, or reviewed."""
        if place.synapse_row is not None:
            return bool(self._work.synapses.at[place.synapse_row, "verdict"])
        ids = self._ids_now(place)
        return len(ids) == 2 and (ids[0] == ids[1] or 0 in ids)

    def _ids_now(self, place: focused_proofreading.Location) -> tuple[int, ...]:
        session = self.session
        # Tables of the run name neurites of the draft, synapses those the session began with.
        before = session.draft.labels if place.synapse_row is None else session.first_labels
        return focused_proofreading.current_ids(place, before, self._work.labels, self._voxel_size)

    def _here(self) -> tuple[int, int, int]:
        """Return the place for the log: the one pointed at, or the middle of the picture."""
        if self.hand:
            return self.hand
        middle = np.rint(np.array(self.viewer.scene.camera.center) / self._voxel_size).astype(int)
        middle[0] = self.picture.section
        return tuple(np.clip(middle, 0, np.array(self._work.labels.shape) - 1).tolist())

    def pick_ids(self, ids: list[int]) -> None:
        """Take these neurites as picked, the last for painting."""
        self._picked = ids
        # napari has brushes of its own: with nothing picked they paint what was nobody's.
        self.picture.labels.selected_label = ids[-1] if ids else self._work.new_id()

    def _last_picked(self) -> int:
        if not self._picked:
            raise ConnectomeError(
                "no neurite is picked", remedy="point at one and press A, or take a new id with I"
            )
        return self._picked[-1]

    def _questioned(self) -> int:
        """Return the row of the synapse pointed at, or else of the place the user was led to."""
        near = self.picture.synapse_near(self.hand) if self.hand else None
        self._synapse = self._synapse if near is None else near
        if self._synapse is None:
            raise ConnectomeError(
                "no synapse is in question", remedy="point at one, or let N lead you to one"
            )
        return self._synapse

    def _review(self, verdict: str) -> str:
        row = self._questioned()
        self._changed(self._work.review(row, verdict))
        return f"{self._named(row)} {verdict or 'is open again'}"

    def _named(self, row: int) -> str:
        """Name a synapse by the ids that its partners have now."""
        synapse = self._work.synapses.iloc[row]
        ids = (int(synapse.pre_id), int(synapse.post_id))
        place = focused_proofreading.Location(
            *map(int, synapse[["z", "y", "x"]]), "synapse", ids, "", 0.0, row
        )
        return place.describe(self._ids_now(place)).strip()

    # --- what has changed ---------------------------------------------------------------------

    def _changed(self, change: Change) -> None:
        if change.correction:
            self._show(change.box, change.correction.tool)

    def _show(self, box: tuple[slice, ...] | None, tool: str) -> None:
        """Draw again what an edit changed, and only that."""
        self.picture.redraw(box)
        if tool in OF_SYNAPSES:
            self.picture.show_synapses(self._work.synapses)
        self._keep_plane()

    def _turned(self, change: Change | None, nothing: str) -> str:
        """Show what was undone or done again, where it was."""
        if change is None:
            raise ConnectomeError(nothing)
        correction = change.correction
        tool = json.loads(correction.payload)["tool"]
        if correction.place and correction.place[0] != self.picture.section:
            self.picture.go_to(correction.place, ring=False)
        self._show(change.box, tool)
        if tool in OF_SYNAPSES:
            return f"{correction.tool}: {tool} of {self._named(correction.ids[0])}"
        return f"{correction.tool}: {tool} of {' and '.join(map(str, correction.ids))}"

    def _keep_plane(self) -> None:
        """Remember the ids in the plane that is seen: what a brush changes shows against them."""
        hidden = self.viewer.dims.not_displayed
        at = self.viewer.dims.current_step
        self._watch.look(*((hidden[0], int(at[hidden[0]])) if hidden else (None,)))

    def _note_painting(self) -> None:
        """Tell the log what napari's brush has changed since the plane was last looked at."""
        strokes = self._watch.strokes()
        if not strokes:
            return
        try:
            for voxels, neurite, before in strokes:
                tool = "new" if neurite >= self._work.new_id() else "paint"
                self._work.paint(voxels, neurite, tool, before)
            self.panel.say(f"painted {sum(len(stroke.before) for stroke in strokes)} voxels")
        except (ConnectomeError, OSError, sqlite3.Error) as error:
            self.panel.say(str(error), failed=True)
            self.picture.labels.refresh()
        self._tell_all()

    def _on_step(self) -> None:
        self._note_painting()
        self._keep_plane()
        self._tell_sections()

    def _seeded(self) -> int | None:
        """Return the neurite that most of the seeds lie on, if any."""
        ids = self._work.labels[marked(self.picture.seeds.data)]
        neurites, sizes = np.unique(ids[ids > 0], return_counts=True)
        return int(neurites[sizes.argmax()]) if neurites.size else None

    def _splitting(self, neurite: int) -> tuple[int, np.ndarray, int | None]:
        """Return what a split of a neurite, as it is set now, takes."""
        return neurite, self.picture.seeds.data, None if self._through else self.picture.section

    def _foresee_split(self) -> None:
        """Begin with a split as soon as seeds are there: nobody has to wait for it then."""
        if neurite := self._seeded():
            self._work.foresee_split(*self._splitting(neurite))

    def _seeding(self) -> bool:
        seeds = self.picture.seeds
        return self.viewer.layers.selection.active is seeds and bool(seeds.data.any())

    # --- what the panel says ------------------------------------------------------------------

    def _greeting(self) -> str:
        recovered = self.session.recovered
        if recovered:
            return f"{_corrections(recovered)} of an earlier session taken up. N goes to a place."
        return "N goes to the place where most is in doubt; arrow keys go through the sections."

    def _tell_all(self) -> None:
        self._tell_place()
        self._tell_picked()
        self._tell_seeds()
        self._tell_synapse()
        self._tell_sections()
        self._tell_tool()
        n = self.session.n_unsaved
        self.panel.show_line(
            "work", f"{_corrections(n)} not saved yet" if n else "all corrections are saved"
        )

    def _tell_place(self) -> None:
        n = len(self.guide.locations)
        place = self.place
        if place is None:
            self.panel.show_line("place", f"{n} places to look at, the worst first")
            return
        ids = tuple(now or was for now, was in zip(self._ids_now(place), place.ids, strict=True))
        words = place.describe(ids)
        if place.synapse_row is not None:  # its direction may have been swapped
            words = f"{self._named(place.synapse_row)} {place.reason}"
        done = " ✓" if self._settled(place) else ""
        self.panel.show_line("place", f"<b>place {self._at + 1} of {n}{done}:</b> {words}")

    def _tell_picked(self) -> None:
        shown = [swatch(self.picture.colour(i), str(i)) for i in self._picked]
        text = {0: "none picked", 1: "picked {}", 2: "picked {} and {}"}[len(shown)]
        self.panel.show_line("picked", text.format(*shown))

    def _tell_seeds(self) -> None:
        self.panel.show_line("seeds", f"a split goes {self._reach()}")

    def _reach(self) -> str:
        return "through all sections (3D)" if self._through else "in this section only (2D)"

    def _tell_synapse(self) -> None:
        if self._synapse is None:
            counts = self._work.synapses["verdict"].ne("").sum()
            text = f"{len(self._work.synapses)} candidates, {counts} reviewed"
        else:
            row = self._work.synapses.iloc[self._synapse]
            text = f"{self._named(self._synapse)}, score {row.score:.2f}, {row.verdict or 'open'}"
        self.panel.show_line("synapse", text)

    def _tell_sections(self) -> None:
        done = self._work.sections
        here = self.picture.section
        state = "proofread" if here in done else "not proofread"
        asked = ", ".join(f"{z}{' ✓' if z in done else ''}" for z in self.guide.sections)
        self.panel.show_line(
            "section",
            f"section {here} of {len(self._work.labels)}: {state}<br>to proofread: {asked}",
        )

    def _tell_tool(self) -> None:
        seeds, labels = self.picture.seeds.mode, self.picture.labels.mode
        self.panel.light("seeds" if seeds == "paint" else str(labels))

    # --- closing ------------------------------------------------------------------------------

    def _may_close(self) -> bool:
        """Ask about what is not saved, and tell whether the window may go."""
        self._note_painting()
        answer = LATER
        if self.session.n_unsaved:
            answer = self._ask(
                self.viewer.window._qt_window,
                "Proofreading",
                f"Not saved yet: {_corrections(self.session.n_unsaved)}.\n"
                "What is in the log will be offered at the next start.",
                (SAVE, LATER, STAY),
            )
        if answer == SAVE:
            self.perform(self.action("Save"))
            self.closed = not self.session.n_unsaved
        else:
            self.closed = answer == LATER
        return self.closed

    def _fit_screen(self) -> None:
        window = self.viewer.window._qt_window
        there = window.screen().availableGeometry()
        window.resize(there.size() * SCREEN_SHARE)
        window.move(there.topLeft())


def _corrections(n: int) -> str:
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
