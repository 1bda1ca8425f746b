"""Measure the defaults of the pipeline against their targets: accuracy, speed, memory.

    python benchmarks/quality.py --data FOLDER        # all volumes found there, and the phantom
    python benchmarks/quality.py --only phantom --without-reference

Everything is run through the command line, one process at a time, and read from the files of the
run. Ground truth drawn on the EM as imaged is moved by the shifts that a program applied (nearest
neighbour) before it is scored. Scores are adapted Rand error (ARE) and VOI in bits; lower is
better. "Per section" is the mean over sections scored one by one, in `vnc` with unconnected
profiles counted separately, as in its ground truth. No parameter is tuned on these phantoms.
Alignment is what remains of known displacements, beyond the shifts found on the undisplaced stack;
RMS in pixels. One merge of two large neurites changes the scores of a small stack much, so `fib25`,
whose voxels are cubes, is also cut along its other axes into eight blocks. Cost is relative to
``--segmentation watershed``: the seconds from the aligned stack to neurites, the best of four
alternating runs, one thread each. The published steps (poc_reference.py) are run up to neurites.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cases import (
    DATA,
    Case,
    Measurement,
    in_subprocess,
    prepare_displaced,
    prepare_phantom,
    prepare_real_stack,
    prepare_rotated,
    print_table,
    read_labels_and_truth,
    read_shifts,
    reference_residual,
    residual_between_neighbours,
    residual_jitter,
    residual_rotation,
    run_ours,
    run_reference_to_neurites,
    score_sections,
)
from scores import add_save_option, save_table

from connectome.cli import arguments

OURS, REFERENCE, BASELINE = "this pipeline", "published steps", "watershed"
TITLES = ("defaults", "at most", REFERENCE, OURS, "met")
# The errors on the first five were inspected; those on the others never.
PHANTOM_SEEDS = range(101, 106), range(111, 116)
# Standard deviation of the added displacements, and the RMS that may remain; pixels.
JITTERS = {1.0: 0.10, 5.0: 0.25}
BLOCK, BLOCKS = 64, (0, 62, 124, 186)  # sections per block, and their first sections
ROTATION, ROTATED = 3.0, "rotated back"  # standard deviation of the added angles, in degrees
NEURITE_STAGES = ("membranes", "segment", "stitch")
REPEATS = 4


@dataclass(frozen=True)
class Row:
    """One row of the table: one or two numbers, and their targets."""

    title: str
    target: tuple[float, ...]
    reference: tuple[float, ...]
    ours: tuple[float, ...]
    digits: tuple[int, ...] = (3, 2)  # ARE, and VOI

    def cells(self) -> tuple[str, ...]:
        """Format the row; cells that were not measured are empty."""
        measured = (
            # A row of one number has one number of digits.
            " / ".join(f"{n:.{d}f}" for n, d in zip(numbers, self.digits, strict=False))
            for numbers in (self.reference, self.ours)
        )
        most = " / ".join(f"{number:g}" for number in self.target)
        return (self.title, most, *measured, self.met)

    @property
    def met(self) -> str:
        """Return "yes" if every number is within its target, else "no"; "" without a target."""
        if not self.target:
            return ""
        pairs = zip(self.ours, self.target, strict=True)
        return "yes" if all(number <= most for number, most in pairs) else "no"


class Bench:
    """Runs both programs on stacks and keeps the measurements of the pipeline."""

    def __init__(self, data: Path, scratch: Path, with_reference: bool):
        self.data, self.scratch, self.with_reference = data, scratch, with_reference
        self.measured: dict[Case, Measurement] = {}

    def stack(self, name: str, *sections: int | None, axis: int = 0) -> Case | None:
        """Run the pipeline, and the reference unless left out, on sections of a real stack."""
        case = prepare_real_stack(self.data / f"{name}.npz", self.scratch, *sections, axis=axis)
        return self.run(case) if case else None

    def run(self, case: Case) -> Case:
        """Run the pipeline, and the reference unless left out, on a stack."""
        self.measured[case] = self.ours(case)
        if self.with_reference:
            report(f"{case.name}: {REFERENCE}")
            in_subprocess(run_reference_to_neurites, case, case.folder / REFERENCE)
        return case

    def ours(self, case: Case, into: str = OURS, *flags: str) -> Measurement:
        """Run the pipeline on a stack."""
        report(f"{case.name}: {' '.join((OURS, *flags))}")
        return run_ours(case, case.folder / into, *flags)

    def row(
        self, title: str, target: Sequence[float], case: Case, measure, *more, digits=(3, 2)
    ) -> Row:
        """Measure the output of the programs."""
        programs = (REFERENCE, OURS) if self.with_reference else (OURS,)
        measured = [
            in_subprocess(measure, case, case.folder / program, *more) for program in programs
        ]
        reference = measured[0] if self.with_reference else ()
        return Row(title, tuple(target), reference, measured[-1], digits)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the requested volumes and print one table."""
    parser = arguments.Parser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real stacks")
    add_save_option(parser)
    parser.add_argument("--only", nargs="+", choices=VOLUMES, default=VOLUMES, help="some volumes")
    parser.add_argument(
        "--without-reference", action="store_true", help="leave out the published steps"
    )
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args.data, Path(folder), not args.without_reference)
        rows = [row for name in args.only for row in VOLUMES[name](bench)]
    table = [TITLES, *(row.cells() for row in rows)]
    save_table(args.save, "quality", TITLES, table[1:])
    if args.without_reference:
        table = [(*cells[:2], *cells[3:]) for cells in table]
    print_table(table[0], table[1:])


