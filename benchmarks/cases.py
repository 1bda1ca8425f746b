"""What the benchmarks share: stacks on disk, the two programs run on them, what these leave.

Linux counts a parent's memory as its child's peak, so a benchmark's own process stays small:
whatever touches voxels runs in a worker (`aside`), and imports what it needs there.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from connectome import runlog
from connectome.core.errors import ConnectomeError
from connectome.io import paths

DATA = ROOT / "../shared/data"
PHANTOM_SHAPE = (48, 192, 192)
SEED = 7
TRUTHS = ("labels", "labels_2d")


@dataclass(frozen=True)
class Case:
    """A stack on disk for both programs: ``raw``, and truth where it is known.

    ``source.npy`` is what the reference reads, ``stack.npz`` what the pipeline reads.
    """

    name: str
    folder: Path
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """One run of one program: seconds by stage, of the whole process, and its peak memory."""

    stages: dict[str, float]
    seconds: float
    peak_mb: float


# --- stacks -------------------------------------------------------------------------------------


def prepared(path: Path, scratch: Path, *sections: int | None, axis: int = 0) -> Case | None:
    """Bring sections of a real stack, as `prepare_stack` takes them, to where programs read it."""
    if not path.exists():
        print(f"\n{path.name} is not in {path.parent}: skipped", flush=True)
        return None
    first, end, step = (*sections, *(0, None, 1)[len(sections) :])
    return aside(prepare_stack, path, scratch, first, end, step, axis)


def prepare_stack(
    path: Path,
    scratch: Path,
    first: int = 0,
    end: int | None = None,
    step: int = 1,
    axis: int = 0,
) -> Case:
    """Take some sections of a stack, all or every ``step``-th, and whatever truth it has.

    A stack whose voxels are cubes can be cut along another ``axis``, as if imaged from there.
    """
    import numpy as np

    def cut(stack):
        return np.ascontiguousarray(np.moveaxis(stack, axis, 0)[first:end:step])

    with np.load(path) as archive:
        arrays = {name: cut(archive[name]) for name in TRUTHS if name in archive}
        name = f"{path.stem} from section {first}" if first else path.stem
        name += f", one in {step}" if step > 1 else ""
        name += f" along {'ZYX'[axis]}" if axis else ""
        voxel_size = archive["voxel_size_nm_zyx"] * (step, 1, 1)
        return _kept(name, scratch, cut(archive["raw"]), voxel_size, arrays)


def prepare_phantom(scratch: Path, seed: int = SEED) -> Case:
    """Make the phantom; the pipeline makes its own, as its users do, from the same seed."""
    from connectome.phantom.neuropil import make_phantom

    phantom = make_phantom(PHANTOM_SHAPE, seed=seed)
    truth = phantom.ground_truth
    flags = ("--preset", "safe8gb", "--dataset", f"phantom://neuropil?seed={seed}")
    arrays = {"labels": truth.labels, "shifts": truth.shifts}
    name = "phantom" if seed == SEED else f"phantom {seed}"
    case = _kept(name, scratch, phantom.volume.data, phantom.volume.voxel_size, arrays, flags)
    truth.synapses.to_csv(case.folder / "synapses.csv", index=False)
    return case


def prepare_moved(case: Case, sigma_px: float) -> Case:
    """Move every section of a stack by a known, random shift."""
    import numpy as np
    from scipy import ndimage as ndi

    with np.load(case.folder / "stack.npz") as archive:
        raw, voxel_size = archive["raw"], archive["voxel_size_nm_zyx"]
    shifts = np.random.default_rng(SEED).normal(0, sigma_px, (len(raw), 2))
    moved = [
        # Reflected, so that no black rim gives the shift away; splines, so that nothing blurs.
        ndi.shift(section.astype(np.float32), shift, mode="reflect")
        for section, shift in zip(raw, shifts, strict=True)
    ]
    raw = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    name = f"{case.folder.name} moved by {sigma_px:g} px"
    return _kept(name, case.folder.parent, raw, voxel_size, {"shifts": shifts})


def prepare_turned(case: Case, sigma_degrees: float) -> Case:
    """Turn every section of a stack about its middle by a known, random angle."""
    import numpy as np

    from connectome.align.affine import compose_transform, rotation_matrix, warp_section

    with np.load(case.folder / "stack.npz") as archive:
        raw, voxel_size = archive["raw"], archive["voxel_size_nm_zyx"]
    angles = np.radians(np.random.default_rng(SEED).normal(0, sigma_degrees, len(raw)))
    rim = min(raw.shape[1:]) // 4
    # What comes into view is a mirror image: a black rim would give the turn away.
    wide = np.pad(raw, [(0, 0), (rim, rim), (rim, rim)], mode="reflect").astype(np.float32)
    turned = [
        warp_section(section, compose_transform(rotation_matrix(angle), np.zeros(2)), 3, 0.0)[
            rim:-rim, rim:-rim
        ]
        for section, angle in zip(wide, angles, strict=True)
    ]
    raw = np.clip(np.rint(turned), 0, 255).astype(np.uint8)
    name = f"{case.folder.name} turned by {sigma_degrees:g} degrees"
    return _kept(name, case.folder.parent, raw, voxel_size, {"angles": angles})


def _kept(name, scratch, raw, voxel_size, arrays, flags=()) -> Case:
    """Write a stack for both programs."""
    import numpy as np

    folder = scratch / name
    folder.mkdir()
    stack = folder / "stack.npz"
    np.save(folder / "source.npy", raw)
    np.savez(stack, raw=raw, voxel_size_nm_zyx=np.asarray(voxel_size, float), **arrays)
    if not flags:
        flags = ("--dataset", f"{stack}:raw", "--voxel_size", *map(str, np.ravel(voxel_size)))
        if "labels" in arrays:
            flags += ("--ground_truth", f"{stack}:labels")
    return Case(f"{name}, {raw.shape} voxels (Z, Y, X)", folder, flags)


# --- programs -----------------------------------------------------------------------------------


def run_reference(case: Case, outdir: Path) -> Measured:
    """Run the proof of concept's steps on a stack."""
    script = str(ROOT / "benchmarks/poc_reference.py")
    source = str(case.folder / "source.npy")
    seconds, peak = measured([script, source, str(outdir), "--no-sim-misalignment"])
    return Measured(json.loads((outdir / "seconds.json").read_text()), seconds, peak)


