"""Measure how proofreading a few sections, and learning from them, improves all the others.

    python benchmarks/refinement.py --data FOLDER              # forest and U-Net, an hour or more
    python benchmarks/refinement.py --only rf                  # the forest alone, minutes

A person is simulated by the ground truth: some evenly spaced sections of it are written to the two
files that proofreading leaves. Forest and U-Net are run by their command lines, one process at a
time. Scores are adapted Rand error (ARE) and VOI in bits on the sections that were not proofread:
of the defaults ("untrained"), of the corrections as constraints with the untrained probability
("corrections alone"), and of the refiner. Ground truth is moved by the shifts of the alignment.
Without proofread sections, where the U-Net is adapted and not trained, its VOI is compared with
that of the defaults on each volume. `vnc` has ground truth within each section only and is scored
section by section. Phantoms have other seeds than those used for training.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cases import (
    DATA,
    ROOT,
    Case,
    in_subprocess,
    measure_process,
    prepare_phantom,
    prepare_real_stack,
    print_table,
    run_ours,
    score_sections,
)
from scores import add_save_option, save_table

from connectome.cli import arguments
from connectome.io import paths
from connectome.io.files import write_json

SCRIPTS = {"rf": "train_refine_rf.py", "unet": "train_unet2d_selftrain.py"}
NAMES = {"rf": "forest", "unet": "U-Net"}
TITLES = ("refined on the rest", "at most", "untrained", "corrections alone", "refined", "met")
# Volumes by name: file, first section, end.
VOLUMES = {
    "fib25_dev, sections 0-63": ("fib25_dev", 0, 64),
    "fib25_dev, sections 64-124": ("fib25_dev", 64, None),
    "isbi_dev": ("isbi_dev", 0, None),
    "vnc_dev, per section": ("vnc_dev", 0, None),
}
PHANTOM_SEEDS = (101, 102)
PHANTOMS = tuple(f"phantom {seed}" for seed in PHANTOM_SEEDS)
LONGEST_S = 30.0  # forest, training and prediction, 64×250×250 voxels, two cores
LARGEST_RATIO = 0.9  # of VOI after self-training without corrections, to the untrained default's


@dataclass(frozen=True)
class Task:
    """A refiner, the number of proofread sections, the volume, and the target."""

    kind: str
    sections: int
    volume: str
    target: tuple[float, ...] = ()


TASKS = (
    Task("rf", 4, "fib25_dev, sections 0-63", (0.12, 1.5)),
    Task("rf", 4, "fib25_dev, sections 64-124", (0.12, 1.5)),
    Task("rf", 4, "isbi_dev", (0.15, 1.6)),
    *(Task("rf", 4, phantom) for phantom in PHANTOMS),
    Task("unet", 8, "fib25_dev, sections 0-63", (0.08, 1.0)),
    Task("unet", 8, "fib25_dev, sections 64-124", (0.08, 1.0)),
    Task("unet", 8, "isbi_dev", (0.10, 1.2)),
    *(Task("unet", 0, volume) for volume in (*VOLUMES, *PHANTOMS)),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the requested tasks and print one table."""
    parser = arguments.Parser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real stacks")
    add_save_option(parser)
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS, help="some refiners")
    parser.add_argument(
        "--minutes",
        type=arguments.length,
        default=10.0,
        help="the U-Net trains for where sections are proofread (default: 10)",
    )
    args = parser.parse_args(argv)
    flags = {"rf": (), "unet": ("--minutes", f"{args.minutes:g}")}
    rows, ratios = [], []
    with tempfile.TemporaryDirectory() as folder:
        drafts = Drafts(args.data, Path(folder))
        for task in TASKS:
            if task.kind in args.only and (case := drafts.of(task.volume)):
                report(f"{task.volume}: {NAMES[task.kind]}, {task.sections} sections")
                row, found = run_task(task, case, flags[task.kind])
                rows += row
                ratios += [found["after"]["voi"] / found["before"]["voi"]] * (not task.sections)
    if ratios:
        mean = statistics.mean(ratios)
        title = "U-Net, no sections, mean of all: VOI / untrained"
        rows.append(
            (title, f"{LARGEST_RATIO}", "", "", f"{mean:.2f}", met([mean], [LARGEST_RATIO]))
        )
    print_table(TITLES, rows)
    save_table(args.save, "refinement", TITLES, rows)


