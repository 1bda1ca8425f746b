"""Learn on phantoms what the U-Net of `train_unet2d_selftrain.py` starts from, and write it.

Usage: python benchmarks/learn_unet.py [--minutes 12] [--out connectome]

Phantoms of many voxel sizes, blurs, noises and contrasts (as for `learn_membranes.py`, of other
seeds) are imaged, and one U-Net learns to correct the evidence on stacks of thick sections, another
on thin ones, which it sees from three sides. No real tissue is used, so every real volume is a
test. The same number of steps gives the same weights.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks"))

import learn_membranes  # noqa: E402

from connectome import commandline, evidence, models, preprocess, selftrain, unet  # noqa: E402
from connectome.training import Material  # noqa: E402

FIRST_SEED = {2: 9900, 3: 10100}
TIMES = 2  # phantoms of each voxel size
SECTIONS = {2: 14, 3: 40}
NAMES = {2: "unet_thick.npz", 3: "unet_thin.npz"}
STEPS = 3000
LEARNING_RATE = 3e-3
MEMBRANE_WEIGHT = 1.3  # against 1 of the rest: a gap costs more than a blot


def main(argv: Sequence[str] | None = None) -> None:
    """Learn both networks and write them."""
    parser = commandline.Parser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "connectome", help="where to write them")
    parser.add_argument("--steps", type=commandline.count, default=STEPS, help="of training")
    parser.add_argument("--threads", type=commandline.count, default=2, help="cores to use")
    args = parser.parse_args(argv)
    unet.use_threads(args.threads)
    for n_axes, name in NAMES.items():
        weights = learned(n_axes, args.steps, args.threads)
        meta = {"kind": unet.KIND, "features": unet.CHANNELS, "learned_on": "phantoms"}
        models.write_model(args.out / name, meta, {n: half(a) for n, a in weights.items()})
        print(f"wrote {args.out / name}")


def learned(n_axes: int, steps: int, threads: int) -> dict[str, np.ndarray]:
    """Learn one network."""
    stacks = [
        stack(FIRST_SEED[n_axes] + i, tuple(map(float, voxel_size)), n_axes, threads)
        for i, voxel_size in enumerate(learn_membranes.VOXEL_SIZES[n_axes] * TIMES)
    ]
    pupil = unet.Pupil(None, 0, unet.chosen_device("cpu"))
    losses = []
    for step in range(steps):
        rng = np.random.default_rng((n_axes, step))
        rate = LEARNING_RATE * selftrain.rate(step, step / steps)
        losses.append(pupil.learn(rng, *stacks[rng.integers(len(stacks))], rate))
        if step % 100 == 99:
            told = f"{n_axes} axes: step {step + 1}, loss {np.mean(losses[-100:]):.4f}"
            print(told, file=sys.stderr, flush=True)
    return pupil.weights()


def stack(seed: int, voxel_size, n_axes: int, threads: int) -> tuple[unet.Sight, unet.Lesson]:
    """Image a phantom; return what the network sees and is told of it."""
    rng = np.random.default_rng(seed)
    em, labels = learn_membranes.imaged(rng, seed, voxel_size, SECTIONS[n_axes])
    tissue = preprocess.find_tissue(em)
    image = preprocess.preprocess(em, tissue, voxel_size)
    rated = evidence.neurite_probability(image, tissue, voxel_size, (), threads)
    material = Material(image, tissue, voxel_size, (), rated, labels, None, None)
    inside = ~learn_membranes.borders(labels, voxel_size, n_axes)
    weight = np.where(inside, 1, MEMBRANE_WEIGHT).astype(np.float32) * tissue
    return unet.sight(material), unet.Lesson(inside, weight)


def half(array: np.ndarray) -> np.ndarray:
    """Store floating numbers in two bytes."""
    return array.astype(np.float16) if array.dtype.kind == "f" else array


if __name__ == "__main__":
    commandline.run(main)
