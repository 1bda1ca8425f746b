"""Measure the density of synapses in worms, which limits the candidates of a cutout.

    python benchmarks/synapse_density.py --data FOLDER

For every table in ``FOLDER/celegans_connectomes``, the synapses within 1 µm of each synapse are
counted, as in cutouts that were chosen for their synapses; the median and the tenth and ninetieth
percentiles are printed, per µm³. Positions in the tables of Witvliet et al. (2021) are in nm.
``SynapseParams.typical_density_per_um3`` is the mean of the medians of their four worms.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from cases import DATA, print_table
from scipy.spatial import KDTree
from scores import add_save_option, save_table

from connectome.cli import arguments

RADIUS_UM = 1.0
PERCENTILES = (10, 50, 90)
TITLES = ("synapses per µm³ within 1 µm", "synapses", "10 %", "median", "90 %")
PLACE = ["z_pos", "y_pos", "x_pos"]


def main(argv: Sequence[str] | None = None) -> None:
    """Print one row per worm."""
    parser = arguments.Parser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the tables' folder")
    add_save_option(parser)
    args = parser.parse_args(argv)
    folder = args.data / "celegans_connectomes"
    rows = []
    for path in sorted(folder.glob("dataset*.csv")):
        synapses = pd.read_csv(path).drop_duplicates("syn_id")
        densities = density_percentiles(synapses[PLACE].to_numpy(float) / 1000)
        rows.append((path.stem, str(len(synapses)), *(f"{value:.1f}" for value in densities)))
    if not rows:
        print(f"no dataset*.csv in {folder}: nothing to measure", file=sys.stderr)
        return
    print_table(TITLES, rows)
    save_table(args.save, "synapse_density", TITLES, rows)
    print(f"mean of the medians: {np.mean([float(row[3]) for row in rows]):.1f}")


def density_percentiles(places: np.ndarray) -> np.ndarray:
    """Return percentiles of the density of other synapses around each one, per µm³."""
    counts = KDTree(places).query_ball_point(places, RADIUS_UM, return_length=True) - 1
    return np.percentile(counts, PERCENTILES) / (4 / 3 * np.pi * RADIUS_UM**3)


if __name__ == "__main__":
    arguments.run(main)