def run_reference_to_neurites(case: Case, outdir: Path) -> None:
    """Go through the reference's steps up to neurites; what follows takes ten times as long."""
    import numpy as np
    import poc_reference

    even = poc_reference.preprocess(np.load(case.folder / "source.npy"))
    aligned, shifts = poc_reference.align(even)
    labels = poc_reference.stitch(poc_reference.segment(aligned))
    for name in (paths.LABELS, paths.ALIGNMENT):
        (outdir / name).parent.mkdir(parents=True, exist_ok=True)
    np.save(outdir / paths.LABELS, labels)
    paths.write_json(outdir / paths.ALIGNMENT, {"shifts": shifts.tolist()})


def run_ours(case: Case, outdir: Path, *flags: str) -> Measured:
    """Run the pipeline's command line on a stack; its run log tells the seconds of each stage."""
    script = str(ROOT / "run_pipeline.py")
    command = [script, *case.flags, "--outdir", str(outdir), "--quiet", *flags]
    seconds, peak = measured(command)
    stages = {stage.name: stage.seconds for stage in runlog.read_history(outdir)[-1].stages}
    return Measured(stages, seconds, peak)


def measured(arguments: list[str]) -> tuple[float, float]:
    """Run a Python script to its end; return its wall seconds and peak memory in MB."""
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, *arguments], stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise ConnectomeError(f"{Path(arguments[0]).name} failed", said.read()[-2000:].strip())
    return seconds, runlog.peak_memory_mb(usage)


