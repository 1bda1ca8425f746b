"""Input channels, training targets and patches of the U-Net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from connectome.core.volume import has_thin_sections, nearest_sound_sections
from connectome.membranes.features import standardise_sections
from connectome.refine.data import TrainingStack, mask_interiors
from connectome.refine.unet.network import NEIGHBOURS
from connectome.refine.unet.orthoviews import View, Window, orthogonal_views

MAX_DEVIATION = 4.0  # standard deviations at which grey values are clipped
MIN_PROBABILITY = 0.02  # probabilities closer to 0 or 1 are clipped before taking the logit
PATCH = 128  # pixels along each side
BATCH = 8  # patches
WINDOW_TRIES = 10  # windows drawn until one contains a target
PROOFREAD_WEIGHT = 4.0  # of a proofread voxel; the surest pseudo-label has 1


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """A stack, prepared as input of the network.

    Parameters
    ----------
    em : ndarray of float32, shape (Z, Y, X)
        Standardised EM; damaged sections are replaced by the nearest sound one.
    untrained_logit : ndarray of float32, shape (Z, Y, X)
        Logit of the untrained neurite probability.
    views : list of View
        Views to train on and to predict in.
    """

    em: np.ndarray
    untrained_logit: np.ndarray
    views: list[View]

    @property
    def n_planes(self) -> int:
        """Number of planes of all views."""
        return sum(self.em.shape[view.axis] for view in self.views)

    @property
    def n_patches(self) -> float:
        """Number of patches that cover all planes of all views once."""
        return float(
            sum(
                self.em.shape[view.axis]
                * np.prod(np.divide(view.shape, np.minimum(view.shape, PATCH)))
                for view in self.views
            )
        )

    def channels(self, view: View, plane: int, window: Window) -> np.ndarray:
        """Return the input channels of a window of a plane: float32 (channels, H, W)."""
        em, untrained_logit = view.planes(self.em), view.planes(self.untrained_logit)
        nearby = np.clip(range(plane - NEIGHBOURS, plane + NEIGHBOURS + 1), 0, len(em) - 1)
        shown = [*(em[n] for n in nearby), untrained_logit[plane]]
        return np.stack([view.resample(each, window) for each in shown])


def prepare_input(stack: TrainingStack) -> NetworkInput:
    """Prepare a stack for the network."""
    em = np.clip(standardise_sections(stack.em, stack.mask), -MAX_DEVIATION, MAX_DEVIATION)
    sound = [z for z in range(len(em)) if z not in set(stack.damaged_sections)]
    for z in stack.damaged_sections if sound else ():
        before, after = nearest_sound_sections(z, sound)
        em[z] = em[before if z - before <= abs(after - z) else after]
    return NetworkInput(
        em=em,
        untrained_logit=clipped_logit(stack.untrained_probability),
        views=orthogonal_views(em.shape, stack.voxel_size),
    )


def clipped_logit(probability: np.ndarray) -> np.ndarray:
    """Return the logit of probabilities, clipped to stay finite, as float32."""
    clipped = np.clip(probability, MIN_PROBABILITY, 1 - MIN_PROBABILITY).astype(np.float32)
    return np.log(clipped / (1 - clipped))


# --- targets ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Targets of the network, and their weights.

    Parameters
    ----------
    target : ndarray of bool, shape (Z, Y, X)
        Interior of neurites.
    weight : ndarray of float32, shape (Z, Y, X)
        Weight of every voxel in the loss.
    preferred_sections : tuple of int
        Half of the patches of sections are drawn from these, if there are any.
    """

    target: np.ndarray
    weight: np.ndarray
    preferred_sections: tuple[int, ...] = ()


def build_training_data(
    stack: TrainingStack,
    labels: np.ndarray,
    probability: np.ndarray,
    proofread_sections: Sequence[int],
) -> TrainingData:
    """Build targets from the labels of proofread sections, and pseudo-labels from all others.

    A pseudo-label (Lee 2013) has the weight of its agreement with the probability that the labels
    were segmented from: where the two contradict each other, nothing is learned.

    Parameters
    ----------
    stack : TrainingStack
        The stack.
    labels : ndarray of int32, shape (Z, Y, X)
        Current neurites.
    probability : ndarray of float32, shape (Z, Y, X)
        Neurite probability they were segmented from.
    proofread_sections : sequence of int
        Proofread sections to train on.

    Returns
    -------
    TrainingData
    """
    sections = list(proofread_sections)
    target = mask_interiors_3d(labels, stack.voxel_size)
    weight = 1 - np.abs(target - probability)
    weight[list(stack.damaged_sections)] = 0
    if sections and stack.proofread is not None:
        target[sections] = mask_interiors(stack.proofread.labels[sections], stack.voxel_size)
        weight[sections] = PROOFREAD_WEIGHT
    weight[~stack.mask] = 0
    return TrainingData(target, weight.astype(np.float32), tuple(sections))


