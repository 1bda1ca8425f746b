"""What the benchmarks share: stacks on disk, running both programs on them, reading results.

Linux counts a parent's memory as its child's peak, so a benchmark's own process stays small:
functions that touch voxels run in a subprocess (`in_subprocess`) and import what they need there.
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
from connectome.io.files import write_json

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
class Measurement:
    """One run of one program: seconds by stage, of the whole process, and its peak memory."""

    stages: dict[str, float]
    seconds: float
    peak_mb: float


# --- stacks -------------------------------------------------------------------------------------


def prepare_real_stack(
    path: Path, scratch: Path, *sections: int | None, axis: int = 0
) -> Case | None:
    """Prepare sections of a real stack (see `prepare_stack`); return None if it is absent."""
    if not path.exists():
        print(f"\n{path.name} is not in {path.parent}: skipped", flush=True)
        return None
    first, end, step = (*sections, *(0, None, 1)[len(sections) :])
    return in_subprocess(prepare_stack, path, scratch, first, end, step, axis)


def prepare_stack(
    path: Path,
    scratch: Path,
    first: int = 0,
    end: int | None = None,
    step: int = 1,
    axis: int = 0,
) -> Case:
    """Write some sections of a stack, all or every ``step``-th, with their ground truth.

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
        return _write_stack(name, scratch, cut(archive["raw"]), voxel_size, arrays)


def prepare_phantom(scratch: Path, seed: int = SEED) -> Case:
    """Write a phantom for the reference; the pipeline generates its own from the same seed."""
    from connectome.phantom import make_phantom

    phantom = make_phantom(PHANTOM_SHAPE, seed=seed)
    truth = phantom.ground_truth
    flags = ("--preset", "safe8gb", "--dataset", f"phantom://neuropil?seed={seed}")
    arrays = {"labels": truth.labels, "shifts": truth.shifts}
    name = "phantom" if seed == SEED else f"phantom {seed}"
    case = _write_stack(
        name, scratch, phantom.volume.data, phantom.volume.voxel_size, arrays, flags
    )
    truth.synapses.to_csv(case.folder / "synapses.csv", index=False)
    return case


def prepare_displaced(case: Case, sigma_px: float) -> Case:
    """Displace every section of a stack by a known, random shift."""
    import numpy as np
    from scipy import ndimage as ndi

    with np.load(case.folder / "stack.npz") as archive:
        raw, voxel_size = archive["raw"], archive["voxel_size_nm_zyx"]
    shifts = np.random.default_rng(SEED).normal(0, sigma_px, (len(raw), 2))
    moved = [
        # Reflected, so that no black border reveals the shift; splines, to blur little.
        ndi.shift(section.astype(np.float32), shift, mode="reflect")
        for section, shift in zip(raw, shifts, strict=True)
    ]
    raw = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    name = f"{case.folder.name} displaced by {sigma_px:g} px"
    return _write_stack(name, case.folder.parent, raw, voxel_size, {"shifts": shifts})


def prepare_rotated(case: Case, sigma_degrees: float) -> Case:
    """Rotate every section of a stack about its centre by a known, random angle."""
    import numpy as np

    from connectome.align.transforms import compose_transform, rotation_matrix, warp_section

    with np.load(case.folder / "stack.npz") as archive:
        raw, voxel_size = archive["raw"], archive["voxel_size_nm_zyx"]
    angles = np.radians(np.random.default_rng(SEED).normal(0, sigma_degrees, len(raw)))
    rim = min(raw.shape[1:]) // 4
    # Reflected, because a black border would reveal the rotation.
    wide = np.pad(raw, [(0, 0), (rim, rim), (rim, rim)], mode="reflect").astype(np.float32)
    transforms = [compose_transform(rotation_matrix(angle), np.zeros(2)) for angle in angles]
    turned = [
        warp_section(section, transform, order=3, cval=0.0)[rim:-rim, rim:-rim]
        for section, transform in zip(wide, transforms, strict=True)
    ]
    raw = np.clip(np.rint(turned), 0, 255).astype(np.uint8)
    name = f"{case.folder.name} rotated by {sigma_degrees:g} degrees"
    return _write_stack(name, case.folder.parent, raw, voxel_size, {"angles": angles})


def _write_stack(name, scratch, raw, voxel_size, arrays, flags=()) -> Case:
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


def run_reference(case: Case, outdir: Path) -> Measurement:
    """Run the proof of concept's steps on a stack."""
    script = str(ROOT / "benchmarks/poc_reference.py")
    source = str(case.folder / "source.npy")
    seconds, peak = measure_process([script, source, str(outdir), "--no-sim-misalignment"])
    return Measurement(json.loads((outdir / "seconds.json").read_text()), seconds, peak)


def run_reference_to_neurites(case: Case, outdir: Path) -> None:
    """Run the reference up to neurites; the rest takes ten times as long."""
    import numpy as np
    import poc_reference

    even = poc_reference.preprocess(np.load(case.folder / "source.npy"))
    aligned, shifts = poc_reference.align(even)
    labels = poc_reference.stitch(poc_reference.segment(aligned))
    for name in (paths.LABELS, paths.ALIGNMENT):
        (outdir / name).parent.mkdir(parents=True, exist_ok=True)
    np.save(outdir / paths.LABELS, labels)
    write_json(outdir / paths.ALIGNMENT, {"shifts": shifts.tolist()})


