"""Measure the pipeline's defaults against their targets: how right, how fast, how large.

    python benchmarks/quality.py --data FOLDER        # all volumes found there, and the phantom
    python benchmarks/quality.py --only phantom --without-reference

Everything is run through the command line, as users run it, one process at a time, and read from
the files a run leaves. Truth drawn on the cutout as imaged is carried through the shifts that a
program applied (nearest neighbour) before it is scored. Scores are adapted Rand error (ARE) and
VOI in bits, the lower the better; "per section" is the mean over sections scored one by one, on
`vnc` with unconnected profiles of a section apart, as they are in its truth. Phantoms are those of
ten seeds on which nothing is tuned. Alignment is the error left of known shifts that are added,
beyond what the program finds on the stack as it is; RMS in pixels. One join of two large neurites
more or less changes the scores of a small stack much, so `fib25`, whose voxels are cubes, is also
cut along its other axes into eight blocks, and their mean is told. The baseline of the cost is
``--segmentation watershed``: the seconds from the aligned stack to neurites, the best of four runs
in turn, one thread each. The published steps (poc_reference.py) go as far as neurites.
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
    Measured,
    applied,
    aside,
    found_and_true,
    left_between_neighbours,
    left_over,
    left_over_by_reference,
    left_turned,
    prepare_moved,
    prepare_phantom,
    prepare_turned,
    prepared,
    print_table,
    run_ours,
    run_reference_to_neurites,
    scores_per_section,
)
from scores import add_save_option, save_table

from connectome.cli import arguments

OURS, REFERENCE, BASELINE = "this pipeline", "published steps", "watershed"
TITLES = ("defaults", "at most", REFERENCE, OURS, "met")
# Errors on the first five were looked at; those on the others never.
PHANTOM_SEEDS = range(101, 106), range(111, 116)
# Standard deviation of the shifts added, in pixels, and the RMS that may be left of them.
JITTERS = {1.0: 0.10, 5.0: 0.25}
BLOCK, BLOCKS = 64, (0, 62, 124, 186)  # sections of each, and where they begin
TURN, TURNED = 3.0, "turned back"  # standard deviation of the angles added, in degrees
NEURITE_STAGES = ("evidence", "segment", "stitch")
REPEATS = 4


@dataclass(frozen=True)
class Row:
    """One line of the table: one number or more, side by side, and what each may be at most."""

    title: str
    target: tuple[float, ...]
    reference: tuple[float, ...]
    ours: tuple[float, ...]
    digits: tuple[int, ...] = (3, 2)  # ARE, and VOI

    def cells(self) -> tuple[str, ...]:
        """Write the line as text; what was not measured stays empty."""
        measured = (
            # A row of one number has one number of digits.
            " / ".join(f"{n:.{d}f}" for n, d in zip(numbers, self.digits, strict=False))
            for numbers in (self.reference, self.ours)
        )
        most = " / ".join(f"{number:g}" for number in self.target)
        return (self.title, most, *measured, self.met)

    @property
    def met(self) -> str:
        """Say whether every number is within its target; nothing where there is none."""
        if not self.target:
            return ""
        pairs = zip(self.ours, self.target, strict=True)
        return "yes" if all(number <= most for number, most in pairs) else "no"


class Bench:
    """Where stacks come from and runs go, and whom to tell."""

    def __init__(self, data: Path, scratch: Path, with_reference: bool):
        self.data, self.scratch, self.with_reference = data, scratch, with_reference
        self.measured: dict[Case, Measured] = {}

    def stack(self, name: str, *sections: int | None, axis: int = 0) -> Case | None:
        """Run the pipeline, and the reference if it is wanted, on sections of a real stack."""
        case = prepared(self.data / f"{name}.npz", self.scratch, *sections, axis=axis)
        return self.run(case) if case else None

    def run(self, case: Case) -> Case:
        """Run the pipeline, and the reference if it is wanted, on a stack."""
        self.measured[case] = self.ours(case)
        if self.with_reference:
            say(f"{case.name}: {REFERENCE}")
            aside(run_reference_to_neurites, case, case.folder / REFERENCE)
        return case

    def ours(self, case: Case, into: str = OURS, *flags: str) -> Measured:
        """Run the pipeline on a stack."""
        say(f"{case.name}: {' '.join((OURS, *flags))}")
        return run_ours(case, case.folder / into, *flags)

    def row(
        self, title: str, target: Sequence[float], case: Case, measure, *more, digits=(3, 2)
    ) -> Row:
        """Measure what the programs left of a stack."""
        programs = (REFERENCE, OURS) if self.with_reference else (OURS,)
        measured = [aside(measure, case, case.folder / program, *more) for program in programs]
        reference = measured[0] if self.with_reference else ()
        return Row(title, tuple(target), reference, measured[-1], digits)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the volumes that were asked for, and print one table."""
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
    """Measure isotropic FIB-SEM, in register as it is, in two halves; and as if cut thick."""
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
        bench.row("fib25_dev, sections 0-63: ARE / VOI", (0.20, 1.9), case, scores),
        bench.row("fib25_dev, sections 64-124: ARE / VOI", (), other, scores),
        *over(bench, blocks, "fib25_dev, 8 blocks cut along Y and X"),
        bench.row("fib25_dev, one section in three (30 nm): ARE / VOI", (), thick, scores),
        bench.row("fib25_dev, sections 0-63: RMS px moved", (0.5,), case, moved, digits=(2,)),
        *jitter(bench, case, "fib25_dev"),
        turned(bench, case, "fib25_dev"),
        *cost(bench, case, "fib25_dev"),
    ]


