"""The U-Net: architecture, weights and device."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from connectome.core.errors import DataError, UsageError
from connectome.io.model_files import TRAIN_REMEDY

KIND = "unet"
NEIGHBOURS = 2  # planes seen on either side
# Names of the input channels, as stored in models; the last is the untrained probability.
CHANNELS = [*(f"plane {n:+d}" for n in range(-NEIGHBOURS, NEIGHBOURS + 1)), "evidence"]
WIDTH = 8  # channels at the finest level, doubled at each coarser one
DEPTH = 4  # levels
LARGEST = float(np.finfo(np.float32).max)  # larger weights are infinite in float32

Weights = Mapping[str, np.ndarray]
"""Weights of a network by the name of its parameters and buffers."""


class UNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015) that predicts a correction to its last input channel.

    Its output layer starts at zero, so that an untrained network returns that channel.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = [WIDTH * 2**level for level in range(DEPTH)]
        inputs = [len(CHANNELS), *widths]
        self.down = nn.ModuleList(map(_block, inputs, widths))
        self.up = nn.ModuleList(_block(a + b, a) for a, b in pairwise(widths))
        self.out = nn.Conv2d(WIDTH, 1, 1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        """Predict logits (B, 1, H, W) from channels (B, C, H, W), H and W multiples of 8."""
        skipped, x = [], channels
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            skipped.append(x)
        skipped.pop()
        for block in reversed(self.up):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0), skipped.pop()], 1))
        return self.out(x) + channels[:, -1:]


def _block(n_in: int, n_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n in (n_in, n_out):
        layers += [nn.Conv2d(n, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers)


def build_network(weights: Weights | None, seed: int, device: torch.device) -> UNet:
    """Build a network.

    Parameters
    ----------
    weights : mapping of str to ndarray or None
        Weights; random ones without.
    seed : int
        Of random weights.
    device : torch.device
        Where to compute.

    Raises
    ------
    DataError
        If the weights belong to another network, or are damaged.
    """
    torch.manual_seed(seed)
    network = UNet()
    if weights is not None:
        expected = _state_arrays(network)
        if invalid := _invalid_names(expected, weights):
            raise DataError(
                f"the weights are of another network, or damaged: {min(invalid)} does not fit",
                "nothing can be predicted with them",
                TRAIN_REMEDY,
            )
        # Copied, because training must not change the given weights.
        network.load_state_dict(
            {
                name: torch.from_numpy(np.array(array, expected[name].dtype))
                for name, array in weights.items()
            }
        )
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def are_valid_weights(weights: Weights) -> bool:
    """Return whether weights have the names and shapes of the network and are finite."""
    return not _invalid_names(_state_arrays(UNet()), weights)


def _state_arrays(network: UNet) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in network.state_dict().items()}


def _invalid_names(expected: Weights, weights: Weights) -> set[str]:
    """Return the names of missing, unexpected and damaged weights."""
    return {
        name
        for name in expected.keys() | weights.keys()
        if name not in expected
        or name not in weights
        or not _is_valid_array(name, expected[name], weights[name])
    }


def _is_valid_array(name: str, expected: np.ndarray, array: np.ndarray) -> bool:
    """Return whether an array has the expected shape and finite numbers."""
    if array.shape != expected.shape or array.dtype.kind not in "iuf":
        return False
    values = array.astype(np.float64)  # float16, as shipped, has no number as large as LARGEST
    smallest = 0 if name.endswith("running_var") else -LARGEST
    return bool(((values >= smallest) & (values <= LARGEST)).all())


def choose_device(name: str) -> torch.device:
    """Return the device of a name, the fastest available one for ``auto``.

    Raises
    ------
    UsageError
        If it is not available on this machine.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, usable in available.items() if usable)
    if not available[name]:
        usable = ", ".join(device for device, found in available.items() if found)
        raise UsageError(f"PyTorch finds no {name} here", remedy=f"--device auto, or {usable}")
    return torch.device(name)


def set_threads(n: int) -> None:
    """Set the number of cores that PyTorch uses."""
    torch.set_num_threads(n)


def reorient(planes: torch.Tensor, orientation: int) -> torch.Tensor:
    """Return planes (..., H, W) in one of eight orientations: four rotations, each mirrored."""
    mirrored = planes.flip(-1) if orientation & 4 else planes
    return torch.rot90(mirrored, orientation & 3, (-2, -1))


def undo_reorient(planes: torch.Tensor, orientation: int) -> torch.Tensor:
    """Undo `reorient`."""
    planes = torch.rot90(planes, -(orientation & 3), (-2, -1))
    return planes.flip(-1) if orientation & 4 else planes