def run_ours(case: Case, outdir: Path, *flags: str) -> Measurement:
    """Run the pipeline's command line on a stack; read the seconds per stage from its run log."""
    script = str(ROOT / "run_pipeline.py")
    command = [script, *case.flags, "--outdir", str(outdir), "--quiet", *flags]
    seconds, peak = measure_process(command)
    stages = {stage.name: stage.seconds for stage in runlog.read_history(outdir)[-1].stages}
    return Measurement(stages, seconds, peak)


def measure_process(arguments: list[str]) -> tuple[float, float]:
    """Run a Python script to its end; return its wall seconds and peak memory in MB."""
    with tempfile.TemporaryFile("w+") as output:
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, *arguments], stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise ConnectomeError(
                f"{Path(arguments[0]).name} failed", output.read()[-2000:].strip()
            )
    return seconds, runlog.peak_memory_mb(usage)


def in_subprocess(function, *arguments):
    """Call a function in a separate process, so that its memory is released."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# --- results ------------------------------------------------------------------------------------


def read_shifts(outdir: Path, with_trend: bool = False):
    """Read the (Z, 2) shifts that a program applied, with or without the trend it kept."""
    import numpy as np

    table = json.loads((outdir / paths.ALIGNMENT).read_text())
    return np.asarray(table["shifts"]) + (np.asarray(table["trend"]) if with_trend else 0)


def read_transforms(outdir: Path):
    """Read the transforms that a program applied to the sections."""
    import numpy as np

    from connectome.core.volume import Transforms

    table = json.loads((outdir / paths.ALIGNMENT).read_text())
    matrices = table.get("matrices")
    return Transforms(np.asarray(table["shifts"]), matrices and np.asarray(matrices))


def read_labels_and_truth(
    case: Case, outdir: Path, truth: str = "labels", labels: str = paths.LABELS
):
    """Read a program's labels, and the true labels moved by the shifts it applied."""
    import numpy as np

    from connectome.align import apply_transforms

    with np.load(case.folder / "stack.npz") as archive:
        true = apply_transforms(archive[truth], read_transforms(outdir), order=0)
    return np.load(outdir / labels), true


def score_sections(
    case: Case,
    outdir: Path,
    truth: str = "labels",
    profiles: bool = False,
    labels: str = paths.LABELS,
) -> tuple[float, float]:
    """Score each section separately; ``profiles``: unconnected parts of an id are several."""
    from connectome.evaluate import score_segmentation

    each = []
    for found, true in zip(*read_labels_and_truth(case, outdir, truth, labels), strict=True):
        if true.any():
            found = label_profiles(found) if profiles else found
            each.append(score_segmentation(found[None], true[None]))
    return tuple(statistics.mean(score[name] for score in each) for name in ("are", "voi"))


def label_profiles(section):
    """Give unconnected parts of an id separate ids; (Y, X) to (Y, X)."""
    from skimage.measure import label

    return label(section, connectivity=1)


def residual_jitter(original: Path, moved: Path, folder: Path, with_trend: bool = False) -> float:
    """Return the RMS, in px, of what remains of known displacements after alignment."""
    return _residual(read_shifts(original, with_trend), read_shifts(moved, with_trend), folder)


def residual_between_neighbours(original: Path, moved: Path, folder: Path) -> float:
    """Return the residual between neighbouring sections, RMS in px.

    The root of half the mean square difference between neighbours. For independent displacements
    it equals `residual_jitter`; slow changes along the stack, such as a lean, are excluded.
    """
    import numpy as np

    with np.load(folder / "stack.npz") as archive:
        left = read_shifts(moved) + archive["shifts"] - read_shifts(original)
    return float(np.sqrt((np.diff(left, axis=0) ** 2).sum(axis=1).mean() / 2))


def residual_rotation(original: Path, turned: Path, folder: Path) -> float:
    """Return the rotation left between neighbouring sections, beyond the original; RMS, degrees."""
    import numpy as np

    def angles(outdir):
        matrices = json.loads((outdir / paths.ALIGNMENT).read_text()).get("matrices")
        matrices = np.eye(2)[None] if matrices is None else np.asarray(matrices)
        return np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])

    with np.load(folder / "stack.npz") as archive:
        left = np.degrees(angles(turned) + archive["angles"] - angles(original))
    return float(np.sqrt(np.mean(np.diff(left) ** 2)))


def reference_residual(original: Path, moved: Path) -> float:
    """Return the residual of the reference; only its alignment is run."""
    import numpy as np
    import poc_reference

    shifts = [
        poc_reference.align(poc_reference.preprocess(np.load(folder / "source.npy")))[1]
        for folder in (original, moved)
    ]
    return _residual(*shifts, moved)


def _residual(on_original, on_moved, folder: Path) -> float:
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
