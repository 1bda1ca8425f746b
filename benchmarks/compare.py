"""Run the proof of concept's steps and this pipeline side by side; print speed, memory and scores.

    python benchmarks/compare.py --quick              # the phantom alone
    python benchmarks/compare.py --data FOLDER        # and the real stacks kept there

Every run is a process of its own, reference and pipeline in turn, on the same voxels. Neither
adds misalignment. Seconds are medians over ``--repeats``; both programs' labels are scored by
`connectome.evaluate`, against truth carried through the shifts that each of them applied. What is
known of alignment on real stacks is what one adds: sections are moved by N(0, 1) px, and of the
shifts found on the moved stack those found on the original are taken off.
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

from connectome import commandline, layout, runlog  # noqa: E402
from connectome.errors import ConnectomeError  # noqa: E402

# Linux counts a parent's memory as its child's peak, so this process stays small: whatever
# touches voxels runs in a worker, and imports what it needs there.

REFERENCE, OURS = "reference", "this pipeline"
PHANTOM_SHAPE = (48, 192, 192)
SEED = 7
SIGMA_PX = 1.0


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


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare the stacks, run both programs on each in turn, and print one table per stack."""
    parser = commandline.Parser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the phantom alone")
    parser.add_argument(
        "--data", type=Path, default=ROOT / "../shared/data", help="folder of the real stacks"
    )
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="runs of each program")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        compare(aside(prepare_phantom, scratch), args.repeats)
        if args.quick:
            return
        for name, sections in (("fib25_dev", 64), ("isbi_dev", None)):
            if case := prepared(args.data / f"{name}.npz", scratch, sections):
                compare(case, args.repeats)
                print_alignment(case)
        if case := prepared(args.data / "vnc_dev.npz", scratch):
            print(f"\n### {case.name}\n", flush=True)
            run_ours(case, case.folder / OURS)
            print_alignment(case)


def compare(case: Case, repeats: int) -> None:
    """Run both programs on a stack, taking turns, and print what was measured and scored."""
    print(f"\n### {case.name}\n", flush=True)
    runners = {REFERENCE: run_reference, OURS: run_ours}
    runs: dict[str, list[Measured]] = {program: [] for program in runners}
    for _ in range(repeats):
        for program, runner in runners.items():
            runs[program].append(runner(case, case.folder / program))
    rows = timings(runs[REFERENCE], runs[OURS])
    print_table((f"median of {repeats}", REFERENCE, OURS, "ratio"), rows)
    scores = [aside(scored, case, case.folder / program) for program in runners]
    print_table(
        ("scores", REFERENCE, OURS),
        [(name, *(f"{score[name]:.3f}" for score in scores)) for name in scores[0]],
    )


def timings(reference: list[Measured], ours: list[Measured]) -> list[tuple[str, ...]]:
    """Lay out the rows of seconds and memory; the ratio says how many times less ours takes."""

    def row(title, value):
        pair = [statistics.median(map(value, runs)) for runs in (reference, ours)]
        ratio = f"{pair[0] / pair[1]:.1f}" if min(pair) > 0 else "-"
        return (title, *(f"{one:.2f}" if one else "-" for one in pair), ratio)

    stages = dict.fromkeys([*reference[0].stages, *ours[0].stages])
    return [
        *(row(f"{name}, s", lambda run, name=name: run.stages.get(name, 0.0)) for name in stages),
        row("start, imports and the rest, s", lambda run: run.seconds - sum(run.stages.values())),
        row("whole process, s", lambda run: run.seconds),
        row(
            "whole process without figures, s",
            lambda run: run.seconds - run.stages.get("figures", 0.0),
        ),
        row("peak memory, MB", lambda run: run.peak_mb),
    ]


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table whose columns also line up in a terminal."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    first, *others = widths
    for cells in (titles, [":" + "-" * (first - 1), *("-" * (n - 1) + ":" for n in others)], *rows):
        padded = [cells[0].ljust(first), *map(str.rjust, cells[1:], others)]
        print("| " + " | ".join(padded) + " |")
    print(flush=True)


def print_alignment(case: Case) -> None:
    """Print what each program leaves of known shifts that are added to the sections."""
    moved = aside(prepare_moved, case)
    run_ours(moved, moved.folder / OURS)
    ours = aside(left_over, *(one.folder / OURS for one in (case, moved)), moved.folder)
    reference = aside(left_over_by_reference, case.folder, moved.folder)
    title = f"RMS px left of added shifts (sigma {SIGMA_PX:g} px)"
    print_table(("alignment", REFERENCE, OURS), [(title, f"{reference:.3f}", f"{ours:.3f}")])


def run_reference(case: Case, outdir: Path) -> Measured:
    """Run the proof of concept's steps on a stack."""
    script = str(ROOT / "benchmarks/poc_reference.py")
    source = str(case.folder / "source.npy")
    seconds, peak = measured([script, source, str(outdir), "--no-sim-misalignment"])
    return Measured(json.loads((outdir / "seconds.json").read_text()), seconds, peak)