def isbi(bench: Bench) -> list[Row]:
    """Measure serial sections, strongly anisotropic."""
    if not (case := bench.stack("isbi_dev")):
        return []
    return [
        bench.row("isbi_dev, 3D: ARE / VOI", (0.35, 2.4), case, scores),
        bench.row("isbi_dev, per section: ARE / VOI", (0.18, 0.9), case, scores_per_section),
        *jitter(bench, case, "isbi_dev"),
        turned(bench, case, "isbi_dev"),
        *cost(bench, case, "isbi_dev"),
    ]


def vnc(bench: Bench) -> list[Row]:
    """Measure serial sections whose true profiles are known within each section only."""
    if not (case := bench.stack("vnc_dev")):
        return []
    profiles = ("labels_2d", True)
    return [
        bench.row("vnc_dev, per section: ARE / VOI", (), case, scores_per_section, *profiles),
        *jitter(bench, case, "vnc_dev"),
        turned(bench, case, "vnc_dev"),
    ]


def phantom(bench: Bench) -> list[Row]:
    """Measure synthetic neuropil, of seeds that nothing is tuned on."""
    return [row for seeds in PHANTOM_SEEDS for row in phantoms(bench, seeds)]


def phantoms(bench: Bench, seeds: Sequence[int]) -> list[Row]:
    """Measure phantoms of some seeds."""
    cases = [bench.run(aside(prepare_phantom, bench.scratch, seed)) for seed in seeds]
    title = f"phantom safe8gb, seeds {seeds[0]}-{seeds[-1]}"
    return over(bench, cases, title, (0.10, 0.8))


def over(bench: Bench, cases: list[Case], title: str, target: Sequence[float] = ()) -> list[Row]:
    """Measure several stacks: their mean, and how far they range."""
    each = [bench.row("", (), case, scores) for case in cases]

    def summed_up(summary: Callable) -> list[tuple[float, ...]]:
        found = ([row.reference for row in each], [row.ours for row in each])
        return [tuple(map(summary, zip(*scores, strict=True))) for scores in found]

    return [
        Row(f"{title}, mean: ARE / VOI", tuple(target), *summed_up(statistics.mean)),
        Row(f"{title}, best: ARE / VOI", (), *summed_up(min)),
        Row(f"{title}, worst: ARE / VOI", (), *summed_up(max)),
    ]


VOLUMES = {"fib25": fib25, "isbi": isbi, "vnc": vnc, "phantom": phantom}