def fib25(bench: Bench) -> list[Row]:
    """Measure isotropic, aligned FIB-SEM: two halves, eight blocks, and as if cut thick."""
    if not (case := bench.stack("fib25_dev", 0, 64)):
        return []
    other = bench.stack("fib25_dev", 64, None)
    thick = bench.stack("fib25_dev", 0, None, 3)
    blocks = [
        bench.stack("fib25_dev", first, first + BLOCK, axis=axis)
        for axis in (1, 2)
        for first in BLOCKS
    ]
    return [
        bench.row("fib25_dev, sections 0-63: ARE / VOI", (0.20, 1.9), case, score_neurites),
        bench.row("fib25_dev, sections 64-124: ARE / VOI", (), other, score_neurites),
        *summarise_stacks(bench, blocks, "fib25_dev, 8 blocks cut along Y and X"),
        bench.row("fib25_dev, one section in three (30 nm): ARE / VOI", (), thick, score_neurites),
        bench.row(
            "fib25_dev, sections 0-63: RMS px moved",
            (0.5,),
            case,
            measure_displacement,
            digits=(2,),
        ),
        *measure_jitter(bench, case, "fib25_dev"),
        measure_rotation(bench, case, "fib25_dev"),
        *measure_cost(bench, case, "fib25_dev"),
    ]


def isbi(bench: Bench) -> list[Row]:
    """Measure serial sections, strongly anisotropic."""
    if not (case := bench.stack("isbi_dev")):
        return []
    return [
        bench.row("isbi_dev, 3D: ARE / VOI", (0.35, 2.4), case, score_neurites),
        bench.row("isbi_dev, per section: ARE / VOI", (0.18, 0.9), case, score_sections),
        *measure_jitter(bench, case, "isbi_dev"),
        measure_rotation(bench, case, "isbi_dev"),
        *measure_cost(bench, case, "isbi_dev"),
    ]


def vnc(bench: Bench) -> list[Row]:
    """Measure serial sections with ground truth within each section only."""
    if not (case := bench.stack("vnc_dev")):
        return []
    profiles = ("labels_2d", True)
    return [
        bench.row("vnc_dev, per section: ARE / VOI", (), case, score_sections, *profiles),
        *measure_jitter(bench, case, "vnc_dev"),
        measure_rotation(bench, case, "vnc_dev"),
    ]


def phantom(bench: Bench) -> list[Row]:
    """Measure synthetic neuropil of seeds that nothing is tuned on."""
    return [row for seeds in PHANTOM_SEEDS for row in measure_phantoms(bench, seeds)]


def measure_phantoms(bench: Bench, seeds: Sequence[int]) -> list[Row]:
    """Measure phantoms of some seeds."""
    cases = [bench.run(in_subprocess(prepare_phantom, bench.scratch, seed)) for seed in seeds]
    title = f"phantom safe8gb, seeds {seeds[0]}-{seeds[-1]}"
    return summarise_stacks(bench, cases, title, (0.10, 0.8))


def summarise_stacks(
    bench: Bench, cases: list[Case], title: str, target: Sequence[float] = ()
) -> list[Row]:
    """Score several stacks: their mean, best and worst."""
    each = [bench.row("", (), case, score_neurites) for case in cases]

    def summed_up(summary: Callable) -> list[tuple[float, ...]]:
        found = ([row.reference for row in each], [row.ours for row in each])
        return [tuple(map(summary, zip(*scores, strict=True))) for scores in found]

    return [
        Row(f"{title}, mean: ARE / VOI", tuple(target), *summed_up(statistics.mean)),
        Row(f"{title}, best: ARE / VOI", (), *summed_up(min)),
        Row(f"{title}, worst: ARE / VOI", (), *summed_up(max)),
    ]


