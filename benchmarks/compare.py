"""Run the proof of concept's steps and this pipeline side by side; print speed, memory and scores.

    python benchmarks/compare.py --quick              # the phantom alone
    python benchmarks/compare.py --data FOLDER        # and the real stacks kept there

Every run is a separate process, reference and pipeline in turn, on the same voxels. Neither adds
misalignment. Seconds are medians over ``--repeats``; both programs' labels are scored by
`connectome.evaluate`, against the ground truth moved by the shifts that each of them applied. To
measure alignment on real stacks, sections are displaced by N(0, 1) px, and the shifts found on the
original stack are subtracted from those found on the displaced one.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cases import (
    DATA,
    Case,
    Measurement,
    in_subprocess,
    prepare_displaced,
    prepare_phantom,
    prepare_real_stack,
    print_table,
    read_labels_and_truth,
    read_shifts,
    reference_residual,
    residual_jitter,
    run_ours,
    run_reference,
)
from scores import add_save_option, save_table

from connectome.cli import arguments
from connectome.io import paths

REFERENCE, OURS = "published steps", "this pipeline"
SIGMA_PX = 1.0


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare the stacks, run both programs on each in turn, and print one table per stack."""
    parser = arguments.Parser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the phantom alone")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real stacks")
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="runs of each program")
    add_save_option(parser)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        compare(in_subprocess(prepare_phantom, scratch), args.repeats, args.save)
        if args.quick:
            return
        for name, sections in (("fib25_dev", 64), ("isbi_dev", None)):
            if case := prepare_real_stack(args.data / f"{name}.npz", scratch, 0, sections):
                compare(case, args.repeats, args.save)
                print_alignment(case)
        if case := prepare_real_stack(args.data / "vnc_dev.npz", scratch):
            print(f"\n### {case.name}\n", flush=True)
            run_ours(case, case.folder / OURS)
            print_alignment(case)


def compare(case: Case, repeats: int, save: Path | None) -> None:
    """Run both programs on a stack, taking turns; print, and save, times and scores."""
    print(f"\n### {case.name}\n", flush=True)
    runners = {REFERENCE: run_reference, OURS: run_ours}
    runs: dict[str, list[Measurement]] = {program: [] for program in runners}
    for _ in range(repeats):
        for program, runner in runners.items():
            runs[program].append(runner(case, case.folder / program))
    rows = tabulate_timings(runs[REFERENCE], runs[OURS])
    print_table((f"median of {repeats}", REFERENCE, OURS, "ratio"), rows)
    scores = [in_subprocess(score_outputs, case, case.folder / program) for program in runners]
    compared = [(name, *(f"{score[name]:.3f}" for score in scores)) for name in scores[0]]
    print_table(("scores", REFERENCE, OURS), compared)
    rows = [(f"{case.folder.name}: {name}", *cells[:2]) for name, *cells in (*rows, *compared)]
    save_table(save, "compare", ("", REFERENCE, OURS), rows)


def tabulate_timings(
    reference: list[Measurement], ours: list[Measurement]
) -> list[tuple[str, ...]]:
    """Return the rows of seconds and memory; the ratio is the reference over the pipeline."""

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


def print_alignment(case: Case) -> None:
    """Print what remains of known displacements after each program's alignment."""
    displaced = in_subprocess(prepare_displaced, case, SIGMA_PX)
    run_ours(displaced, displaced.folder / OURS)
    ours = in_subprocess(
        residual_jitter, *(one.folder / OURS for one in (case, displaced)), displaced.folder
    )
    reference = in_subprocess(reference_residual, case.folder, displaced.folder)
    title = f"RMS px left of added shifts (sigma {SIGMA_PX:g} px)"
    print_table(("alignment", REFERENCE, OURS), [(title, f"{reference:.3f}", f"{ours:.3f}")])


def score_outputs(case: Case, outdir: Path) -> dict[str, float]:
    """Score the output of one program against ground truth moved by the program's own shifts."""
    import numpy as np
    import pandas as pd

    from connectome import evaluate

    shifts = read_shifts(outdir)
    neurites = evaluate.score_segmentation(*read_labels_and_truth(case, outdir))
    with np.load(case.folder / "stack.npz") as truth:
        voxel_size, true_shifts = truth["voxel_size_nm_zyx"], truth.get("shifts")
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
        found = pd.read_csv(outdir / paths.SYNAPSES)
        for limit, score in evaluate.score_synapses(found, synapses, voxel_size).items():
            scores[f"synapse F1 within {limit} nm"] = score["f1"]
    if true_shifts is not None:
        scores["alignment, RMS px from the truth"] = evaluate.alignment_rms(shifts, true_shifts)
    return scores


if __name__ == "__main__":
    arguments.run(main)
