"""Mitochondria, which are dark inside and have membranes of their own; and what tells them apart.

The brightness of cytoplasm is much the same all along a neurite, and differs between neurites.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

INTERIOR_PROBABILITY = (
    0.7  # neurite probability above which a voxel lies well inside; 1 less it, on a membrane
)
MIN_INTERIOR_VOXELS = 20  # voxels inside a piece that tell how bright it is
SUBSAMPLING = 7  # voxels between those that tell how bright membranes and most cytoplasm are


@dataclass(frozen=True, eq=False)
class Brightness:
    """How bright pieces are inside.

    Parameters
    ----------
    level : ndarray of float, shape (P,)
        For every piece number, from 0 for as dark as membranes to 1 for as bright as most
        cytoplasm; NaN where too little is seen of it.
    inside : ndarray of int, shape (P,)
        Voxels that tell.
    """

    level: np.ndarray
    inside: np.ndarray

    @classmethod
    def unknown(cls, n_pieces: int) -> Brightness:
        """Return what is known of pieces of which nothing is seen."""
        return cls(np.full(n_pieces, np.nan), np.zeros(n_pieces, int))

    def difference(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Tell how far two pieces are from equally bright; 0 where either is unknown."""
        return np.nan_to_num(np.abs(self.level[first] - self.level[second]))

    def dark(self, most: float, voxels: float) -> np.ndarray:
        """Mark pieces up to a level of which at least so many voxels are seen, as (P,)."""
        return (self.level <= most) & (self.inside >= voxels)


def measure_brightness(
    supervoxels: np.ndarray, em: np.ndarray, probability: np.ndarray, n_supervoxels: int
) -> Brightness:
    """Measure how bright pieces are well inside. O(V) time.

    Parameters
    ----------
    pieces : ndarray of int, shape (Z, Y, X)
        Piece numbers below ``n_pieces``; 0 is no piece.
    em : ndarray of float, shape (Z, Y, X)
        Preprocessed EM: the same brightness means the same everywhere.
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability.
    n_pieces : int
        One more than the highest number there may be.

    Returns
    -------
    Brightness
    """
    inside = (probability > INTERIOR_PROBABILITY) & (supervoxels > 0)
    bright, numbers = em[inside], supervoxels[inside]
    membranes = em[(probability < 1 - INTERIOR_PROBABILITY) & (supervoxels > 0)]
    count = np.bincount(numbers, minlength=n_supervoxels)
    if not (bright.size and membranes.size):
        return Brightness.unknown(n_supervoxels)
    darkest, usual = (np.median(some[::SUBSAMPLING]) for some in (membranes, bright))
    if darkest >= usual:
        return Brightness.unknown(n_supervoxels)
    mean = np.bincount(numbers, bright, minlength=n_supervoxels) / np.maximum(count, 1)
    return Brightness(
        np.where(count >= MIN_INTERIOR_VOXELS, (mean - darkest) / (usual - darkest), np.nan), count
    )


def assign_mitochondria(
    dark: np.ndarray, root: np.ndarray, pairs: np.ndarray, weight: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Find the neurite that each dark piece lies in, once the others have been joined.

    Where a mitochondrion touches the membrane of its neurite, the two of them often look like none,
    and across it neurites would be joined. So mitochondria join last, and join no others (delayed
    agglomeration, Parag et al. 2015): each goes to the neurite that its contacts speak for most.
    The clearest goes first, and speaks then for its neurite among the dark pieces it touches.
    O(E log E) time for E contacts.

    Parameters
    ----------
    dark : ndarray of bool, shape (P,)
        The pieces to place.
    root : ndarray of int, shape (P,)
        For every other piece the one that represents what it was joined into.
    pairs : ndarray of int, shape (2, E)
        Pieces in contact.
    weight : ndarray of float, shape (E,)
        How much each contact speaks for joining its pieces; not negative.
    least : float
        Share of all that speaks for any neighbour of a piece that must speak for one neurite.

    Returns
    -------
    joins : ndarray of int, shape (J, 2)
        The representative of a neurite and the dark piece it takes in, in the order of joining.
    share : ndarray of float, shape (J,)
        What share spoke for each.
    """
    speaks, beside = _spoken_for(dark, root, pairs, weight)
    all_of_it = {
        piece: sum(speaks[piece].values()) + sum(speaking for _, speaking in beside[piece])
        for piece in speaks
    }
    queue = []

    def look(piece):
        if speaks[piece]:
            neurite = max(speaks[piece], key=speaks[piece].get)
            heapq.heappush(queue, (-speaks[piece][neurite] / all_of_it[piece], piece, neurite))

    for piece in speaks:
        look(piece)
    joins, shares = [], []
    while queue and -queue[0][0] >= least:
        share, piece, neurite = heapq.heappop(queue)
        # What speaks for a neurite only grows, so the first entry of a piece is the valid one.
        if piece not in speaks:
            continue
        del speaks[piece]
        joins.append((neurite, piece))
        shares.append(-share)
        for other, speaking in beside[piece]:
            if other in speaks:
                speaks[other][neurite] = speaks[other].get(neurite, 0.0) + speaking
                look(other)
    return np.array(joins, int).reshape(-1, 2), np.array(shares)


def _spoken_for(dark, root, pairs, weight) -> tuple[dict, dict]:
    """Tell what speaks for which neurite, and for which dark neighbours, of every dark piece."""
    speaks = {piece: {} for piece in np.flatnonzero(dark).tolist()}
    beside = {piece: [] for piece in speaks}
    either_way = np.concatenate([pairs, pairs[::-1]], axis=1)
    told = np.tile(weight, 2)
    placed = dark[either_way[0]] & (told > 0)
    for piece, other, speaking in zip(*either_way[:, placed].tolist(), told[placed], strict=True):
        if dark[other]:
            beside[piece].append((other, speaking))
        else:
            neurite = int(root[other])
            speaks[piece][neurite] = speaks[piece].get(neurite, 0.0) + speaking
    return speaks, beside
