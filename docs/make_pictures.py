"""Make the pictures of the documents from runs of the pipeline.

``python docs/make_pictures.py FOLDER``, where the folder contains ``fib25_dev.npz`` and
``isbi_dev.npz``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS.parent / "benchmarks")]

import cases
import refinement
from comparison_picture import Column, draw_comparison, match_ids, reduce_colours

from connectome.core.volume import Volume
from connectome.figures.layout import page
from connectome.io import paths
from connectome.io.volumes import read_volume

COLOURS = 256
SECTIONS = 4  # assumed to be proofread
PHANTOM = ("--preset", "safe8gb", "--dataset", "phantom://neuropil")
FIB25 = ("--dataset", "fib25_dev.npz:raw", "--ground_truth", "fib25_dev.npz:labels", "--no-align")
PICTURES = {
    "neurites_fib25.png": (FIB25, "Figure1_EM_preprocess_align_segment"),
    "synapses_phantom.png": (PHANTOM, "Figure2_synapse_candidates_overlay"),
    "graph_phantom.png": (PHANTOM, "Figure3_graph"),
    "alignment_phantom.png": (PHANTOM, "Figure4_alignment_shifts"),
}


def main(folder: Path) -> None:
    """Run the pipeline on the phantom and on real EM, and write the pictures."""
    with tempfile.TemporaryDirectory() as scratch:
        figures = {}
        for flags in (PHANTOM, FIB25):
            outdir = Path(scratch) / str(len(figures))
            command = [sys.executable, str(DOCS.parent / "run_pipeline.py"), *flags]
            # From within the folder, so that the figures name the file without its path.
            subprocess.run([*command, "--outdir", str(outdir)], cwd=folder, check=True)
            figures[flags] = outdir / "figures"
        for name, (flags, figure) in PICTURES.items():
            shrink(figures[flags] / f"{figure}.png", DOCS / name)
        stacks = {
            name: cases.prepare_stack(folder / f"{name}_dev.npz", Path(scratch))
            for name in ("fib25", "isbi")
        }
        rest = cases.prepare_stack(folder / "fib25_dev.npz", Path(scratch), 64)
        refine(rest, DOCS / "refined_fib25.png")
        for name, case in {**stacks, "phantom": cases.prepare_phantom(Path(scratch))}.items():
            compare(case, DOCS / f"compared_{name}.png")


def shrink(source: Path, target: Path) -> None:
    """Write a picture with few colours: a third of the bytes, at the same size."""
    with Image.open(source) as picture:
        # Other methods use all colours for the greys of the EM and none for the arrows.
        few = picture.convert("RGB").quantize(
            COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
    few.save(target, optimize=True)


def compare(case: cases.Case, target: Path) -> None:
    """Draw the results of the published steps and of this pipeline beside the ground truth."""
    ours, published = case.folder / "ours", case.folder / "published"
    cases.run_ours(case, ours)
    cases.run_reference_to_neurites(case, published)
    volume = read_volume(ours / paths.CUTOUT)
    no_shifts = np.zeros((len(volume.data), 2))
    with np.load(case.folder / "stack.npz") as archive:
        columns = [Column("Raw EM", no_shifts), Column("Truth", no_shifts, archive["labels"])]
    for title, outdir in (("Published steps", published), ("This pipeline", ours)):
        ids = match_ids(*cases.read_labels_and_truth(case, outdir))
        columns.append(Column(title, cases.read_shifts(outdir), ids))
    save(volume, columns, target)


def refine(case: cases.Case, target: Path) -> None:
    """Draw the effect of correcting a few sections on the others, beside the ground truth."""
    outdir = case.folder / "refined"
    cases.run_ours(case, outdir)
    draft = match_ids(*cases.read_labels_and_truth(case, outdir))
    refinement.score_corrections(outdir, SECTIONS)
    cases.measure_process(
        [str(DOCS.parent / "train_refine_rf.py"), "--outdir", str(outdir), "--quiet"]
    )
    refined = read_volume(outdir / paths.REFINED_LABELS["rf"]).data
    volume, true = (read_volume(outdir / n) for n in (paths.CUTOUT, paths.TRUE_LABELS))
    shifts = cases.read_shifts(outdir)
    columns = [
        Column("EM", shifts),
        Column("Truth", shifts, true.data),
        Column("Draft", shifts, draft),
        Column(f"Refined: {SECTIONS} sections corrected", shifts, match_ids(refined, true.data)),
    ]
    save(volume, columns, target)


def save(volume: Volume, columns: Sequence[Column], target: Path) -> None:
    """Draw and write."""
    drawn = BytesIO()
    draw_comparison(volume, columns).savefig(drawn, dpi=page.SCREEN_DPI)
    reduce_colours(Image.open(drawn)).save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
