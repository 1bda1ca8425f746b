"""Colours for neurites such that neighbours differ (greedy graph colouring)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

NEIGHBOUR_DISTANCE_NM = 60.0  # profiles nearer than this, membranes included, are neighbours

Labels = NDArray[np.integer[Any]]


def colour_orthogonal_planes(
    labels: Labels, z: int, voxel_size: tuple[float, float, float], n_colours: int
) -> list[NDArray[np.intp]]:
    """Colour a section and the two planes across the middle of the stack.

    All figures that show these planes use this function, so that their colours agree.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids.
    z : int
        The section.
    voxel_size : tuple of float
        (z, y, x) in nm.
    n_colours : int
        Number of colours.

    Returns
    -------
    list of three ndarray of int
        As for `colour_neurites`: the section (Y, X), then the planes (Z, X) and (Z, Y).
    """
    _, ny, nx = labels.shape
    planes = [labels[z], labels[:, ny // 2], labels[:, :, nx // 2]]
    return colour_neurites(planes, voxel_size, n_colours)


def colour_neurites(
    planes: Sequence[Labels], voxel_size: tuple[float, float, float], n_colours: int
) -> list[NDArray[np.intp]]:
    """Assign one colour to each neurite such that neighbours in any of the planes differ.

    Parameters
    ----------
    planes : sequence of ndarray of int
        A section (Y, X) and, optionally, the planes (Z, X) and (Z, Y).
    voxel_size : tuple of float
        (z, y, x) in nm.
    n_colours : int
        Number of colours.

    Returns
    -------
    list of ndarray of int
        Number of the colour, below ``n_colours``, of each pixel of each plane; -1 where the id is
        0.
    """
    ids, index = np.unique(np.concatenate([plane.ravel() for plane in planes]), return_inverse=True)
    ends = np.cumsum([plane.size for plane in planes])[:-1]
    indexed = [
        part.reshape(plane.shape) for part, plane in zip(np.split(index, ends), planes, strict=True)
    ]
    dz, dy, dx = voxel_size
    pixel_sizes = ((dy, dx), (dz, dx), (dz, dy))
    pairs = np.concatenate(
        [
            _find_neighbours(plane, row_nm, column_nm)
            for plane, (row_nm, column_nm) in zip(indexed, pixel_sizes, strict=False)
        ]
    )
    pairs = pairs[np.all(ids[pairs] != 0, axis=1)]
    colours = colour_graph(ids, pairs, n_colours)
    colours[ids == 0] = -1
    return [colours[plane] for plane in indexed]


def colour_graph(ids: Labels, pairs: NDArray[np.integer[Any]], n_colours: int) -> NDArray[np.intp]:
    """Assign a colour to each id that its neighbours, as far as possible, do not have.

    Greedy, ids with most neighbours first. The order of preference among the colours depends on the
    id, so that a neurite tends to keep its colour from figure to figure. If the neighbours have all
    colours, the one that they use least is taken.

    Parameters
    ----------
    ids : ndarray of int, shape (N,)
        Neurite ids.
    pairs : ndarray of int, shape (M, 2)
        Neighbours, each pair once, as indices into ``ids``.
    n_colours : int
        Number of colours.

    Returns
    -------
    ndarray of int, shape (N,)
        Numbers of colours, below ``n_colours``.
    """
    neighbours = sparse.coo_array(
        (np.ones(2 * len(pairs)), np.concatenate([pairs, pairs[:, ::-1]]).T), (len(ids), len(ids))
    ).tocsr()
    colours = np.full(len(ids), -1)
    for i in np.argsort(-np.diff(neighbours.indptr), kind="stable"):
        nearby = colours[neighbours.indices[neighbours.indptr[i] : neighbours.indptr[i + 1]]]
        n_uses = np.bincount(nearby[nearby >= 0], minlength=n_colours)
        preference = (ids[i] + np.arange(n_colours)) % n_colours
        colours[i] = preference[np.argmin(n_uses[preference])]
    return colours


def _find_neighbours(plane: NDArray[np.intp], row_nm: float, column_nm: float) -> NDArray[np.int64]:
    """Return the distinct pairs (N, 2) of values within `NEIGHBOUR_DISTANCE_NM` of each other."""
    keys = [np.empty(0, dtype=np.int64)]
    for oriented, pixel_nm in ((plane, row_nm), (plane.T, column_nm)):
        reach = min(max(1, round(NEIGHBOUR_DISTANCE_NM / pixel_nm)), len(oriented) - 1)
        # Four distances suffice, because no profile is thinner than a quarter of the reach.
        for step in np.unique(np.linspace(1, reach, 4).astype(int)) if reach else ():
            one, other = oriented[:-step], oriented[step:]
            differ = one != other
            low, high = np.minimum(one, other)[differ], np.maximum(one, other)[differ]
            keys.append(np.unique(low.astype(np.int64) << 32 | high))
    distinct = np.unique(np.concatenate(keys))
    return np.stack([distinct >> 32, distinct & 0xFFFFFFFF], axis=1)
