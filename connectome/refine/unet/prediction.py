"""Predict a stack with the U-Net, and correct the untrained probability by the prediction."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from connectome.core.progress import Progress, ignore_progress
from connectome.refine.unet.data import NetworkInput, clipped_logit
from connectome.refine.unet.network import UNet, reorient, undo_reorient
from connectome.refine.unet.orthoviews import Window

TILE = 512  # pixels along each side, predicted at a time
MARGIN = 48  # pixels around a tile on which its prediction depends
ORIENTATIONS = (0, 3, 5, 6)  # whose predictions are averaged, of the eight of `reorient`


@torch.inference_mode()
def predict_logits(
    network: UNet, network_input: NetworkInput, progress: Progress = ignore_progress
) -> np.ndarray:
    """Predict every voxel in every view and in several orientations, tile by tile.

    Parameters
    ----------
    network : UNet
        A trained network.
    network_input : NetworkInput
        The stack.
    progress : callable
        Called after each plane with the number of planes finished, 1.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Mean logit of neurite.
    """
    network.eval()
    total = np.zeros(network_input.em.shape, np.float32)
    for view in network_input.views:
        out = view.planes(total)
        for plane in range(len(out)):
            logits = np.empty(view.shape, np.float32)
            for tile, with_margin in _tiles(view.shape):
                channels = network_input.channels(view, plane, with_margin)
                logits[tile] = _crop(_predict_patch(network, channels), tile, with_margin)
            out[plane] += view.resample_back(logits) / len(network_input.views)
            progress(1)
    return total


def _predict_patch(network: UNet, channels: np.ndarray) -> np.ndarray:
    """Return the mean logits (H, W) over several orientations of a patch (channels, H, W)."""
    device = next(network.parameters()).device
    patch = torch.from_numpy(channels)[None].to(device)
    logits = []
    for orientation in ORIENTATIONS:
        reoriented = reorient(patch, orientation).contiguous(memory_format=torch.channels_last)
        logits.append(undo_reorient(network(reoriented), orientation))
    return torch.stack(logits).mean(0)[0, 0].cpu().numpy()


def _crop(array: np.ndarray, tile: Window, with_margin: Window) -> np.ndarray:
    """Crop an array of the size of a tile with its margin to the tile."""
    rows, columns = (
        slice(inner.start - outer.start, inner.stop - outer.start)
        for inner, outer in zip(tile, with_margin, strict=True)
    )
    return array[rows, columns]


def _tiles(shape: tuple[int, int]) -> Iterator[tuple[Window, Window]]:
    """Yield the tiles of a plane, and the same with their margin."""
    height, width = shape
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            bottom, right = min(top + TILE, height), min(left + TILE, width)
            with_margin = (
                slice(max(top - MARGIN, 0), min(bottom + MARGIN, height)),
                slice(max(left - MARGIN, 0), min(right + MARGIN, width)),
            )
            yield (slice(top, bottom), slice(left, right)), with_margin


def correct_probability(
    logits: np.ndarray, untrained_probability: np.ndarray, mask: np.ndarray, trust: float
) -> np.ndarray:
    """Correct the untrained probability by the prediction of the network.

    The result has the distribution of the untrained probability: the thresholds of the segmentation
    were set for that, and networks trained elsewhere, or on labels with membranes of another width,
    are confident to different degrees.

    Parameters
    ----------
    logits : ndarray of float32, shape (Z, Y, X)
        As `predict_logits` returns.
    untrained_probability : ndarray of float32, shape (Z, Y, X)
        Untrained neurite probability.
    mask : ndarray of bool, shape (Z, Y, X)
        Tissue.
    trust : float
        Fraction of the network's correction that is applied: 0 leaves the untrained probability as
        it is, 1 ranks voxels by the network alone.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Neurite probability; 0 outside the mask.
    """
    probability = np.zeros(mask.shape, np.float32)
    before = clipped_logit(untrained_probability)
    corrected = (before + trust * (logits - before))[mask]
    matched = np.empty_like(corrected)
    matched[np.argsort(corrected, kind="stable")] = np.sort(untrained_probability[mask])
    probability[mask] = matched
    return probability