def aside(function, *arguments):
    """Call a function in a process of its own, whose memory goes away with it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# --- results ------------------------------------------------------------------------------------


def applied(outdir: Path, with_trend: bool = False):
    """Read the (Z, 2) shifts that a program applied, or would have with the trend it left alone."""
    import numpy as np

    table = json.loads((outdir / paths.ALIGNMENT).read_text())
    return np.asarray(table["shifts"]) + (np.asarray(table["trend"]) if with_trend else 0)


def found_and_true(case: Case, outdir: Path, truth: str = "labels", labels: str = paths.LABELS):
    """Read a program's labels, and the true ones moved as it moved the sections."""
    import numpy as np

    from connectome.align.estimate import apply_transforms

    moves = json.loads((outdir / paths.ALIGNMENT).read_text())
    with np.load(case.folder / "stack.npz") as archive:
        true = apply_transforms(
            archive[truth], moves["shifts"], order=0, matrices=moves.get("matrices")
        )
    return np.load(outdir / labels), true


def scores_per_section(
    case: Case,
    outdir: Path,
    truth: str = "labels",
    profiles: bool = False,
    labels: str = paths.LABELS,
) -> tuple[float, float]:
    """Score each section by itself; unconnected ``profiles`` of an id as different ones if so."""
    from connectome.evaluate import score_segmentation

    each = []
    for found, true in zip(*found_and_true(case, outdir, truth, labels), strict=True):
        if true.any():
            found = as_profiles(found) if profiles else found
            each.append(score_segmentation(found[None], true[None]))
    return tuple(statistics.mean(score[name] for score in each) for name in ("are", "voi"))


def as_profiles(section):
    """Give unconnected parts of an id ids of their own; (Y, X) to (Y, X)."""
    from skimage.measure import label

    return label(section, connectivity=1)


def left_over(original: Path, moved: Path, folder: Path, with_trend: bool = False) -> float:
    """Measure what two runs of the pipeline leave of the shifts between their stacks."""
    return _left_over(applied(original, with_trend), applied(moved, with_trend), folder)


def left_between_neighbours(original: Path, moved: Path, folder: Path) -> float:
    """Measure the same as jitter: half the mean square difference between neighbours, its root.

    For sections displaced each for itself it is what `left_over` measures. What changes slowly
    along the stack, as a lean does, is not in it.
    """
    import numpy as np

    with np.load(folder / "stack.npz") as archive:
        left = applied(moved) + archive["shifts"] - applied(original)
    return float(np.sqrt((np.diff(left, axis=0) ** 2).sum(axis=1).mean() / 2))


def left_turned(original: Path, turned: Path, folder: Path) -> float:
    """Measure by what angle, in degrees, neighbours stay turned beyond what they were before."""
    import numpy as np

    def angles(outdir):
        matrices = json.loads((outdir / paths.ALIGNMENT).read_text()).get("matrices")
        matrices = np.eye(2)[None] if matrices is None else np.asarray(matrices)
        return np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])

    with np.load(folder / "stack.npz") as archive:
        left = np.degrees(angles(turned) + archive["angles"] - angles(original))
    return float(np.sqrt(np.mean(np.diff(left) ** 2)))


def left_over_by_reference(original: Path, moved: Path) -> float:
    """Measure what the reference leaves; its other stages would take minutes and add nothing."""
    import numpy as np
    import poc_reference

    shifts = [
        poc_reference.align(poc_reference.preprocess(np.load(folder / "source.npy")))[1]
        for folder in (original, moved)
    ]
    return _left_over(*shifts, moved)


def _left_over(on_original, on_moved, folder: Path) -> float:
    import numpy as np

    from connectome.evaluate import alignment_rms

    with np.load(folder / "stack.npz") as archive:
        return alignment_rms(on_moved + archive["shifts"], on_original)


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table whose columns also line up in a terminal."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    first, *others = widths
    for cells in (titles, [":" + "-" * (first - 1), *("-" * (n - 1) + ":" for n in others)], *rows):
        padded = [cells[0].ljust(first), *map(str.rjust, cells[1:], others)]
        print("| " + " | ".join(padded) + " |")
    print(flush=True)