def run_ours(case: Case, outdir: Path) -> Measured:
    """Run the pipeline's command line on a stack; its run log tells the seconds of each stage."""
    script = str(ROOT / "run_pipeline.py")
    seconds, peak = measured([script, *case.flags, "--outdir", str(outdir), "--quiet"])
    stages = {stage.name: stage.seconds for stage in runlog.history(outdir)[-1].stages}
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
    return seconds, runlog.peak_mb(usage)


def aside(function, *arguments):
    """Call a function in a process of its own, whose memory goes away with it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def prepared(path: Path, scratch: Path, sections: int | None = None) -> Case | None:
    """Bring the first sections of a real stack to where both programs can read it."""
    if not path.exists():
        print(f"\n{path.name} is not in {path.parent}: skipped", flush=True)
        return None
    return aside(prepare_stack, path, scratch, sections)


def prepare_phantom(scratch: Path) -> Case:
    """Make the phantom; the pipeline makes its own, as its users do, from the same seed."""
    from connectome.phantom import make_phantom

    phantom = make_phantom(PHANTOM_SHAPE, seed=SEED)
    truth = phantom.truth
    flags = ("--preset", "safe8gb", "--dataset", "phantom://neuropil", "--seed", str(SEED))
    arrays = {"labels": truth.labels, "shifts": truth.shifts}
    case = _kept("phantom", scratch, phantom.volume.data, phantom.volume.voxel_size, arrays, flags)
    truth.synapses.to_csv(case.folder / "synapses.csv", index=False)
    return case


def prepare_stack(path: Path, scratch: Path, sections: int | None) -> Case:
    """Take the first sections of a stack, and its labels where they are neurites in 3D."""
    import numpy as np

    with np.load(path) as archive:
        arrays = {name: archive[name][:sections] for name in ("labels",) if name in archive}
        return _kept(
            path.stem, scratch, archive["raw"][:sections], archive["voxel_size_nm_zyx"], arrays
        )


def prepare_moved(case: Case) -> Case:
    """Move every section of a stack by a known, random shift."""
    import numpy as np
    from scipy import ndimage as ndi

    with np.load(case.folder / "stack.npz") as archive:
        raw, voxel_size = archive["raw"], archive["voxel_size_nm_zyx"]
    shifts = np.random.default_rng(SEED).normal(0, SIGMA_PX, (len(raw), 2))
    moved = [
        # Reflected, so that no black rim gives the shift away; splines, so that nothing blurs.
        ndi.shift(section.astype(np.float32), shift, mode="reflect")
        for section, shift in zip(raw, shifts, strict=True)
    ]
    raw = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    return _kept(
        f"{case.folder.name}_moved", case.folder.parent, raw, voxel_size, {"shifts": shifts}
    )


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


def scored(case: Case, outdir: Path) -> dict[str, float]:
    """Score what one program left against the truth, carried through that program's shifts."""
    import numpy as np
    import pandas as pd
    from scipy import ndimage as ndi

    from connectome import evaluate

    shifts = _applied(outdir)
    with np.load(case.folder / "stack.npz") as truth:
        carried = [
            ndi.shift(section, shift, order=0)
            for section, shift in zip(truth["labels"], shifts, strict=True)
        ]
        voxel_size = truth["voxel_size_nm_zyx"]
        true_shifts = truth.get("shifts")
    neurites = evaluate.segmentation_scores(np.load(outdir / layout.LABELS), np.stack(carried))
    names = {
        "are": "ARE",
        "voi": "VOI, bits",
        "voi_split": "VOI split",
        "voi_merge": "VOI merge",
        "unassigned": "share unassigned",
    }
    scores = {title: neurites[name] for name, title in names.items()}
    if (case.folder / "synapses.csv").exists():
        synapses = pd.read_csv(case.folder / "synapses.csv")
        section = synapses["z"].round().astype(int)
        synapses[["y", "x"]] += shifts[section]
        found = pd.read_csv(outdir / layout.SYNAPSES)
        for limit, score in evaluate.synapse_scores(found, synapses, voxel_size).items():
            scores[f"synapse F1 within {limit} nm"] = score["f1"]
    if true_shifts is not None:
        scores["alignment, RMS px from the truth"] = evaluate.alignment_rms(shifts, true_shifts)
    return scores


def left_over(original: Path, moved: Path, folder: Path) -> float:
    """Measure what two runs of the pipeline leave of the shifts between their stacks."""
    return _left_over(_applied(original), _applied(moved), folder)


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


def _applied(outdir: Path):
    """Read the (Z, 2) shifts that a program applied."""
    import numpy as np

    return np.asarray(json.loads((outdir / layout.SHIFTS).read_text())["shifts"])


if __name__ == "__main__":
    commandline.run(main)
