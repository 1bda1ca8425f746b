"""Predict the neurite probability of each voxel from EM alone.

The refiners predict the same kind of map after training on proofread sections. Segmentation is the
same for all of these maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from connectome.core.progress import Progress, ignore_progress, map_sections
from connectome.core.pyramid import downsample, upsample
from connectome.core.volume import has_thin_sections
from connectome.membranes.features import (
    Block,
    compute_block_features,
    fill_damaged_sections,
    standardise_sections,
)
from connectome.membranes.mlp import load_membrane_mlp

MAX_DEVIATION = 3.0  # standard deviations at which features are clipped
FINE_PIXEL_NM = 5.0  # pixels up to this size are averaged two by two
SUBSAMPLING = 3  # rows and columns per voxel used for the mean and variance of the features


def predict_neurite_probability(
    em: np.ndarray,
    mask: np.ndarray,
    voxel_size: tuple[float, float, float],
    *,
    damaged_sections: Sequence[int] = (),
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> np.ndarray:
    """Predict for each voxel the probability of lying inside a neurite, not on a membrane.

    A small network classifies the features of every voxel (`connectome.membranes.features`). It
    was trained on phantoms to distinguish membranes from mitochondria, vesicles and noise. Features
    are standardised over the stack, so that contrast, stain and pixel size need not be those of
    the phantoms. Thin sections, of which a membrane spans several, are predicted in 3D, thick ones
    one by one. Pixels up to `FINE_PIXEL_NM` are averaged two by two first. Takes O(V) time and
    about 50 bytes of memory per voxel for V voxels, after averaging.

    Parameters
    ----------
    em : ndarray of float, shape (Z, Y, X)
        Preprocessed EM in [0, 1]; aligned if sections are thin.
    mask : ndarray of bool, shape (Z, Y, X)
        Tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    damaged_sections : sequence of int
        Sections whose content is unreliable. If sections are thin, these are replaced by
        interpolating between their neighbours.
    threads : int
        Blocks and sections processed at a time.
    progress : callable
        Called with the number of sections just finished.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        From 1 in the interior of a neurite to 0 on a membrane; 0 outside the mask.
    """
    n_axes = 3 if has_thin_sections(voxel_size) else 2
    image = standardise_sections(em, mask)
    if n_axes == 3:
        fill_damaged_sections(image, damaged_sections)
    probability = _predict(image, mask, voxel_size, n_axes, threads, progress)
    probability[~mask] = 0
    return probability


def has_fine_pixels(voxel_size: tuple[float, float, float]) -> bool:
    """Return whether pixels are averaged two by two before prediction.

    Such pixels show no more of a membrane than pixels of twice the width.

    Parameters
    ----------
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    bool
    """
    return max(voxel_size[1:]) <= FINE_PIXEL_NM


def _predict(
    image: np.ndarray,
    mask: np.ndarray,
    voxel_size: tuple[float, float, float],
    n_axes: int,
    threads: int,
    progress: Progress,
) -> np.ndarray:
    """Predict the neurite probability of every voxel of a standardised image."""
    if has_fine_pixels(voxel_size):
        z, y, x = voxel_size
        averaged = np.stack([downsample(section, (0, 1)) for section in image])
        coarse = _predict(averaged, mask[:, ::2, ::2], (z, 2 * y, 2 * x), n_axes, threads, progress)
        return np.stack([upsample(section, (0, 1), image.shape[1:]) for section in coarse])
    blocks = list(compute_block_features(image, voxel_size, n_axes, threads, progress))
    mean, std = _feature_moments(blocks, mask)
    lowest, highest = (mean - MAX_DEVIATION * std)[:, None], (mean + MAX_DEVIATION * std)[:, None]
    network = load_membrane_mlp(n_axes).rescale_inputs(mean, std)
    probability = np.empty(image.shape, np.float32)

    def predict_block(block: tuple[Block, np.ndarray]) -> None:
        position, features = block
        sections = np.moveaxis(features, 1, 0)
        # Section by section, so that the values fit into the processor's cache.
        for out, section in zip(probability[position], sections, strict=True):
            values = section.reshape(len(section), -1).clip(lowest, highest)
            out[...] = 1 - network.predict_membrane(values).reshape(out.shape)

    for _ in map_sections(predict_block, blocks, threads):
        pass
    return probability


def _feature_moments(
    blocks: list[tuple[Block, np.ndarray]], mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and standard deviation of every feature over the tissue, shape (F,)."""
    # With hardly any tissue, the background is used: the result does not matter there.
    counted = mask if mask[:, ::SUBSAMPLING, ::SUBSAMPLING].any() else ~mask
    samples = []
    for position, features in blocks:
        # The same rows are used however the stack is divided into blocks.
        first_row = -(position[1].start or 0) % SUBSAMPLING
        rows, columns = slice(first_row, None, SUBSAMPLING), slice(None, None, SUBSAMPLING)
        samples.append(features[:, :, rows, columns][:, counted[position][:, rows, columns]])
    values = np.concatenate(samples, axis=1)
    return values.mean(axis=1), np.sqrt(values.var(axis=1) + 1e-6)
