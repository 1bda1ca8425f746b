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
from connectome.progress import Progress, map_stacks, silent
from connectome.volume import in_plane_px

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
    (difference of Gaussians, Marr & Hildreth 1980), in standard deviations over all boundaries of
    this stack. Local maxima near a boundary, one per synapse and not one per section, are the
    candidates. O(V) time in voxels V.

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
    measure = _boundary_distance(voxel_size)
    distance = map_stacks(measure, labels, threads=threads, progress=progress)
    at_boundary = distance <= params.max_boundary_nm
    at_boundary[list(damaged)] = False
    contrast[~at_boundary] = 0
    # What a synapse must stand out from is what boundaries without one look like.
    spread = contrast[at_boundary].std() if at_boundary.any() else 0
    if spread > 0:
        contrast /= spread
    peaks = _peaks(contrast, voxel_size, params)
    rows = [_candidate(peak, contrast, aligned, labels, voxel_size, params) for peak in peaks]
    table = pd.DataFrame([row for row in rows if row], columns=COLUMNS)
    return table.sort_values(
        ["score", "z", "y", "x"], ascending=[False, True, True, True]
    ).reset_index(drop=True)


def _blob_contrast(aligned, tissue, voxel_size, damaged, params, threads) -> np.ndarray:
    """Contrast of a dark blob of the size of a density, centred on each voxel."""

    def one(section, inside):
        if not inside.any():
            return np.zeros(section.shape, np.float32)
        values = section[inside].astype(np.float32)
        middle = np.median(values)
        spread = 1.4826 * np.median(np.abs(values - middle)) + 1e-6
        image = np.where(inside, (section - middle) / spread, 0).astype(np.float32)
        inner, outer = (
            ndimage.gaussian_filter(image, in_plane_px(sigma, voxel_size))
            for sigma in (params.density_nm, params.surround_nm)
        )
        return outer - inner

    stack = map_stacks(one, aligned, tissue, threads=threads)
    stack[list(damaged)] = 0  # a fold must not darken the sections beside it
    # Over sections a density reaches as far as it does within one, and no surround is needed.
    return ndimage.gaussian_filter1d(stack, params.depth_nm / voxel_size[0], axis=0)


def _boundary_distance(voxel_size):
    """Return a function that measures, in nm, how far each pixel is from another neurite."""

    def one(section):
        boundary = np.zeros(section.shape, bool)
        for axis in (0, 1):
            rows, edge = np.moveaxis(section, axis, 0), np.moveaxis(boundary, axis, 0)
            differ = (rows[:-1] != rows[1:]) & (rows[:-1] > 0) & (rows[1:] > 0)
            edge[:-1] |= differ
            edge[1:] |= differ
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
    """Row of the table for one density, or None where there are no two neurites."""
    pre, posts = _partners(peak, aligned, labels, voxel_size, params)
    if not posts:
        return None
    strength = float(contrast[tuple(peak)])
    score = 1 - params.least_contrast / strength
    listed = ";".join(map(str, posts))
    return (*map(int, peak), pre, posts[0], round(score, 4), listed, round(strength, 4), len(posts))


def _partners(peak, aligned, labels, voxel_size, params) -> tuple[int, list[int]]:
    """Presynaptic id and the postsynaptic ones, most contact first."""
    reach = [int(params.partner_nm // length) for length in voxel_size]
    box = tuple(slice(max(0, p - r), p + r + 1) for p, r in zip(peak, reach, strict=True))
    ids = labels[box]
    axes = [
        (np.arange(s.start, s.start + n) - p) * length
        for s, n, p, length in zip(box, ids.shape, peak, voxel_size, strict=True)
    ]
    distance = np.sqrt(sum(offset**2 for offset in np.ix_(*axes)))
    near = (distance <= params.partner_nm) & (ids > 0)
    inside, which = np.unique(ids[near], return_inverse=True)
    # The density itself: dark, and close to the peak.
    closeness = np.exp(-0.5 * (distance[near] / params.density_nm) ** 2)
    density = np.bincount(which, closeness * (1 - aligned[box][near].astype(float)))
    contact = np.bincount(which, np.exp(-distance[near] / params.density_nm))
    pre = int(inside[np.argmax(density)])
    contact[inside == pre] = 0
    enough = contact >= params.least_contact * contact.sum()
    order = np.argsort(-contact, kind="stable")
    posts = [int(inside[i]) for i in order if enough[i] and inside[i] != pre]
    return pre, posts[: params.most_partners]