VOLUMES = {"fib25": fib25, "isbi": isbi, "vnc": vnc, "phantom": phantom}


def measure_jitter(bench: Bench, case: Case, name: str) -> list[Row]:
    """Displace the sections of a stack by known shifts, and measure what remains of them."""
    rows = []
    for sigma, most in JITTERS.items():
        displaced = in_subprocess(prepare_displaced, case, sigma)
        # Only the alignment matters here, so the fastest segmentation is used.
        bench.ours(displaced, OURS, "--segmentation", "watershed")
        folders = (case.folder / OURS, displaced.folder / OURS, displaced.folder)
        reference = ()
        if bench.with_reference:
            reference = (in_subprocess(reference_residual, case.folder, displaced.folder),)

        def left(how: str, pixels: float, most=(), reference=(), sigma=sigma) -> Row:
            title = f"{name}, added jitter of {sigma:g} px{how}: RMS px left"
            return Row(title, most, reference, (pixels,), digits=(2,))

        rows += [
            left("", in_subprocess(residual_jitter, *folders), (most,), reference),
            left(
                ", between neighbouring sections",
                in_subprocess(residual_between_neighbours, *folders),
            ),
            # Part of the jitter is mistaken for a trend unless the stack is straightened.
            left(", with --straighten", in_subprocess(residual_jitter, *folders, True)),
            left(", with the best possible trend", in_subprocess(smallest_residual, *folders)),
        ]
    return rows


def measure_rotation(bench: Bench, case: Case, name: str) -> Row:
    """Rotate sections by known angles, and measure what remains between neighbours."""
    rotated = in_subprocess(prepare_rotated, case, ROTATION)
    flags = ("--segmentation", "watershed", "--align-model", "rigid")
    for each in (case, rotated):
        bench.ours(each, ROTATED, *flags)
    folders = (case.folder / ROTATED, rotated.folder / ROTATED, rotated.folder)
    title = f"{name}, rotated by {ROTATION:g}°, --align-model rigid: RMS ° left between neighbours"
    return Row(title, (), (), (in_subprocess(residual_rotation, *folders),), digits=(2,))


def measure_cost(bench: Bench, case: Case, name: str) -> list[Row]:
    """Measure seconds to neurites, relative to the watershed, and peak memory."""
    seconds = {OURS: [], BASELINE: []}
    for _ in range(REPEATS):
        for way, taken in seconds.items():
            flags = ("--segmentation", BASELINE) if way == BASELINE else ()
            run = bench.ours(case, f"{way}, timed", "--threads", "1", *flags)
            taken.append(sum(run.stages.get(stage, 0.0) for stage in NEURITE_STAGES))
    # Other load on the machine can only add to the seconds.
    ours, baseline = (min(taken) for taken in seconds.values())
    peak = bench.measured[case].peak_mb / 1000
    report(f"{case.name}: {ours:.2f} s to neurites, {baseline:.2f} s by watershed")
    return [
        Row(f"{name}, time to neurites / watershed", (2.0,), (), (ours / baseline,), digits=(2,)),
        Row(f"{name}, peak memory, GB", (1.5,), (), (peak,), digits=(2,)),
    ]


def score_neurites(case: Case, outdir: Path) -> tuple[float, float]:
    """Score neurites in 3D."""
    from connectome.evaluate import score_segmentation

    found = score_segmentation(*read_labels_and_truth(case, outdir))
    return found["are"], found["voi"]


def measure_displacement(_case: Case, outdir: Path) -> tuple[float]:
    """Return how far a program moved sections that were aligned already, RMS in px."""
    from connectome.evaluate import alignment_rms

    shifts = read_shifts(outdir)
    return (alignment_rms(shifts, 0 * shifts),)


def smallest_residual(original: Path, displaced: Path, folder: Path) -> float:
    """Return the smallest residual that any choice of trend could leave, RMS in px."""
    import numpy as np

    from connectome.align.drift import STIFFNESS, fit_smoothing_spline
    from connectome.evaluate import alignment_rms

    path, own = read_shifts(displaced, True), read_shifts(original)
    with np.load(folder / "stack.npz") as archive:
        added = archive["shifts"]
    trends = [fit_smoothing_spline(path, np.ones((len(path), 1)), each)[0] for each in STIFFNESS]
    trends.append(0 * path)
    return min(alignment_rms(path - trend + added, own) for trend in trends)


def report(text: str) -> None:
    """Print progress to stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    arguments.run(main)
