"""Train the U-Net: loss, optimiser steps and adaptation to a stack."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from connectome.refine.unet.data import BATCH, NetworkInput, TrainingData, augment, sample_patches
from connectome.refine.unet.network import Weights, build_network, reorient

WEIGHT_DECAY = 1e-4
MIN_RATE_FACTOR = 0.02  # of the learning rate, at the end of training
WARM_UP = 20  # steps
ADAPTATION_BATCHES = 40  # from which the statistics of a stack are estimated

Augmentation = Callable[[np.random.Generator, torch.Tensor], torch.Tensor]


def learning_rate_factor(step: int, fraction_done: float) -> float:
    """Return the factor of the learning rate at a step and at a fraction of all steps.

    Linear warm-up, then cosine annealing (Loshchilov & Hutter 2017).
    """
    annealed = (1 + math.cos(math.pi * fraction_done)) / 2
    annealed = MIN_RATE_FACTOR + (1 - MIN_RATE_FACTOR) * annealed
    return annealed * min(1, (step + 1) / WARM_UP)


def membrane_loss(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the weighted cross-entropy plus half the Dice loss of the membrane.

    The Dice loss (Milletari et al. 2016) keeps thin membranes from being outweighed by interiors.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    predicted, membrane = torch.sigmoid(-logits), 1 - target
    overlap, total = (weight * predicted * membrane).sum(), (weight * (predicted + membrane)).sum()
    dice = (2 * overlap + 1) / (total + 1)
    return (weight * entropy).sum() / (weight.sum() + 1e-6) + (1 - dice) / 2


class Trainer:
    """A network in training, and its optimiser.

    Parameters
    ----------
    weights : mapping of str to ndarray or None
        Initial weights; random ones without.
    seed : int
        Of random weights.
    device : torch.device
        Where to compute.
    """

    def __init__(self, weights: Weights | None, seed: int, device: torch.device) -> None:
        self.device = device
        self.network = build_network(weights, seed, device)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), weight_decay=WEIGHT_DECAY)

    def train_step(
        self,
        rng: np.random.Generator,
        network_input: NetworkInput,
        training_data: TrainingData,
        learning_rate: float,
        augmentation: Augmentation = augment,
    ) -> float:
        """Train on one random batch, augmented and randomly oriented; return its loss."""
        self.network.train()
        channels, target, weight = sample_patches(rng, network_input, training_data, BATCH)
        orientation = int(rng.integers(8))
        channels = augmentation(rng, channels)
        loss = self._loss(
            reorient(channels, orientation),
            reorient(target, orientation),
            reorient(weight, orientation),
        )
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return loss.item()

    @torch.inference_mode()
    def evaluate(self, batches: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> float:
        """Return the mean loss on batches of `sample_patches`, without training on them."""
        self.network.eval()
        return float(
            np.mean(
                [
                    self._loss(channels, target, weight).item()
                    for channels, target, weight in batches
                ]
            )
        )

    def _loss(
        self, channels: torch.Tensor, target: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        channels = channels.to(self.device).contiguous(memory_format=torch.channels_last)
        logits = self.network(channels)
        return membrane_loss(logits, target.to(self.device), weight.to(self.device))

    def weights(self) -> dict[str, np.ndarray]:
        """Return a copy of the weights of the network."""
        state = self.network.state_dict()
        return {name: value.cpu().numpy().copy() for name, value in state.items()}

    def optimiser_state(self) -> dict[str, np.ndarray]:
        """Return a copy of the state of the optimiser."""
        state = self.optimiser.state_dict()["state"]
        return {
            f"{i}/{name}": value.cpu().numpy().copy()
            for i, values in state.items()
            for name, value in values.items()
        }

    def restore_optimiser(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Restore the state that `optimiser_state` returned."""
        state: dict[int, dict[str, torch.Tensor]] = {}
        for path, value in arrays.items():
            i, name = path.split("/")
            state.setdefault(int(i), {})[name] = torch.from_numpy(np.asarray(value).copy())
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})


@torch.no_grad()
def adapt_normalisation(
    weights: Weights, network_input: NetworkInput, mask: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Estimate the statistics of batch normalisation from the stack to be predicted.

    No label is used (adaptive batch normalisation; Li et al. 2016). With the statistics of other
    tissue, units that detect membranes may hardly respond in this stack.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Of a network trained elsewhere.
    network_input : NetworkInput
        The stack.
    mask : ndarray of bool, shape (Z, Y, X)
        Tissue.
    seed : int
        Of the random choice of patches.

    Returns
    -------
    dict of ndarray
        The weights with other means and variances of normalisation.
    """
    trainer = Trainer(weights, seed, torch.device("cpu"))
    for layer in trainer.network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all batches
    trainer.network.train()
    training_data = TrainingData(mask, mask.astype(np.float32))
    rng = np.random.default_rng(seed)
    for _ in range(ADAPTATION_BATCHES):
        channels, _, _ = sample_patches(rng, network_input, training_data, BATCH)
        trainer.network(channels.contiguous(memory_format=torch.channels_last))
    return trainer.weights()