class Drafts:
    """Outputs of the main job, computed on first use."""

    def __init__(self, data: Path, scratch: Path):
        self.data, self.scratch = data, scratch
        self.made: dict[str, Case | None] = {}

    def of(self, volume: str) -> Case | None:
        """Return a volume with its draft; None if the stack is absent."""
        if volume not in self.made:
            if volume in VOLUMES:
                name, first, end = VOLUMES[volume]
                case = prepare_real_stack(self.data / f"{name}.npz", self.scratch, first, end)
            else:
                case = in_subprocess(prepare_phantom, self.scratch, int(volume.split()[-1]))
            if case:
                report(f"{volume}: draft")
                run_ours(case, case.folder / "draft")
            self.made[volume] = case
        return self.made[volume]


def run_task(task: Task, case: Case, flags: Sequence[str]) -> tuple[list[tuple[str, ...]], dict]:
    """Run one task on a copy of the draft; return its rows of the table, and its scores."""
    outdir = case.folder / f"{task.kind} {task.sections}"
    shutil.copytree(case.folder / "draft", outdir)
    alone = in_subprocess(score_corrections, outdir, task.sections) if task.sections else ()
    flags = flags if task.sections else ()  # the default without proofread sections
    command = [str(ROOT / SCRIPTS[task.kind]), "--outdir", str(outdir), "--threads", "2", *flags]
    seconds, _ = measure_process([*command, "--quiet"])
    metrics = json.loads((outdir / paths.REFINED_METRICS[task.kind]).read_text())
    found = metrics.get("scores") or in_subprocess(score_profiles, case, outdir, task.kind)
    before, after = ((found[name]["are"], found[name]["voi"]) for name in ("before", "after"))
    trained = f", {flags[1]} min" if flags else ""
    title = (
        f"{NAMES[task.kind]}, {task.sections or 'no'} sections{trained}, {task.volume}: ARE / VOI"
    )
    target = " / ".join(f"{most:g}" for most in task.target)
    numbers = map(format_scores, (before, alone, after))
    rows = [(title, target, *numbers, met(after, task.target))]
    if task.kind == "rf" and task.target == TASKS[0].target:
        title = f"{NAMES[task.kind]}, {task.volume}: seconds, whole process"
        rows.append(
            (title, f"{LONGEST_S:g}", "", "", f"{seconds:.1f}", met([seconds], [LONGEST_S]))
        )
    return rows, found


def score_profiles(case: Case, outdir: Path, kind: str) -> dict:
    """Score profiles section by section, before and after refinement."""
    scores = {}
    for when, labels in {"before": paths.LABELS, "after": paths.REFINED_LABELS[kind]}.items():
        are, voi = score_sections(case, outdir, "labels_2d", True, labels)
        scores[when] = {"are": are, "voi": voi}
    return scores


def score_corrections(outdir: Path, n_sections: int) -> tuple[float, float]:
    """Write some sections of the ground truth as proofread; score the effect of these alone."""
    import numpy as np

    from connectome.evaluate import score_segmentation
    from connectome.io.run_folder import RunFolder
    from connectome.workflows.neurites import segment_neurites

    draft = RunFolder(outdir)
    truth = draft.ground_truth.labels
    sound = np.setdiff1d(np.arange(len(truth)), draft.damaged_sections)
    wanted = (np.arange(n_sections) + 0.5) * len(truth) // n_sections
    chosen = sorted({int(sound[np.argmin(abs(sound - z))]) for z in wanted})
    np.save(outdir / paths.CORRECTED_LABELS, truth)
    write_json(outdir / paths.PROOFREAD_SECTIONS, {"slices": chosen})
    found = segment_neurites(
        draft.probability,
        draft.aligned.data,
        tissue=draft.tissue,
        voxel_size=draft.aligned.voxel_size,
        damaged_sections=draft.damaged_sections,
        proofread=draft.proofread_sections,
    ).labels
    rest = np.setdiff1d(np.arange(len(truth)), chosen)
    scores = score_segmentation(found[rest], truth[rest])
    return scores["are"], scores["voi"]


def format_scores(scores: Sequence[float]) -> str:
    """Format ARE and VOI; "" if they were not measured."""
    return "{:.3f} / {:.2f}".format(*scores) if scores else ""


def met(numbers: Sequence[float], target: Sequence[float]) -> str:
    """Return "yes" if every number is within its target, else "no"; "" without a target."""
    if not target:
        return ""
    return "yes" if all(n <= most for n, most in zip(numbers, target, strict=True)) else "no"


def report(text: str) -> None:
    """Print progress to stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    arguments.run(main)
