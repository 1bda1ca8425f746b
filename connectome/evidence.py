"""How likely each voxel is the inside of a neurite, judged by the image alone.

The refiners make the same kind of map from a person's corrections; whichever made it, the road
from the map to neurites is the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from connectome.features import stack_features, stand_in, standardised
from connectome.network import membrane_network
from connectome.progress import Progress, map_stacks, silent
from connectome.volume import thin_sections

OUTLIER = 3.0  # standard deviations: what lies further out says no more
EVERY = 3  # rows and columns between the voxels that features are averaged over


def neurite_probability(
    aligned: np.ndarray,
    tissue: np.ndarray,
    voxel_size: tuple[float, float, float],
    damaged: Sequence[int] = (),
    threads: int = 1,
    progress: Progress = silent,
) -> np.ndarray:
    """Rate how far each voxel is from looking like a membrane.

    Features of every voxel's neighbourhood (`connectome.features`) go through a small network
    that learned on phantoms what membranes look like among mitochondria, vesicles and noise. It
    sees features in standard deviations over this stack, so it needs no contrast, stain or pixel
    size of its own. Sections so thin that a membrane spans several are looked at in 3D, others
    one by one. O(V) time in voxels V, and about 25 bytes of memory for each.

    Parameters
    ----------
    aligned : ndarray of float, shape (Z, Y, X)
        Preprocessed and aligned EM in [0, 1].
    tissue : ndarray of bool, shape (Z, Y, X)
        Where ``aligned`` shows tissue.
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
    n_axes = 3 if thin_sections(voxel_size) else 2
    image = standardised(aligned, tissue)
    if n_axes == 3:
        stand_in(image, damaged)
    features, mean, spread = _all_features(image, tissue, voxel_size, n_axes, threads)
    network = membrane_network(n_axes)

    def rated(described, inside):
        values = (described[:, inside] - mean[:, None]) / spread[:, None]
        np.clip(values, -OUTLIER, OUTLIER, out=values)
        probability = np.zeros(inside.shape, np.float32)
        probability[inside] = 1 - network.membrane(values)
        return probability

    by_section = np.moveaxis(features, 1, 0)
    return map_stacks(rated, by_section, tissue, threads=threads, progress=progress)


def _all_features(image, tissue, voxel_size, n_axes, threads):
    """Describe all voxels; return also each feature's mean and spread."""
    features = stack_features(image, voxel_size, n_axes, threads)
    some = tissue[:, ::EVERY, ::EVERY]
    some = some if some.any() else ~some  # next to no tissue: any numbers will do
    values = features[..., ::EVERY, ::EVERY][:, some].astype(np.float32)
    return features, values.mean(axis=1), np.sqrt(values.var(axis=1) + 1e-6)
