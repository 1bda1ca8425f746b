"""Measure synapse candidates: detection, partners, direction, effect of verdicts, speed.

    python benchmarks/synapses.py --data FOLDER            # all of it, some minutes
    python benchmarks/synapses.py --without-reference --figure curves.png

The main job is run on phantoms that nothing was tuned on, and on the real stacks with annotated
synapses. A candidate is correct if it lies within 200 nm of a true synapse (one-to-one matching).
In `vnc`, profiles are also matched section by section, with the candidates that span a section.
Some clefts in `isbi` are annotated in fragments; a second score merges those less than 100 nm
apart. A person is simulated by the ground truth: the 40 most probable candidates of one half of
`vnc` get verdicts, and the other half is scored; then the reverse. The published steps
(poc_reference.py) are scored on their own neurites.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cases import (
    DATA,
    Case,
    in_subprocess,
    prepare_phantom,
    prepare_real_stack,
    print_table,
    read_transforms,
    run_ours,
    run_reference_to_neurites,
)
from scores import add_save_option, save_table

from connectome.cli import arguments
from connectome.io import paths

TITLES = ("synapses, within 200 nm", "at least", "published steps", "this pipeline", "met")
SEEDS = range(111, 121)  # scored once, when all parameters were fixed
MATCH_NM = 200.0
ONE_CLEFT_NM = 100.0
MARKS = 40
LIMIT_S = 2.0  # for 64×256×256 voxels on two cores
Row = tuple[str, float | None, float | None, float]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print a table and precision and recall by score."""
    parser = arguments.Parser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real stacks")
    parser.add_argument("--without-reference", action="store_true", help="leave those steps out")
    add_save_option(parser)
    parser.add_argument("--figure", type=Path, help="draw precision and recall here, too")
    args = parser.parse_args(argv)
    curves: dict[str, list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        rows = measure_phantoms(Path(folder), not args.without_reference, curves)
        for name, measure in (("vnc_dev", measure_vnc), ("isbi_dev", measure_isbi)):
            path = args.data / f"{name}.npz"
            if case := prepare_real_stack(path, Path(folder)):
                run_programs(case, not args.without_reference)
                rows += in_subprocess(measure, path, case, not args.without_reference)
                curves[name] = in_subprocess(curve_of_real_stack, path, case)
        rows.append(in_subprocess(measure_time, Path(folder), not args.without_reference))
    table = [format_row(*row) for row in rows]
    print_table(TITLES, table)
    save_table(args.save, "synapses", TITLES, table)
    titles = ("precision / recall at score", *(f"{least:.1f}" for least in LEAST_SCORES))
    print_table(
        titles,
        [(name, *(f"{p:.2f} / {r:.2f}" for _, p, r in curve)) for name, curve in curves.items()],
    )
    if args.figure:
        draw(curves, args.figure)


def format_row(title: str, least: float | None, reference: float | None, ours: float) -> tuple:
    """Format a row. The target of seconds is a maximum, all others are minima."""
    seconds = "seconds" in title
    met = "" if least is None else "yes" if (ours <= least) == seconds or ours == least else "no"
    most = "" if least is None else f"{'at most ' * seconds}{least:g}"
    return title, most, "" if reference is None else f"{reference:.2f}", f"{ours:.2f}", met


def run_programs(case: Case, with_reference: bool) -> None:
    """Run both programs on a stack."""
    print(case.name, file=sys.stderr)
    run_ours(case, case.folder / "ours")
    if with_reference:
        in_subprocess(run_reference_to_neurites, case, case.folder / "reference")


# --- volumes ------------------------------------------------------------------------------------


def measure_phantoms(folder: Path, with_reference: bool, curves: dict) -> list[Row]:
    """Score phantoms, whose ground truth is complete."""
    ours, reference, points = [], [], []
    for seed in SEEDS:
        case = in_subprocess(prepare_phantom, folder, seed)
        run_programs(case, with_reference)
        evaluation = json.loads((case.folder / "ours" / paths.EVALUATION).read_text())
        ours.append(evaluation["synapses"]["200"])
        points.append(in_subprocess(curve_of_phantom, case))
        if with_reference:
            reference.append(in_subprocess(reference_on_phantom, case))
    curves[f"phantoms, mean of {len(ours)}"] = [
        tuple(map(statistics.mean, zip(*each, strict=True))) for each in zip(*points, strict=True)
    ]

    def mean(name):
        return statistics.mean(score[name] for score in ours if name in score)

    of = f"phantom safe8gb, {len(ours)} seeds"
    return [
        (f"{of}: F1", 0.85, statistics.mean(reference) if reference else None, mean("f1")),
        (f"{of}: correct partners, of the matched", 0.80, None, mean("partners")),
        (f"{of}: correct direction, of the matched", 0.85, None, mean("direction")),
    ]


def curve_of_phantom(case: Case) -> list[tuple[float, float, float]]:
    """Return the precision-recall curve of a phantom."""
    import pandas as pd

    from connectome.io.run_folder import RunFolder

    draft = RunFolder(case.folder / "ours")
    true = pd.read_csv(draft.outdir / paths.TRUE_SYNAPSES)[["z", "y", "x"]].to_numpy(float)
    return precision_recall_curve(find_all_candidates(draft), true, draft.aligned.voxel_size)


def reference_on_phantom(case: Case) -> float:
    """Score the published steps on a phantom."""
    import pandas as pd

    from connectome.align import transform_points

    transforms = read_transforms(case.folder / "reference")
    true = pd.read_csv(case.folder / "synapses.csv")[["z", "y", "x"]].to_numpy(float)
    return f1_score(reference_positions(case), transform_points(true, transforms), voxel_size(case))


def measure_vnc(path: Path, case: Case, with_reference: bool) -> list[Row]:
    """Score profiles section by section, synapses in 3D, and the effect of verdicts."""
    import pandas as pd

    size, annotated = voxel_size(case), align_annotations(path, case, "ours")
    found = pd.read_csv(case.folder / "ours" / paths.SYNAPSES)
    spread = positions_by_section(found)
    true = centroids(annotated)
    each = profile_centroids(annotated)
    reference = [None, None]
    if with_reference:
        theirs, apart = reference_positions(case), align_annotations(path, case, "reference")
        reference = [
            f1_score(theirs, profile_centroids(apart), size, True),
            f1_score(theirs, centroids(apart), size),
        ]
    return [
        ("vnc_dev, profiles by section: F1", 0.5, reference[0], f1_score(spread, each, size, True)),
        ("vnc_dev, in 3D: F1", None, reference[1], f1_score(positions(found), true, size)),
        (
            f"vnc_dev, after {MARKS} verdicts on the other half: F1",
            0.7,
            None,
            score_after_verdicts(case, true),
        ),
        (
            "vnc_dev, the same halves without verdicts: F1",
            None,
            None,
            score_after_verdicts(case, true, 0),
        ),
    ]


def measure_isbi(path: Path, case: Case, with_reference: bool) -> list[Row]:
    """Score clefts, as annotated and with fragments merged."""
    import pandas as pd

    size, annotated = voxel_size(case), align_annotations(path, case, "ours")
    found = positions(pd.read_csv(case.folder / "ours" / paths.SYNAPSES))
    reference = [None, None]
    if with_reference:
        theirs, apart = reference_positions(case), align_annotations(path, case, "reference")
        reference = [
            f1_score(theirs, true, size)
            for true in (centroids(apart), merged_centroids(apart, size))
        ]
    return [
        ("isbi_dev, clefts: F1", 0.5, reference[0], f1_score(found, centroids(annotated), size)),
        (
            "isbi_dev, fragments of a cleft as one: F1",
            None,
            reference[1],
            f1_score(found, merged_centroids(annotated, size), size),
        ),
    ]


def curve_of_real_stack(path: Path, case: Case) -> list[tuple[float, float, float]]:
    """Return the precision-recall curve of a real stack."""
    from connectome.io.run_folder import RunFolder

    draft = RunFolder(case.folder / "ours")
    annotated = align_annotations(path, case, "ours")
    fragmented = path.stem.startswith("isbi")
    true = merged_centroids(annotated, voxel_size(case)) if fragmented else centroids(annotated)
    return precision_recall_curve(find_all_candidates(draft), true, voxel_size(case))


def measure_time(folder: Path, with_reference: bool) -> Row:
    """Time the detection in 64×256×256 voxels, and the published blob detector."""
    import numpy as np
    import poc_reference

    from connectome.io.run_folder import RunFolder
    from connectome.synapses.candidates import detect_synapses

    flags = ("--dataset", "phantom://neuropil?seed=101", "--cutout", "256", "256", "64")
    run_ours(Case("phantom, 64 x 256 x 256", folder, flags), folder / "timed")
    draft = RunFolder(folder / "timed")
    stacks = (draft.aligned.data, draft.baseline_labels, draft.aligned.voxel_size)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        detect_synapses(*stacks, damaged_sections=draft.damaged_sections, threads=2)
        seconds.append(time.perf_counter() - began)
    theirs = None
    if with_reference:
        began = time.perf_counter()
        poc_reference.find_synapses(np.asarray(draft.aligned.data, float), draft.baseline_labels)
        theirs = time.perf_counter() - began
    return ("64 x 256 x 256 voxels: seconds", LIMIT_S, theirs, min(seconds))


# --- measures -----------------------------------------------------------------------------------

LEAST_SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def find_all_candidates(draft, classifier=None):
    """Find all candidates, including improbable ones."""
    from connectome.core.params import SynapseParams
    from connectome.synapses.candidates import detect_synapses

    return detect_synapses(
        draft.aligned.data,
        draft.baseline_labels,
        draft.aligned.voxel_size,
        damaged_sections=draft.damaged_sections,
        params=replace(SynapseParams(), min_score=0.0),
        classifier=classifier,
    )


def precision_recall_curve(found, true, size) -> list[tuple[float, float, float]]:
    """Return threshold, precision and recall at several score thresholds."""
    points = []
    for least in LEAST_SCORES:
        kept = positions(found[found["score"] >= least])
        matched = count_matches(kept, true, size)
        # Without candidates, none is wrong.
        precision = matched / len(kept) if len(kept) else 1.0
        points.append((least, precision, matched / max(len(true), 1)))
    return points


def score_after_verdicts(case: Case, true, marks: int = MARKS) -> float:
    """Adapt to verdicts on one half, score the other half; return the mean of both ways."""
    import numpy as np

    from connectome.core.params import SynapseParams
    from connectome.io.run_folder import RunFolder
    from connectome.synapses import scoring

    draft = RunFolder(case.folder / "ours")
    size, middle = draft.aligned.voxel_size, draft.aligned.shape[2] / 2
    found = find_all_candidates(draft)
    scores = []
    for side in (-1, 1):
        learn = found[side * (found["x"] - middle) > 0].head(marks)
        rest = found[side * (found["x"] - middle) <= 0]
        classifier = scoring.default_classifier()
        if marks:
            pairs = match(positions(learn), true[side * (true[:, 2] - middle) > 0], size)
            accepted = np.isin(np.arange(len(learn)), pairs[:, 0])
            classifier = scoring.retrain_classifier(classifier, learn, accepted) or classifier
        likely = classifier.score(rest) if classifier.retrained else rest["score"]
        kept = rest[likely >= SynapseParams().min_score]
        scores.append(f1_score(positions(kept), true[side * (true[:, 2] - middle) <= 0], size))
    return statistics.mean(scores)


def f1_score(found, true, size, by_section: bool = False) -> float:
    """Return F1 of one-to-one matching, optionally within sections only."""
    if by_section:
        # So far apart that no match crosses sections.
        size = (1e6, *size[1:])
    return 2 * count_matches(found, true, size) / max(len(found) + len(true), 1)


def count_matches(found, true, size) -> int:
    """Count one-to-one matches."""
    return len(match(found, true, size))


def match(found, true, size):
    """Match positions (N, 3) and (M, 3), (z, y, x) in voxels, one-to-one."""
    import numpy as np

    from connectome.core.point_matching import match_positions

    return match_positions(found * np.asarray(size), true * np.asarray(size), MATCH_NM)


def positions(table):
    """Return the positions of candidates, (N, 3)."""
    return table[["z", "y", "x"]].to_numpy(float)


def positions_by_section(found):
    """Return the position of every candidate in every section it spans."""
    import numpy as np

    rows = [
        (z, row.y, row.x) for row in found.itertuples() for z in range(row.z_first, row.z_last + 1)
    ]
    return np.array(rows, float).reshape(-1, 3)


def reference_positions(case: Case):
    """Detect synapses with the published steps, in their own neurites."""
    import numpy as np
    import poc_reference

    even = poc_reference.preprocess(np.load(case.folder / "source.npy"))
    shifts = json.loads((case.folder / "reference" / paths.ALIGNMENT).read_text())["shifts"]
    aligned = poc_reference._shifted(even, np.array(shifts))
    labels = np.load(case.folder / "reference" / paths.LABELS)
    return positions(poc_reference.find_synapses(aligned, labels))


# --- truth --------------------------------------------------------------------------------------


def voxel_size(case: Case) -> tuple[float, float, float]:
    """Read the voxel size of a stack, (z, y, x) in nm."""
    import numpy as np

    with np.load(case.folder / "stack.npz") as arrays:
        return tuple(map(float, arrays["voxel_size_nm_zyx"]))


def align_annotations(path: Path, case: Case, program: str):
    """Move annotated synapses by the shifts a program applied."""
    import numpy as np

    from connectome.align import apply_transforms

    transforms = read_transforms(case.folder / program)
    with np.load(path) as arrays:
        annotated = arrays["synapses"].astype(np.int32)
    return apply_transforms(annotated, transforms, order=0)


def centroids(annotated, ids=None):
    """Return the centroid (z, y, x) of every annotated synapse."""
    import numpy as np
    from scipy import ndimage

    ids = annotated if ids is None else ids
    names = np.unique(ids[annotated > 0])
    return np.array(ndimage.center_of_mass(annotated > 0, ids, names)).reshape(-1, 3)


def profile_centroids(annotated):
    """Return the centroid (z, y, x) of every profile of a synapse."""
    import numpy as np
    from scipy import ndimage

    within = np.zeros((3, 3, 3), bool)
    within[1] = True
    return centroids(annotated, ndimage.label(annotated > 0, within)[0])


def merged_centroids(annotated, size):
    """Return the centroids of synapses, fragments of a cleft merged."""
    import numpy as np
    from scipy import ndimage

    near = ndimage.distance_transform_edt(annotated == 0, sampling=size) <= ONE_CLEFT_NM / 2
    return centroids(annotated, ndimage.label(near, np.ones((3, 3, 3)))[0])


def draw(curves: dict, path: Path) -> None:
    """Draw precision against recall."""
    from connectome.figures.layout import page

    @page.use_style
    def drawn():
        figure = page.create_page(78, 86.0)
        axes = page.add_panel(figure, (12, 4, 72, 62))
        looks = zip("os^", (page.BLUE, page.VERMILION, page.GREEN), strict=True)
        for (name, points), (marker, colour) in zip(curves.items(), looks, strict=False):
            _, precision, recall = zip(*points, strict=True)
            axes.plot(recall, precision, marker, ls="-", ms=3, color=colour, label=name)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.03), ylim=(0, 1.05))
        axes.legend(loc="lower left")
        figure.savefig(path, dpi=page.SCREEN_DPI)

    drawn()


if __name__ == "__main__":
    arguments.run(main)
