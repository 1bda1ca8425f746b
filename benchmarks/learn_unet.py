"""Train the initial weights of the U-Net of `train_unet2d_selftrain.py` on phantoms.

    python benchmarks/learn_unet.py thick          # connectome/weights/unet_thick.npz
    python benchmarks/learn_unet.py thin           # connectome/weights/unet_thin.npz

Phantoms of many voxel sizes, blurs, noises and contrasts (as for `learn_membranes.py`, of other
seeds) are imaged in thick or in thin sections, and a U-Net is trained to correct the untrained
neurite probability. No real tissue is used, so every real volume is a test. The same number of
steps and threads gives the same weights; on one core it takes about five minutes for thick sections
and ten for thin ones.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks"))

import learn_membranes

from connectome import preprocess
from connectome.cli import arguments
from connectome.io import model_files
from connectome.membranes import predict
from connectome.refine.data import TrainingStack
from connectome.refine.unet.data import (
    NetworkInput,
    TrainingData,
    augment,
    mask_interiors_3d,
    prepare_input,
)
from connectome.refine.unet.network import CHANNELS, KIND, choose_device, set_threads
from connectome.refine.unet.trainer import Trainer, learning_rate_factor

LEARNING_RATE = 3e-3
MEMBRANE_WEIGHT = 2.0  # against 1 elsewhere: a gap costs more than a false membrane
REPORT_EVERY = 100  # steps
# A running mean of the weights depends less on the last steps.
AVERAGED_EVERY, AVERAGED_FROM, NEWEST = 10, 100, 0.03
SMALL_Z_NM = 10  # sections up to this are many


@dataclass(frozen=True)
class Course:
    """The phantoms of a training, and its length.

    Parameters
    ----------
    sizes : list of tuple
        Voxel sizes (z, y, x) in nm, of a phantom each.
    first_seed : int
        Of the first phantom.
    sections : tuple of int
        Of a phantom, where they are up to `SMALL_Z_NM`, and where they are thicker.
    width_nm : int
        Of a phantom along y and x.
    seed : int
        Of the batches.
    steps : int
        Of training.
    harder : bool
        Whether stacks are rounded to float16 as in a run, shading and errors of the probability are
        added, and weights are averaged.
    """

    sizes: list[tuple[int, int, int]]
    first_seed: int
    sections: tuple[int, int]
    width_nm: int
    seed: int
    steps: int
    harder: bool


COURSES = {
    "thick": Course(learn_membranes.VOXEL_SIZES[2] * 2, 9900, (14, 14), 1600, 2, 1200, False),
    "thin": Course(
        [size for size in learn_membranes.VOXEL_SIZES[3] * 2 if size != (16, 16, 16)],
        7700,
        (64, 48),
        1500,
        0,
        2000,
        True,
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Train a network and write it."""
    parser = arguments.Parser(description=__doc__)
    parser.add_argument("course", choices=COURSES, help="thickness of the sections to train on")
    parser.add_argument("--out", type=Path, help="where to write it")
    parser.add_argument("--steps", type=arguments.count, help="of training")
    parser.add_argument("--threads", type=arguments.count, default=2, help="cores to use")
    args = parser.parse_args(argv)
    set_threads(args.threads)
    course = COURSES[args.course]
    weights = train(course, args.steps or course.steps, args.threads)
    meta = {"kind": KIND, "features": CHANNELS, "learned_on": "phantoms"}
    out = args.out or ROOT / f"connectome/weights/unet_{args.course}.npz"
    model_files.write_model(out, meta, {name: half(array) for name, array in weights.items()})
    print(f"wrote {out}")


def train(course: Course, steps: int, threads: int) -> dict[str, np.ndarray]:
    """Train on random batches of all phantoms."""
    stacks = [
        prepare_phantom(course, course.first_seed + i, tuple(map(float, voxel_size)), threads)
        for i, voxel_size in enumerate(course.sizes)
    ]
    trainer = Trainer(None, 0, choose_device("cpu"))
    augmentation = augment_further if course.harder else augment
    losses, mean = [], None
    for step in range(steps):
        rng = np.random.default_rng((course.seed, step))
        rate = LEARNING_RATE * learning_rate_factor(step, step / steps)
        network_input, training_data = stacks[rng.integers(len(stacks))]
        loss = trainer.train_step(rng, network_input, training_data, rate, augmentation)
        losses.append(loss)
        if course.harder and step % AVERAGED_EVERY == AVERAGED_EVERY - 1:
            mean = update_mean(mean if step >= AVERAGED_FROM else None, trainer.weights())
        if step % REPORT_EVERY == REPORT_EVERY - 1:
            lately = np.mean(losses[-REPORT_EVERY:])
            print(f"step {step + 1} of {steps}, loss {lately:.4f}", file=sys.stderr, flush=True)
    return mean or trainer.weights()


def update_mean(mean: dict | None, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Update a running mean of weights; integers are counts, of which the newest is kept."""
    if mean is None:
        return weights
    return {
        name: ((1 - NEWEST) * mean[name] + NEWEST * new).astype(new.dtype)
        if new.dtype.kind == "f"
        else new
        for name, new in weights.items()
    }


def augment_further(rng: np.random.Generator, channels: torch.Tensor) -> torch.Tensor:
    """Augment patches further: shading, and local errors of the probability."""
    channels = augment(rng, channels)
    image, probability = channels[:, :-1], channels[:, -1:]

    def smooth_noise(spread, knots):
        drawn = rng.normal(0, spread, (len(channels), 1, knots, knots)).astype(np.float32)
        return functional.interpolate(
            torch.from_numpy(drawn), size=channels.shape[2:], mode="bicubic"
        )

    if rng.random() < 0.3:
        image = image + smooth_noise(0.4, 5)
    if rng.random() < 0.5:
        probability = probability + smooth_noise(1, 12) * float(rng.uniform(0, 1.2))
    return torch.cat([image, probability], 1)


def prepare_phantom(
    course: Course, seed: int, voxel_size, threads: int
) -> tuple[NetworkInput, TrainingData]:
    """Image a phantom; return the input of the network and its training data."""
    rng = np.random.default_rng(seed)
    n_sections = course.sections[voxel_size[0] > SMALL_Z_NM]
    em, labels = learn_membranes.image_phantom(rng, seed, voxel_size, n_sections, course.width_nm)
    tissue = preprocess.find_tissue(em)
    image = preprocess.preprocess(em, tissue, voxel_size)
    probability = predict.predict_neurite_probability(image, tissue, voxel_size, threads=threads)
    if course.harder:
        image, probability = (half(array).astype(np.float32) for array in (image, probability))
    stack = TrainingStack(
        em=image,
        mask=tissue,
        voxel_size=voxel_size,
        damaged_sections=(),
        untrained_probability=probability,
        labels=labels,
        proofread=None,
        segment=lambda probability, excluded_sections=(), voted=False: labels,
    )
    inside = mask_interiors_3d(labels, voxel_size)
    weight = np.where(inside, 1, MEMBRANE_WEIGHT).astype(np.float32) * tissue
    return prepare_input(stack), TrainingData(inside, weight)


def half(array: np.ndarray) -> np.ndarray:
    """Convert floating-point arrays to float16."""
    return array.astype(np.float16) if array.dtype.kind == "f" else array


if __name__ == "__main__":
    arguments.run(main)
