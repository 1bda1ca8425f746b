"""How likely each voxel is the inside of a neurite, judged by the image alone.

The refiners make the same kind of map from a person's corrections; whichever made it, the road
from the map to neurites is the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from connectome.core.progress import Progress, ignore_progress, map_sections
from connectome.core.pyramid import downsample, upsample
from connectome.core.volume import has_thin_sections
from connectome.membranes.features import (
    compute_block_features,
    fill_damaged_sections,
    standardise_sections,
)
from connectome.membranes.mlp import load_membrane_mlp

MAX_DEVIATION = 3.0  # standard deviations: what lies further out says no more
FINE_PIXEL_NM = 5.0  # pixels up to this size show no more of a membrane than those twice as wide
SUBSAMPLING = 3  # rows and columns between the voxels that features are averaged over


def predict_neurite_probability(
    em: np.ndarray,
    mask: np.ndarray,
    voxel_size: tuple[float, float, float],
    damaged_sections: Sequence[int] = (),
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> np.ndarray:
    """Rate how far each voxel is from looking like a membrane.

    Features of every voxel (`connectome.membranes.features`) go through a small network that
    learned on phantoms what membranes look like among mitochondria, vesicles and noise. It
    sees features in standard deviations over this stack, so it needs no contrast, stain or pixel
    size of its own. Sections so thin that a membrane spans several are looked at in 3D, others
    one by one; fine pixels are averaged two by two first. O(V) time in voxels V, and about 50
    bytes of memory for each that is looked at.

    Parameters
    ----------
    em : ndarray of float, shape (Z, Y, X)
        Preprocessed EM in [0, 1], in register where sections are thin.
    tissue : ndarray of bool, shape (Z, Y, X)
        Where it shows tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    damaged : sequence of int
        Sections not to be believed; between thin sections their neighbours stand in for them.
    threads : int
        Blocks and sections worked on at a time.
    progress : callable
        Told of each finished section.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        1 well inside a neurite, 0 on a membrane and outside the tissue.
    """
    n_axes = 3 if has_thin_sections(voxel_size) else 2
    image = standardise_sections(em, mask)
    if n_axes == 3:
        fill_damaged_sections(image, damaged_sections)
    probability = _rated(image, mask, voxel_size, n_axes, threads, progress)
    probability[~mask] = 0
    return probability


def has_fine_pixels(voxel_size: tuple[float, float, float]) -> bool:
    """Tell whether pixels are averaged two by two before they are looked at.

    Parameters
    ----------
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    bool
    """
    return max(voxel_size[1:]) <= FINE_PIXEL_NM


def _rated(image, tissue, voxel_size, n_axes, threads, progress) -> np.ndarray:
    """Rate every voxel of a standardised image."""
    if has_fine_pixels(voxel_size):
        z, y, x = voxel_size
        averaged = np.stack([downsample(section, (0, 1)) for section in image])
        seen = (averaged, tissue[:, ::2, ::2], (z, 2 * y, 2 * x))
        coarse = _rated(*seen, n_axes, threads, progress)
        return np.stack([upsample(section, (0, 1), image.shape[1:]) for section in coarse])
    blocks = list(compute_block_features(image, voxel_size, n_axes, threads, progress))
    mean, spread = _moments(blocks, tissue)
    least, most = ((mean + way * MAX_DEVIATION * spread)[:, None] for way in (-1, 1))
    network = load_membrane_mlp(n_axes).rescale_inputs(mean, spread)
    probability = np.empty(image.shape, np.float32)

    def rate(block):
        core, described = block
        # Section by section: few values at a time stay in the processor's cache.
        for rated, section in zip(probability[core], np.moveaxis(described, 1, 0), strict=True):
            values = section.reshape(len(section), -1).clip(least, most)
            rated[...] = 1 - network.predict_membrane(values).reshape(rated.shape)

    for _ in map_sections(rate, blocks, threads):
        pass
    return probability


def _moments(blocks, tissue) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of every feature over the tissue, and its standard deviation."""
    some = tissue[:, ::SUBSAMPLING, ::SUBSAMPLING]
    counted = tissue if some.any() else ~tissue  # next to no tissue: any numbers will do
    values = []
    for core, described in blocks:
        first = -(core[1].start or 0) % SUBSAMPLING  # the same rows, however the stack is divided
        picked = (slice(None), slice(first, None, SUBSAMPLING), slice(None, None, SUBSAMPLING))
        values.append(described[:, *picked][:, counted[core][picked]])
    values = np.concatenate(values, axis=1)
    return values.mean(axis=1), np.sqrt(values.var(axis=1) + 1e-6)
