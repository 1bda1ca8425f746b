"""Synapse candidates: dark densities where neurites meet.

Direction is a heuristic: in worms the dark projection stands in the presynaptic neurite, so the
neurite that holds most of the density is called presynaptic, and those it faces postsynaptic.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import ndimage

from connectome.params import SynapseParams
from connectome.progress import Progress, map_sections, silent

COLUMNS = ["z", "y", "x", "pre_id", "post_id", "score", "post_ids", "contrast", "n_partners"]


def find_synapses(
    aligned: np.ndarray,
    labels: np.ndarray,
    voxel_size: tuple[float, float, float],
    damaged: Sequence[int] = (),
    params: SynapseParams | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Find dark densities on the boundaries between neurites.

    A density is a dark blob: wider than a membrane, smaller than a mitochondrion. Its contrast
    is the difference of the image smoothed over the surroundings and over the density
    (difference of Gaussians, Marr & Hildreth 1980), in units of its section's own spread. Local
    maxima near a boundary, one per synapse and not one per section, are the candidates. O(V)
    time in voxels V.

    Parameters
    ----------
    aligned : ndarray of float, shape (Z, Y, X)
        Preprocessed and aligned EM.
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 outside the tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    damaged : sequence of int
        Sections whose darkness means nothing.
    params : SynapseParams, optional
        Sizes in nm and the least contrast.
    threads : int
        Sections worked on at a time.
    progress : callable
        Told of each finished section.

    Returns
    -------
    DataFrame
        One row per candidate, by falling score: ``z, y, x`` (voxels), ``pre_id``, ``post_id``
        (the partner with most contact), ``score`` (0 to 1, not calibrated), ``post_ids`` (all
        partners, most contact first, joined by ``;``), ``contrast``, ``n_partners``.
    """
    params = params or SynapseParams()
    contrast = _blob_contrast(aligned, labels > 0, voxel_size, damaged, params, threads)
    boundary = list(map_sections(_boundary_distance(voxel_size), labels, threads, progress))
    contrast[np.stack(boundary) > params.max_boundary_nm] = 0
    contrast[list(damaged)] = 0
    peaks = _peaks(contrast, voxel_size, params)
    rows = [_candidate(peak, contrast, aligned, labels, voxel_size, params) for peak in peaks]
    table = pd.DataFrame([row for row in rows if row], columns=COLUMNS)
    return table.sort_values(
        ["score", "z", "y", "x"], ascending=[False, True, True, True]
    ).reset_index(drop=True)


def _blob_contrast(aligned, tissue, voxel_size, damaged, params, threads) -> np.ndarray:
    """Contrast of a dark blob of the size of a density, centred on each voxel."""

    def one(pair):
        section, inside = pair
        if not inside.any():
            return np.zeros(section.shape, np.float32)
        values = section[inside].astype(np.float32)
        middle = np.median(values)
        spread = 1.4826 * np.median(np.abs(values - middle)) + 1e-6
        image = np.where(inside, (section - middle) / spread, 0).astype(np.float32)
        inner, outer = (
            ndimage.gaussian_filter(image, sigma / np.array(voxel_size[1:]))
            for sigma in (params.density_nm, params.surround_nm)
        )
        return outer - inner

    pairs = list(zip(aligned, tissue, strict=True))
    stack = np.stack(list(map_sections(one, pairs, threads)))
    stack[list(damaged)] = 0  # a fold must not darken the sections beside it
    # Over sections a density reaches as far as it does within one, and no surround is needed.
    return ndimage.gaussian_filter1d(stack, params.depth_nm / voxel_size[0], axis=0)


def _boundary_distance(voxel_size):
    """Return a function that measures, in nm, how far each pixel is from another neurite."""

    def one(section):
        boundary = np.zeros(section.shape, bool)
        for axis in (0, 1):
            here = [slice(None), slice(None)]
            next_ = [slice(None), slice(None)]
            here[axis], next_[axis] = slice(None, -1), slice(1, None)
            a, b = section[tuple(here)], section[tuple(next_)]
            differ = (a != b) & (a > 0) & (b > 0)
            boundary[tuple(here)] |= differ
            boundary[tuple(next_)] |= differ
        if not boundary.any():
            return np.full(section.shape, np.inf)
        return ndimage.distance_transform_edt(~boundary, sampling=voxel_size[1:])

    return one


def _peaks(contrast, voxel_size, params) -> np.ndarray:
    """Voxels (N, 3) of highest contrast within the distance at which synapses are told apart."""
    reach = [2 * round(params.separation_nm / length) + 1 for length in voxel_size]
    highest = ndimage.maximum_filter(contrast, size=reach, mode="constant")
    return np.argwhere((contrast == highest) & (contrast >= params.least_contrast))


def _candidate(peak, contrast, aligned, labels, voxel_size, params):
    """Partners and score of one density, or None where there are no two neurites."""
    reach = [int(params.partner_nm // length) for length in voxel_size]
    box = tuple(slice(max(0, p - r), p + r + 1) for p, r in zip(peak, reach, strict=True))
    ids = labels[box]
    offsets = np.meshgrid(
        *[np.arange(s.start, s.start + n) for s, n in zip(box, ids.shape, strict=True)],
        indexing="ij",
    )
    distance = np.sqrt(
        sum(((o - p) * v) ** 2 for o, p, v in zip(offsets, peak, voxel_size, strict=True))
    )
    near = (distance <= params.partner_nm) & (ids > 0)
    # Darkness near the peak counts most: that is the density itself.
    weight = np.exp(-0.5 * (distance / params.density_nm) ** 2) * (1 - aligned[box].astype(float))
    inside, which = np.unique(ids[near], return_inverse=True)
    if inside.size < 2:
        return None
    mass = np.bincount(which, weight[near])
    contact = np.bincount(which, np.exp(-distance[near] / params.density_nm))
    pre = inside[np.argmax(mass)]
    order = np.argsort(-contact, kind="stable")
    share = contact / contact.sum()
    posts = [int(inside[i]) for i in order if inside[i] != pre and share[i] >= params.least_contact]
    posts = posts[: params.most_partners]
    if not posts:
        return None
    strength = float(contrast[tuple(peak)])
    return (
        *map(int, peak),
        int(pre),
        posts[0],
        round(strength / (1 + strength), 4),
        ";".join(map(str, posts)),
        round(strength, 4),
        len(posts),
    )
