"""Colours for neurites such that neighbours never look like one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

NEIGHBOUR_DISTANCE_NM = 60.0  # profiles nearer than this, membrane and all, get different colours


def colour_orthogonal_planes(
    labels: np.ndarray, z: int, voxel_size: tuple[float, float, float], count: int
) -> list[np.ndarray]:
    """Colour the three planes through a section's middle, alike for all figures that show them.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids.
    z : int
        The section.
    voxel_size, count
        As `colour_neurites` takes them.

    Returns
    -------
    list of three ndarray of int
        As `colour_neurites` returns: the section (Y, X), then the planes (Z, X) and (Z, Y) through
        the middle.
    """
    _, ny, nx = labels.shape
    planes = [labels[z], labels[:, ny // 2], labels[:, :, nx // 2]]
    return colour_neurites(planes, voxel_size, count)


def colour_neurites(
    planes: Sequence[np.ndarray], voxel_size: tuple[float, float, float], count: int
) -> list[np.ndarray]:
    """Give each neurite one colour such that near neighbours in any of the planes differ.

    Parameters
    ----------
    planes : sequence of ndarray of int
        The section (Y, X) and, if any, the planes across sections (Z, X) and (Z, Y).
    voxel_size : tuple of float
        (z, y, x) in nm.
    count : int
        Colours there are.

    Returns
    -------
    list of ndarray of int
        Number of the colour, below ``count``, of each pixel of each plane; -1 where the id is 0.

    Notes
    -----
    Greedy, those with most neighbours first. An id starts from its own preferred colour, so
    that a neurite tends to keep its colour from figure to figure. Should all colours be taken,
    the one least used around the neurite is.
    """
    ids, index = np.unique(np.concatenate([plane.ravel() for plane in planes]), return_inverse=True)
    ends = np.cumsum([plane.size for plane in planes])[:-1]
    planes = [
        part.reshape(plane.shape) for part, plane in zip(np.split(index, ends), planes, strict=True)
    ]
    dz, dy, dx = voxel_size
    pixels = ((dy, dx), (dz, dx), (dz, dy))
    pairs = np.concatenate(
        [_near_pairs(plane, *nm) for plane, nm in zip(planes, pixels, strict=False)]
    )
    pairs = pairs[np.all(ids[pairs] != 0, axis=1)]
    colour = colour_graph(ids, pairs, count)
    colour[ids == 0] = -1
    return [colour[plane] for plane in planes]


def colour_graph(ids: np.ndarray, pairs: np.ndarray, count: int) -> np.ndarray:
    """Give each id a colour that its neighbours, as far as possible, do not have.

    Parameters
    ----------
    ids : ndarray of int, shape (N,)
        Neurites.
    pairs : ndarray of int, shape (M, 2)
        Neighbours, each pair once, as places in ``ids``.
    count : int
        Colours there are.

    Returns
    -------
    ndarray of int, shape (N,)
        Numbers of colours below ``count``.
    """
    near = sparse.coo_array(
        (np.ones(2 * len(pairs)), np.concatenate([pairs, pairs[:, ::-1]]).T), (len(ids), len(ids))
    ).tocsr()
    colour = np.full(len(ids), -1)
    for i in np.argsort(-np.diff(near.indptr), kind="stable"):
        around = colour[near.indices[near.indptr[i] : near.indptr[i + 1]]]
        used = np.bincount(around[around >= 0], minlength=count)
        preferred = (ids[i] + np.arange(count)) % count
        colour[i] = preferred[np.argmin(used[preferred])]
    return colour


def _near_pairs(plane: np.ndarray, row_nm: float, column_nm: float) -> np.ndarray:
    """Return the distinct pairs (N, 2) of values within `NEIGHBOUR_DISTANCE_NM` of each other."""
    keys = [np.empty(0, dtype=np.int64)]
    for turned, pixel_nm in ((plane, row_nm), (plane.T, column_nm)):
        reach = min(max(1, round(NEIGHBOUR_DISTANCE_NM / pixel_nm)), len(turned) - 1)
        # A few distances suffice: no profile is thinner than a quarter of the reach.
        for step in np.unique(np.linspace(1, reach, 4).astype(int)) if reach else ():
            one, other = turned[:-step], turned[step:]
            differ = one != other
            low, high = np.minimum(one, other)[differ], np.maximum(one, other)[differ]
            keys.append(np.unique(low.astype(np.int64) << 32 | high))
    pairs = np.unique(np.concatenate(keys))
    return np.stack([pairs >> 32, pairs & 0xFFFFFFFF], axis=1)
