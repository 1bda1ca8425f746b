"""Score synapse candidates against the annotated synapses of real stacks.

``python benchmarks/real_synapses.py FOLDER`` runs the main job on ``isbi_dev.npz`` and
``vnc_dev.npz`` in the folder, and prints how many candidates match an annotated synapse.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from connectome import layout  # noqa: E402
from connectome.align import apply_shifts  # noqa: E402
from connectome.evaluate import MATCH_DISTANCES_NM  # noqa: E402
from connectome.matching import match_points  # noqa: E402

STACKS = ("isbi_dev", "vnc_dev")


def main(folder: Path) -> None:
    """Print one line per stack."""
    for name in STACKS:
        path = folder / f"{name}.npz"
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, str(ROOT / "run_pipeline.py"), "--dataset", f"{path}:raw"]
            subprocess.run(
                [*command, "--outdir", scratch, "--quiet"], check=True, stderr=subprocess.DEVNULL
            )
            found = pd.read_csv(Path(scratch) / layout.SYNAPSES)[["z", "y", "x"]].to_numpy(float)
            shifts = json.loads((Path(scratch) / layout.SHIFTS).read_text())["shifts"]
        with np.load(path) as arrays:
            true = annotated(arrays["synapses"], np.array(shifts))
            size = arrays["voxel_size_nm_zyx"]
        matched = [len(match_points(found * size, true * size, d)) for d in MATCH_DISTANCES_NM]
        limits = " / ".join(map(str, MATCH_DISTANCES_NM))
        counts = " / ".join(map(str, matched))
        print(
            f"{name}: {len(found)} candidates, {len(true)} annotated; "
            f"{counts} matched within {limits} nm"
        )


def annotated(synapses: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return the centroid (z, y, x) of every annotated synapse, in the aligned stack."""
    carried = apply_shifts(synapses, shifts, order=0)
    ids = np.unique(carried[carried > 0])
    return np.array(ndimage.center_of_mass(carried > 0, carried, ids))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
