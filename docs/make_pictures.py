"""Make the pictures of the README anew: two runs of the pipeline, their figures in fewer bytes.

``python docs/make_pictures.py FOLDER``, where the folder holds ``fib25_dev.npz``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parent
COLOURS = 256
PHANTOM = ("--preset", "safe8gb", "--dataset", "phantom://neuropil")
FIB25 = ("--dataset", "fib25_dev.npz:raw", "--ground_truth", "fib25_dev.npz:labels", "--no-align")
PICTURES = {
    "neurites_fib25.png": (FIB25, "Figure1_EM_preprocess_align_segment"),
    "synapses_phantom.png": (PHANTOM, "Figure2_synapse_candidates_overlay"),
    "graph_phantom.png": (PHANTOM, "Figure3_graph"),
    "alignment_phantom.png": (PHANTOM, "Figure4_alignment_shifts"),
}


def main(folder: Path) -> None:
    """Run the pipeline on the phantom and on real EM, and keep the pictures."""
    with tempfile.TemporaryDirectory() as scratch:
        figures = {}
        for flags in (PHANTOM, FIB25):
            outdir = Path(scratch) / str(len(figures))
            command = [sys.executable, str(DOCS.parent / "run_pipeline.py"), *flags]
            # From within the folder, so that the figures name the file and not where it lies.
            subprocess.run([*command, "--outdir", str(outdir)], cwd=folder, check=True)
            figures[flags] = outdir / "figures"
        for name, (flags, figure) in PICTURES.items():
            shrink(figures[flags] / f"{figure}.png", DOCS / name)


def shrink(source: Path, target: Path) -> None:
    """Write a picture with few colours: a third of the bytes, at the same size."""
    with Image.open(source) as picture:
        # Other methods spend all colours on the greys of the EM and none on the arrows.
        few = picture.convert("RGB").quantize(
            COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
    few.save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
