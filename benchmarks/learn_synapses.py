"""Train the synapse models on phantoms, and write the weights of the package.

Usage: python benchmarks/learn_synapses.py [--out connectome/weights/synapse_weights.json]

The main job is run on phantoms of several voxel sizes. Their candidates, matched with the true
synapses within 200 nm, train a logistic model; a second one is trained to predict which neighbour
is presynaptic. Every phantom is also used as if its tissue were larger, because synapses of worms
of other ages, and of flies, differ in size. No real tissue is used, so every real volume is a test.
The same seeds give the same weights; it takes five minutes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cases import Case, in_subprocess, run_ours

from connectome.cli import arguments
from connectome.core.point_matching import find_corresponding_ids, match_positions
from connectome.io import paths
from connectome.io.files import write_json
from connectome.synapses import scoring

# Voxel size (z, y and x), shape (X, Y, Z), number, and the factor of the second tissue size.
PHANTOMS = (
    ((30, 8), (192, 192, 48), 7, 1.5),
    ((30, 8), (192, 192, 48), 7, 1.3),
    ((45, 5), (320, 320, 24), 4, 1.4),
    ((10, 10), (160, 160, 100), 2, 1.4),
)
FIRST_SEED = 9500  # none of them is used for scoring
MATCH_NM = 200.0
BIAS_SPREAD = 10.0
DIRECTION_SPREAD = 3.0
TYPICAL = (0.25, 0.6)  # probabilities of the candidates at which verdicts have most effect


def main(argv: Sequence[str] | None = None) -> None:
    """Train both models and write them."""
    parser = arguments.Parser(description=__doc__)
    parser.add_argument("--out", type=Path, default=scoring.WEIGHTS, help="where to write them")
    args = parser.parse_args(argv)
    values, verdicts, choices, true_size = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for outdir, scale in run_phantoms(Path(folder)):
            for size in (1.0, scale):
                found = in_subprocess(extract_examples, outdir, size)
                for gathered, new in zip((values, verdicts, choices), found, strict=True):
                    gathered.extend(new)
                true_size += [size == 1] * len(found[0])
    values, verdicts, true_size = map(np.array, (values, verdicts, true_size))
    spread = values.std(axis=0)
    weights, bias = scoring.fit_logistic(
        values,
        verdicts,
        prior_weights=np.zeros(len(spread)),
        prior_bias=0.0,
        weight_sd=1 / spread,
        bias_sd=BIAS_SPREAD,
    )
    slope, shift = calibrate((values @ weights + bias)[true_size], verdicts[true_size])
    weights, bias = slope * weights, slope * bias + shift
    chances = 1 / (1 + np.exp(-(values @ weights + bias)))
    typical = (chances > TYPICAL[0]) & (chances < TYPICAL[1]) & true_size
    direction = fit_direction(choices)
    write_json(
        args.out,
        {
            "evidence": list(scoring.FEATURE_SIGNS),
            "weights": weights.round(4).tolist(),
            "bias": round(bias, 4),
            "centre": values[typical].mean(axis=0).round(4).tolist(),
            "spread": spread.round(4).tolist(),
            "directions": list(scoring.DIRECTION_FEATURES),
            "direction": direction.round(4).tolist(),
        },
    )
    print(f"{len(verdicts)} candidates, {int(verdicts.sum())} synapses; wrote {args.out}")


def run_phantoms(folder: Path):
    """Run the main job on every phantom; yield its output folder and its second scale."""
    seed = FIRST_SEED
    for (section, pixel), shape, n, scale in PHANTOMS:
        for _ in range(n):
            uri = f"phantom://neuropil?seed={seed}&section_nm={section}&pixel_nm={pixel}"
            print(uri, file=sys.stderr)
            case = Case(uri, folder, ("--dataset", uri, "--cutout", *map(str, shape)))
            run_ours(case, folder / str(seed))
            yield folder / str(seed), scale
            seed += 1


def extract_examples(outdir: Path, scale: float) -> tuple[list, list, list]:
    """Return training examples from the candidates of a run.

    Returns
    -------
    values, verdicts : list
        The features of every candidate, and whether it is a synapse.
    choices : list of (ndarray of float, int)
        The features of each neighbour of a synapse, and which is the presynaptic one.
    """
    import pandas as pd

    from connectome.core.params import SynapseParams
    from connectome.io.run_folder import RunFolder
    from connectome.synapses import candidates, densities

    draft = RunFolder(outdir)
    size = tuple(scale * length for length in draft.aligned.voxel_size)
    params = SynapseParams(min_score=0.0)
    maps = densities.compute_density_maps(
        draft.aligned.data,
        draft.baseline_labels,
        size,
        damaged_sections=draft.damaged_sections,
        params=params,
    )
    true = pd.read_csv(outdir / paths.TRUE_SYNAPSES)
    places = true[["z", "y", "x"]].to_numpy(float) * size
    classifier = neutral_classifier()
    rows, near = [], []
    for density in densities.find_densities(maps, params):
        around = candidates.Neighbourhood.crop(density, maps)
        row = candidates.describe_candidate(density, around, maps, classifier, params)
        if row:
            rows.append(row)
            near.append(candidates.measure_adjacent_neurites(around, maps.voxel_um3, params))
    table = pd.DataFrame(rows)
    pairs = match_positions(table[["z", "y", "x"]].to_numpy(float) * size, places, MATCH_NM)
    verdicts = np.zeros(len(table), bool)
    verdicts[pairs[:, 0]] = True
    choices = []
    for found, synapse in pairs:
        ids, place = [each.id for each in near[found]], table.loc[found, ["z", "y", "x"]]
        names = find_corresponding_ids(
            ids, place, draft.baseline_labels, draft.ground_truth.labels, size
        )
        right = np.equal(names, true["pre_id"][synapse])
        if np.count_nonzero(right) == 1:  # neither lost nor split
            choices.append((scoring.presynaptic_features(near[found]), int(np.argmax(right))))
    return list(scoring.feature_matrix(table)), verdicts.tolist(), choices


def neutral_classifier() -> scoring.SynapseClassifier:
    """Return an untrained classifier: the neurite with the largest share is presynaptic."""
    n = len(scoring.FEATURE_SIGNS)
    return scoring.SynapseClassifier(
        np.zeros(n), 0.0, np.zeros(n), np.ones(n), np.array([1.0, 0.0, 0.0, 0.0])
    )


def calibrate(height: np.ndarray, verdicts: np.ndarray) -> tuple[float, float]:
    """Fit the slope and shift that turn decision values into log-odds (Platt 1999).

    The rescaled tissue trains the weights, but not the calibration.
    """
    from scipy.optimize import minimize

    design = np.column_stack([height, np.ones(len(height))])

    def cost(b):
        odds = design @ b
        slope = design.T @ (1 / (1 + np.exp(-odds)) - verdicts)
        return (np.logaddexp(0, odds) - verdicts * odds).sum(), slope

    return tuple(minimize(cost, [1.0, 0.0], jac=True, method="L-BFGS-B").x)


def fit_direction(choices: list) -> np.ndarray:
    """Fit a conditional logit to choices among neighbours."""
    from scipy.optimize import minimize

    def cost(b):
        total, slope = (b @ b) / (2 * DIRECTION_SPREAD**2), b / DIRECTION_SPREAD**2
        for features, right in choices:
            height = features @ b
            odds = np.exp(height - height.max())
            odds /= odds.sum()
            total -= np.log(odds[right])
            slope = slope + odds @ features - features[right]
        return total, slope

    return minimize(cost, np.zeros(len(scoring.DIRECTION_FEATURES)), jac=True, method="L-BFGS-B").x


if __name__ == "__main__":
    arguments.run(main)
