"""Measure the time from an edit until it is drawn.

    xvfb-run -a -s "-screen 0 1280x1024x24" python benchmarks/proofread_redraw.py

The window is opened on the stack of ``proofread_speed.py``, 512 × 512 × 64 voxels (X, Y, Z). For
every tool, the median and the longest of several times are printed, in milliseconds: from the call
made by a key, through labels, run log, panel and napari's layers, until the canvas has been drawn
and OpenGL has finished; and the median of the processor time, which other programs do not affect.
Under Xvfb, OpenGL is rendered in software.

A fifth of a second passes before every edit, in which a split whose seeds are complete is computed
in the background; in the row "seed and split it at once" the key is pressed at the moment the last
stroke ends, and the time includes that stroke.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from cases import print_table
from proofread_speed import LARGE, N_EDITS, seeds, write_draft
from scores import add_save_option, save_table

from connectome.cli import arguments
from connectome.io import paths
from connectome.proofread.session import open_session
from connectome.triage.queue import build_queue

LARGEST = 100 + N_EDITS  # the largest neurite, once it was merged into others
# Between edits: the keystroke of a skilled typist (Card, Moran and Newell 1980). Moving from the
# mouse to the keyboard takes 0.4 s more.
HAND_S = 0.2
TITLES = ("until drawn, ms", "median", "longest", "processor")


def main(argv: Sequence[str] | None = None) -> None:
    """Print one row per tool."""
    parser = arguments.Parser(description=__doc__)
    add_save_option(parser)
    args = parser.parse_args(argv)
    from connectome.proofread.viewer.window import Window

    with tempfile.TemporaryDirectory() as folder:
        outdir = Path(folder)
        write_draft(outdir)
        table = pd.read_csv(outdir / paths.SYNAPSES)
        table.assign(score=0.5).to_csv(outdir / paths.SYNAPSES, index=False)
        with open_session(outdir) as session:
            guide = build_queue(session.folder, session.editor.synapses, [0])
            window = Window(session, guide)
            settle()
            # The first edit of a session also reads the probability, and napari compiles.
            time_until_drawn(window, lambda: window.layers.show_section(1))
            session.editor.probability  # noqa: B018
            rows = [measure_edit(window, name, edit) for name, edit in list_edits(window)]
            window.close()
    print_table(TITLES, rows)
    save_table(args.save, "proofread_redraw", TITLES, rows)


def list_edits(window) -> Iterator[tuple[str, Callable[[int], Callable[[], None]]]]:
    """Yield names, and functions that prepare the n-th edit and return a function to perform it."""
    from connectome.proofread.viewer.actions import ACTION_BY_NAME

    state, layers = window.session.editor, window.layers

    def press(name: str) -> Callable[[], None]:
        action = ACTION_BY_NAME[name]
        return lambda: window.perform(action)

    def merging(one: int, other: int) -> Callable[[], None]:
        window.select_ids([one, other])
        return press("Merge")

    def seeding(neurite: int, sections: tuple[int, int]) -> Callable[[], None]:
        layers.clear_seeds()
        layers.seeds.brush_size = 1
        places = np.argwhere(seeds(state, neurite, sections)).tolist()
        layers.seeds.paint(places[0], 1)
        layers.show_section(places[1][0])
        settle()
        return partial(layers.seeds.paint, places[1], 2)

    def splitting(neurite: int, sections: tuple[int, int]) -> Callable[[], None]:
        seeding(neurite, sections)()
        return press("Split")

    def hurried(neurite: int, sections: tuple[int, int]) -> Callable[[], None]:
        last_stroke, split = seeding(neurite, sections), press("Split")
        return lambda: (last_stroke(), split())

    def painting(n: int) -> Callable[[], None]:
        layers.labels.selected_label = LARGE
        return lambda: layers.labels.paint((layers.current_section, 40 + 40 * n, 250), LARGE)

    def filling(n: int) -> Callable[[], None]:
        window.select_ids([LARGE])
        z, y, x = layers.current_section, 40 + 40 * n, 100
        window.input.pointed_voxel = (z, y, x)
        return press("Fill")

    yield "go to the next section", lambda n: lambda: layers.show_section(n + 10)
    yield "merge two", lambda n: merging(2 * n + 1, 2 * n + 2)
    yield "undo it (merge)", lambda n: press("Undo")
    yield "merge the largest", lambda n: merging(n + 101, n + 100 if n else LARGE)
    yield "paint", painting
    yield "fill a profile", filling
    yield "split in 3D", lambda n: splitting(n + 201, (0, -1))
    yield "undo it (split)", lambda n: press("Undo")
    yield "seed the largest", lambda n: seeding(LARGEST, (n, -1))
    yield "split the largest in 3D", lambda n: splitting(LARGEST, (n, -1))
    yield "undo it (split of the largest)", lambda n: press("Undo")
    yield "seed and split it at once", lambda n: hurried(LARGEST, (n, -1))
    yield "mark a section", lambda n: press("Proofread")


def measure_edit(window, name: str, prepare: Callable[[int], Callable[[], None]]) -> list:
    """Return a row of the table."""
    taken = []
    for n in range(N_EDITS):
        edit = prepare(n)
        settle()
        taken.append(time_until_drawn(window, edit))
    wall, busy = np.transpose(taken)
    return [name, *(f"{value:.0f}" for value in (np.median(wall), wall.max(), np.median(busy)))]


def time_until_drawn(window, edit: Callable[[], None]) -> tuple[float, float]:
    """Return the milliseconds until an edit is visible: wall time, and processor time."""
    from qtpy.QtWidgets import QApplication
    from vispy.gloo import finish

    frames = []
    canvas = window.viewer.window._qt_viewer.canvas._scene_canvas
    note = frames.append
    canvas.events.draw.connect(note, position="last")
    began = time.perf_counter(), time.process_time()
    edit()
    canvas.update()  # otherwise an edit that changes nothing in view never draws
    while not frames:
        QApplication.processEvents()
    canvas.set_current()
    finish()
    ended = time.perf_counter(), time.process_time()
    canvas.events.draw.disconnect(note)
    return tuple(1000 * (end - begin) for end, begin in zip(ended, began, strict=True))


def settle() -> None:
    """Process pending Qt events for the time between two keystrokes."""
    from qtpy.QtWidgets import QApplication

    until = time.perf_counter() + HAND_S
    while time.perf_counter() < until:
        QApplication.processEvents()
        time.sleep(0.005)


if __name__ == "__main__":
    arguments.run(main)
