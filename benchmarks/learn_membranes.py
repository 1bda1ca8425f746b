"""Train the two membrane networks on phantoms, and write the weights of the package.

Usage: python benchmarks/learn_membranes.py [--out connectome/weights/membrane_networks.json]

Phantoms of many voxel sizes, blurs, noises and contrasts are imaged, and a small network is trained
to predict membranes from `connectome.membranes.features`: one network for features within sections,
one for features in 3D. No real tissue is used, so every real volume is a test. The same seeds give
the same networks; it takes a minute or two, and scikit-learn, which comes with
`requirements-dev.txt`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from connectome import preprocess
from connectome.cli import arguments
from connectome.core.pyramid import downsample
from connectome.io.files import write_json
from connectome.membranes import features, mlp, predict
from connectome.phantom import PhantomParams, make_phantom

# Voxel sizes (z, y, x) in nm; one seed each, none of which is used for scoring.
VOXEL_SIZES = {
    2: [
        *((30, 8, 8), (50, 4, 4), (40, 5, 5), (30, 8, 8), (45, 5, 5), (50, 4, 4)),
        *((30, 6, 6), (30, 10, 10), (40, 8, 8), (30, 5, 5), (60, 6, 6), (30, 12, 12)),
    ],
    3: [
        *((10, 10, 10), (10, 10, 10), (8, 8, 8), (12, 12, 12), (10, 10, 10), (8, 8, 8)),
        *((10, 8, 8), (12, 12, 12), (16, 8, 8), (16, 16, 16), (12, 10, 10), (10, 10, 10)),
    ],
}
WIDTH_NM = 1600  # of a phantom along y and x
SECTIONS = {2: 10, 3: 48}
FIRST_SEED = {2: 9300, 3: 9200}
SAMPLES = 24_000  # voxels of each phantom
MEMBRANE_SHARE = (
    0.4  # of the samples: more than in tissue, because a gap costs more than a false membrane
)
UNITS = 16
STARTS = 2  # networks that are averaged, from different initial weights


def main(argv: Sequence[str] | None = None) -> None:
    """Train both networks and write them."""
    parser = arguments.Parser(description=__doc__)
    parser.add_argument("--out", type=Path, default=mlp.WEIGHTS_PATH, help="where to write them")
    args = parser.parse_args(argv)
    write_json(args.out, {str(n_axes): train_network(n_axes) for n_axes in VOXEL_SIZES})
    print(f"wrote {args.out}")


def train_network(n_axes: int) -> dict:
    """Train one network; return its weights as stored."""
    from sklearn.neural_network import MLPClassifier

    examples = []
    for i, voxel_size in enumerate(VOXEL_SIZES[n_axes]):
        examples.append(sample_voxels(FIRST_SEED[n_axes] + i, voxel_size, n_axes))
        print(f"{n_axes} axes: phantom {i + 1} of {len(VOXEL_SIZES[n_axes])}", file=sys.stderr)
    x, y = (np.concatenate(column) for column in zip(*examples, strict=True))
    networks = [
        MLPClassifier(
            (UNITS,),
            alpha=0.3,
            batch_size=500,
            learning_rate_init=2e-3,
            max_iter=20,
            random_state=i,
        ).fit(x, y)
        for i in range(STARTS)
    ]
    # Concatenated, they are one network whose output is their mean.
    hidden = np.concatenate([each.coefs_[0].T for each in networks])
    hidden_bias = np.concatenate([each.intercepts_[0] for each in networks])
    output = np.concatenate([each.coefs_[1][:, 0] for each in networks]) / STARTS
    output_bias = np.mean([each.intercepts_[1][0] for each in networks])
    return {
        "features": features.feature_names(n_axes),
        "hidden": hidden.round(4).tolist(),
        "hidden_bias": hidden_bias.round(4).tolist(),
        "output": output.round(4).tolist(),
        "output_bias": round(float(output_bias), 4),
    }


def sample_voxels(seed: int, voxel_size, n_axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features of some voxels of a phantom, standardised, and which are membrane."""
    rng = np.random.default_rng(seed)
    em, labels = image_phantom(rng, seed, tuple(map(float, voxel_size)), SECTIONS[n_axes])
    tissue = preprocess.find_tissue(em)
    even = preprocess.preprocess(em, tissue, voxel_size)
    image = features.standardise_sections(even, tissue)
    if predict.has_fine_pixels(voxel_size):
        image, tissue, labels = downsample(image, (1, 2)), tissue[:, ::2, ::2], labels[:, ::2, ::2]
        voxel_size = (voxel_size[0], 2 * voxel_size[1], 2 * voxel_size[2])
    described = features.compute_features(image, voxel_size, n_axes)[:, tissue]
    spread = described.std(axis=1, keepdims=True)
    described = (described - described.mean(axis=1, keepdims=True)) / spread
    membrane = mark_boundaries(labels, n_axes)[tissue]
    n_membrane = int(MEMBRANE_SHARE * SAMPLES)
    chosen = np.concatenate(
        [
            rng.choice(np.flatnonzero(membrane == kind), n, replace=False)
            for kind, n in ((True, n_membrane), (False, SAMPLES - n_membrane))
        ]
    )
    return described[:, chosen].T.clip(-predict.MAX_DEVIATION, predict.MAX_DEVIATION), membrane[
        chosen
    ]


def image_phantom(
    rng, seed: int, voxel_size, n_sections: int, width_nm: int = WIDTH_NM
) -> tuple[np.ndarray, np.ndarray]:
    """Image a phantom with random blur, noise and contrast, without its damaged section.

    Its sections are generated aligned: interpolation would smooth the noise, and a network trained
    on smoothed noise is worse on real stacks.
    """
    usual = PhantomParams()
    params = PhantomParams(
        jitter_nm=0.0,
        drift_nm=0.0,
        blur_nm=usual.blur_nm * rng.uniform(0.4, 1.6),
        shot_noise=usual.shot_noise * rng.uniform(0.8, 2.0),
    )
    width = int(width_nm / voxel_size[1])
    phantom = make_phantom((n_sections, width, width), seed, voxel_size, params)
    sound = [z for z in range(n_sections) if z not in phantom.damaged_sections]
    bent = 255 * (phantom.volume.data[sound] / 255) ** rng.uniform(0.6, 1.5)
    return bent.astype(np.uint8), phantom.ground_truth.labels[sound]


def mark_boundaries(labels: np.ndarray, n_axes: int) -> np.ndarray:
    """Mark voxels that touch another neurite."""
    marked = np.zeros(labels.shape, bool)
    for axis in range(3 - n_axes, 3):
        rows, out = np.moveaxis(labels, axis, 0), np.moveaxis(marked, axis, 0)
        differ = rows[1:] != rows[:-1]
        out[1:] |= differ
        out[:-1] |= differ
    return marked


if __name__ == "__main__":
    arguments.run(main)
