"""Learn on phantoms what the U-Net of `train_unet2d_selftrain.py` starts from, and write it.

Usage: python benchmarks/learn_unet.py [--steps 1200] [--out connectome/unet_thick.npz]

Phantoms of many voxel sizes, blurs, noises and contrasts (as for `learn_membranes.py`, of other
seeds) are imaged in thick sections, and a U-Net learns to correct the evidence there. No real
tissue is used, so every real volume is a test. The same number of steps and threads gives the same
weights; it takes a few minutes. Weights learned so for thin sections did worse on real ones than
none, and do not ship.
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

FIRST_SEED = 9900
TIMES = 2  # phantoms of each voxel size
SECTIONS = 14
STEPS = 1200
LEARNING_RATE = 3e-3
MEMBRANE_WEIGHT = 2.0  # against 1 of the rest: a gap costs more than a blot
TOLD_EVERY = 100  # steps


def main(argv: Sequence[str] | None = None) -> None:
    """Learn the network and write it."""
    parser = commandline.Parser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "connectome/unet_thick.npz", help="where to write it"
    )
    parser.add_argument("--steps", type=commandline.count, default=STEPS, help="of training")
    parser.add_argument("--threads", type=commandline.count, default=2, help="cores to use")
    args = parser.parse_args(argv)
    unet.use_threads(args.threads)
    weights = learned(args.steps, args.threads)
    meta = {"kind": unet.KIND, "features": unet.CHANNELS, "learned_on": "phantoms"}
    models.write_model(args.out, meta, {name: half(array) for name, array in weights.items()})
    print(f"wrote {args.out}")


def learned(steps: int, threads: int) -> dict[str, np.ndarray]:
    """Learn from random batches of all phantoms."""
    stacks = [
        stack(FIRST_SEED + i, tuple(map(float, voxel_size)), threads)
        for i, voxel_size in enumerate(learn_membranes.VOXEL_SIZES[2] * TIMES)
    ]
    pupil = unet.Pupil(None, 0, unet.chosen_device("cpu"))
    losses = []
    for step in range(steps):
        rng = np.random.default_rng((2, step))
        rate = LEARNING_RATE * selftrain.rate(step, step / steps)
        losses.append(pupil.learn(rng, *stacks[rng.integers(len(stacks))], rate))
        if step % TOLD_EVERY == TOLD_EVERY - 1:
            mean = np.mean(losses[-TOLD_EVERY:])
            print(f"step {step + 1} of {steps}, loss {mean:.4f}", file=sys.stderr, flush=True)
    return pupil.weights()


def stack(seed: int, voxel_size, threads: int) -> tuple[unet.Sight, unet.Lesson]:
    """Image a phantom; return what the network sees and is told of it."""
    rng = np.random.default_rng(seed)
    em, labels = learn_membranes.imaged(rng, seed, voxel_size, SECTIONS)
    tissue = preprocess.find_tissue(em)
    image = preprocess.preprocess(em, tissue, voxel_size)
    rated = evidence.neurite_probability(image, tissue, voxel_size, (), threads)
    material = Material(image, tissue, voxel_size, (), rated, labels, None, lambda p, held=(): p)
    inside = unet.insides(labels, voxel_size)
    weight = np.where(inside, 1, MEMBRANE_WEIGHT).astype(np.float32) * tissue
    return unet.sight(material), unet.Lesson(inside, weight)


def half(array: np.ndarray) -> np.ndarray:
    """Store floating numbers in two bytes."""
    return array.astype(np.float16) if array.dtype.kind == "f" else array


if __name__ == "__main__":
    commandline.run(main)