def mask_interiors_3d(labels: np.ndarray, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """Return a mask (Z, Y, X) of the interior of neurites, across thin sections as well."""
    interior = mask_interiors(labels, voxel_size)
    if has_thin_sections(voxel_size):
        z, y, x = voxel_size
        across = mask_interiors(np.moveaxis(labels, 0, 1), (y, z, x))
        interior &= np.moveaxis(across, 1, 0)
    return interior


# --- patches ------------------------------------------------------------------------------------


def sample_patches(
    rng: np.random.Generator,
    network_input: NetworkInput,
    training_data: TrainingData,
    n: int,
    sections: Sequence[int] = (),
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw random patches of one view.

    Parameters
    ----------
    rng : Generator
        Source of all random choices.
    network_input, training_data : NetworkInput, TrainingData
        The stack.
    n : int
        Number of patches.
    sections : sequence of int
        Sections to draw from; by default patches are drawn from everywhere.

    Returns
    -------
    channels, target, weight : Tensor of float32, shapes (n, channels or 1, H, W)
    """
    views = network_input.views
    sizes = [network_input.em.shape[view.axis] * np.prod(view.shape) for view in views]
    view = views[0 if sections else rng.choice(len(sizes), p=np.divide(sizes, sum(sizes)))]
    target, weight = view.planes(training_data.target), view.planes(training_data.weight)
    channels, targets, weights = [], [], []
    for _ in range(n):
        plane = _draw_plane(rng, view, len(target), training_data.preferred_sections, sections)
        window = _draw_window(rng, view, weight[plane])
        channels.append(network_input.channels(view, plane, window))
        targets.append(view.resample(target[plane], window)[None])
        weights.append(view.resample(weight[plane], window)[None])
    return (
        torch.from_numpy(np.stack(channels)),
        torch.from_numpy(np.stack(targets)),
        torch.from_numpy(np.stack(weights)),
    )


def _draw_plane(
    rng: np.random.Generator,
    view: View,
    n_planes: int,
    preferred_sections: Sequence[int],
    sections: Sequence[int],
) -> int:
    if sections:
        return int(rng.choice(sections))
    if preferred_sections and view.axis == 0 and rng.random() < 0.5:
        return int(rng.choice(preferred_sections))
    return int(rng.integers(n_planes))


def _draw_window(rng: np.random.Generator, view: View, weight: np.ndarray) -> Window:
    """Draw a window of a plane, again if it contains no target."""
    height, width = (min(PATCH, side) for side in view.shape)
    for _ in range(WINDOW_TRIES):
        top = int(rng.integers(view.shape[0] - height + 1))
        left = int(rng.integers(view.shape[1] - width + 1))
        window = slice(top, top + height), slice(left, left + width)
        if view.resample(weight, window).any():
            break
    return window


def augment(rng: np.random.Generator, channels: torch.Tensor) -> torch.Tensor:
    """Augment patches: contrast, brightness, gamma, blur, noise, and misaligned neighbours.

    Neighbouring planes are also replaced by the central one, as if they were missing.

    Parameters
    ----------
    rng : Generator
        Source of all random choices.
    channels : Tensor, shape (B, channels, H, W)
        The last channel is the untrained logit; only its offset is varied.

    Returns
    -------
    Tensor
        Of the same shape.
    """

    def uniform(low: float, high: float) -> torch.Tensor:
        values = rng.uniform(low, high, (len(channels), 1, 1, 1))
        return torch.from_numpy(values.astype(np.float32))

    em = channels[:, :-1]
    em = uniform(0.7, 1.4) * em + uniform(-0.08, 0.08) * em**2 + uniform(-0.3, 0.3)
    if rng.random() < 0.3:
        em = torch.lerp(em, functional.avg_pool2d(em, 3, 1, 1), uniform(0, 1))
    if rng.random() < 0.5:
        noise = rng.standard_normal(tuple(em.shape), dtype=np.float32)
        em = em + uniform(0, 0.4) * torch.from_numpy(noise)
    em = em.clone()
    for n in {*range(em.shape[1])} - {NEIGHBOURS}:
        if rng.random() < 0.25:
            offset = tuple(rng.integers(-2, 3, 2).tolist())
            em[:, n] = torch.roll(em[:, n], offset, (1, 2))
        if rng.random() < 0.08:
            em[:, n] = em[:, NEIGHBOURS]
    return torch.cat([em, channels[:, -1:] + uniform(-0.7, 0.7)], 1)
