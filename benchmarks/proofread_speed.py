"""Measure how long the proofreading tools take, including the run log on disk.

    OMP_NUM_THREADS=1 python benchmarks/proofread_speed.py

The stack has 512 × 512 × 64 voxels (X, Y, Z), about 2,000 neurites that run through all sections,
and one that fills a quarter of it. For every tool, and for undoing it, the median and the longest
of several times are printed, in milliseconds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from cases import print_table
from scipy import ndimage

from connectome.cli import arguments
from connectome.core.volume import Volume
from connectome.io import paths
from connectome.io.files import write_json
from connectome.io.volumes import write_volume
from connectome.proofread.editor import LabelEditor
from connectome.proofread.history import EditResult
from connectome.proofread.session import open_session, replay_saved_labels

SHAPE = (64, 512, 512)
N_NEURITES = 2000
N_EDITS = 9
LARGE = N_NEURITES + 1
BRUSH_PX = 10

Result = TypeVar("Result")


def main(argv: Sequence[str] | None = None) -> None:
    """Print one row per tool."""
    arguments.Parser(description=__doc__).parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        outdir = Path(folder)
        write_draft(outdir)
        session = time_call("open", lambda: open_session(outdir))
        with session:
            state = session.editor
            time_call("read the probability", lambda: state.probability)
            rows = [measure_edit(name, edit, state.undo) for name, edit in edits(state)]
            time_call("save", session.save)
        time_call("replay", lambda: replay_saved_labels(outdir))
    print_table(("with logging, ms", "median", "longest", "undo", "longest"), rows)


def write_draft(outdir: Path) -> None:
    """Write the files of a run that proofreading reads."""
    labels = neurites()
    boundary = ndimage.grey_dilation(labels, (1, 3, 3)) != ndimage.grey_erosion(labels, (1, 3, 3))
    probability = ndimage.gaussian_filter((~boundary).astype(np.float32), (0, 1, 1))
    for name, data in {
        paths.ALIGNED["float16"]: 0.5 + probability / 2,
        paths.PROBABILITY: probability,
    }.items():
        write_volume(outdir / name, Volume(data.astype(np.float16), (30, 8, 8)))
    write_volume(outdir / paths.LABELS, Volume(labels, (30, 8, 8)))
    write_json(outdir / paths.ALIGNMENT, {"damaged_sections": []})
    (z, y, x), n = np.random.default_rng(0).integers(0, np.array(SHAPE)[:, None], (3, 300)), 300
    places = pd.DataFrame({"z": z, "y": y, "x": x, "pre_id": [1] * n, "post_id": [2] * n})
    places.to_csv(outdir / paths.SYNAPSES, index=False)


def neurites() -> np.ndarray:
    """Return neurites as Voronoi cells of points that move from section to section."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, SHAPE[1:], (N_NEURITES, 2))
    labels = np.empty(SHAPE, np.int32)
    for section in labels:
        points = np.clip(points + rng.normal(0, 1, points.shape), 0, np.array(SHAPE[1:]) - 1)
        unclaimed = np.ones(SHAPE[1:], bool)
        unclaimed[tuple(points.astype(int).T)] = False
        ids = np.zeros(SHAPE[1:], np.int32)
        ids[tuple(points.astype(int).T)] = np.arange(1, N_NEURITES + 1)
        y, x = ndimage.distance_transform_edt(
            unclaimed, return_distances=False, return_indices=True
        )
        section[:] = ids[y, x]
    labels[labels > N_NEURITES * 3 // 4] = LARGE
    return labels


def edits(state: LabelEditor) -> Iterator[tuple[str, Callable[[int], EditResult]]]:
    """Yield a name and what makes the n-th edit of its kind."""
    yield "merge two", lambda n: state.merge(2 * n + 1, 2 * n + 2)
    yield "merge the largest into another", lambda n: state.merge(n + 1, LARGE)
    yield "split in 3D", splitting(state, lambda n: n + 1, lambda n: (0, -1))
    yield "split the largest in 3D", splitting(state, lambda n: LARGE, lambda n: (n, -1))
    yield "split in a section", splitting(state, lambda n: n + 1, lambda n: (n, n))
    yield "split the largest in a section", splitting(state, lambda n: LARGE, lambda n: (n, n))
    yield "paint", lambda n: state.paint(disk(n, 40 * n + 40, 100), n + 1)
    yield "paint on the largest", lambda n: state.paint(disk(n, 40 * n + 40, 400), LARGE)
    yield "erase", lambda n: state.erase(disk(n, 40 * n + 40, 300))
    yield "fill", lambda n: state.fill((n, 40 * n + 40, 200), n + 1)
    yield "accept a synapse", lambda n: state.review(n, "accepted")
    yield "swap a synapse", lambda n: state.swap(n)
    yield "mark a section", lambda n: state.mark(n)


def splitting(
    state: LabelEditor, neurite: Callable[[int], int], sections: Callable[[int], tuple[int, int]]
) -> Callable[[int], EditResult]:
    """Return a function that splits a neurite between two of its sections, or within one."""
    marks = [seeds(state, neurite(n), sections(n)) for n in range(N_EDITS)]
    one = [z if z == last else None for z, last in map(sections, range(N_EDITS))]
    return lambda n: state.split(neurite(n), marks[n], one[n])


def seeds(state: LabelEditor, neurite: int, sections: tuple[int, int]) -> np.ndarray:
    """Mark the first and the last voxel of a neurite in two of its sections."""
    marks = np.zeros(SHAPE, np.int32)
    for mark, (z, which) in enumerate(zip(sections, (0, -1), strict=True), start=1):
        y, x = np.nonzero(state.labels[z] == neurite)
        marks[z, y[which], x[which]] = mark
    return marks


def disk(z: int, y: int, x: int) -> tuple[np.ndarray, ...]:
    """Return the voxels of a brush."""
    rows, columns = np.mgrid[-BRUSH_PX : BRUSH_PX + 1, -BRUSH_PX : BRUSH_PX + 1]
    inside = rows**2 + columns**2 <= BRUSH_PX**2
    return np.full(inside.sum(), z), y + rows[inside], x + columns[inside]


def measure_edit(
    name: str, edit: Callable[[int], EditResult], undo: Callable[[], EditResult]
) -> list:
    """Return a row of the table; each edit is undone before the next."""
    taken: dict[Callable, list[float]] = {edit: [], undo: []}
    for n in range(N_EDITS):
        for act, given in ((edit, (n,)), (undo, ())):
            began = time.perf_counter()
            act(*given)
            taken[act].append(1000 * (time.perf_counter() - began))
    both = ((np.median(each), max(each)) for each in taken.values())
    return [name, *(f"{value:.1f}" for pair in both for value in pair)]


def time_call(name: str, act: Callable[[], Result]) -> Result:
    """Call a function once and print how long it took."""
    began = time.perf_counter()
    result = act()
    print(f"{name}: {time.perf_counter() - began:.1f} s", flush=True)
    return result


if __name__ == "__main__":
    arguments.run(main)