def jitter(bench: Bench, case: Case, name: str) -> list[Row]:
    """Add known shifts to the sections of a stack, and measure what is left of them."""
    rows = []
    for sigma, most in JITTERS.items():
        displaced = aside(prepare_moved, case, sigma)
        # Alignment comes before all that; the quickest way to neurites will do.
        bench.ours(displaced, OURS, "--segmentation", "watershed")
        folders = (case.folder / OURS, displaced.folder / OURS, displaced.folder)
        reference = ()
        if bench.with_reference:
            reference = (aside(left_over_by_reference, case.folder, displaced.folder),)

        def left(how: str, pixels: float, most=(), reference=(), sigma=sigma) -> Row:
            title = f"{name}, added jitter of {sigma:g} px{how}: RMS px left"
            return Row(title, most, reference, (pixels,), digits=(2,))

        rows += [
            left("", aside(left_over, *folders), (most,), reference),
            left(", between neighbouring sections", aside(left_between_neighbours, *folders)),
            # Part of the jitter is taken for trend where one is kept; with --straighten none is.
            left(", with --straighten", aside(left_over, *folders, True)),
            left(", with the best possible trend", aside(least_left_over, *folders)),
        ]
    return rows


def turned(bench: Bench, case: Case, name: str) -> Row:
    """Turn the sections of a stack by known angles, and measure what is left between neighbours."""
    askew = aside(prepare_turned, case, TURN)
    flags = ("--segmentation", "watershed", "--align-model", "rigid")
    for each in (case, askew):
        bench.ours(each, TURNED, *flags)
    folders = (case.folder / TURNED, askew.folder / TURNED, askew.folder)
    title = f"{name}, rotated by {TURN:g}°, --align-model rigid: RMS ° left between neighbours"
    return Row(title, (), (), (aside(left_turned, *folders),), digits=(2,))


def cost(bench: Bench, case: Case, name: str) -> list[Row]:
    """Compare seconds to neurites with those of the watershed, and tell the peak memory."""
    seconds = {OURS: [], BASELINE: []}
    for _ in range(REPEATS):
        for way, taken in seconds.items():
            flags = ("--segmentation", BASELINE) if way == BASELINE else ()
            run = bench.ours(case, f"{way}, timed", "--threads", "1", *flags)
            taken.append(sum(run.stages.get(stage, 0.0) for stage in NEURITE_STAGES))
    # Whatever else the machine does can only add to the seconds.
    ours, baseline = (min(taken) for taken in seconds.values())
    peak = bench.measured[case].peak_mb / 1000
    say(f"{case.name}: {ours:.2f} s to neurites, {baseline:.2f} s by watershed")
    return [
        Row(f"{name}, time to neurites / watershed", (2.0,), (), (ours / baseline,), digits=(2,)),
        Row(f"{name}, peak memory, GB", (1.5,), (), (peak,), digits=(2,)),
    ]


def scores(case: Case, outdir: Path) -> tuple[float, float]:
    """Score neurites in 3D."""
    from connectome.evaluate import score_segmentation

    found = score_segmentation(*found_and_true(case, outdir))
    return found["are"], found["voi"]


def moved(_case: Case, outdir: Path) -> tuple[float]:
    """Measure how far a program moved sections that belong where they are."""
    from connectome.evaluate import alignment_rms

    shifts = applied(outdir)
    return (alignment_rms(shifts, 0 * shifts),)


def least_left_over(original: Path, displaced: Path, folder: Path) -> float:
    """Measure the least that any trend, or none, leaves of known shifts."""
    import numpy as np

    from connectome.align.estimate import STIFFNESS, fit_smoothing_spline
    from connectome.evaluate import alignment_rms

    path, own = applied(displaced, True), applied(original)
    with np.load(folder / "stack.npz") as archive:
        added = archive["shifts"]
    trends = [fit_smoothing_spline(path, np.ones((len(path), 1)), each)[0] for each in STIFFNESS]
    trends.append(0 * path)
    return min(alignment_rms(path - trend + added, own) for trend in trends)


def say(text: str) -> None:
    """Tell how far the measurement is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    arguments.run(main)
