"""Recognise mitochondria by their brightness, and assign each to the neurite that contains it.

Mitochondria are dark inside and have membranes of their own. The brightness of cytoplasm is nearly
constant along a neurite and differs between neurites.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

# Neurite probability above which a voxel is interior; a voxel below 1 minus it is membrane.
INTERIOR_PROBABILITY = 0.7
MIN_INTERIOR_VOXELS = 20  # in a supervoxel, for its brightness to be measured
SUBSAMPLING = 7  # voxels per voxel used to estimate the brightness of membrane and cytoplasm


@dataclass(frozen=True, eq=False)
class Brightness:
    """Mean brightness of the interior of supervoxels.

    Parameters
    ----------
    level : ndarray of float, shape (P,)
        Brightness of every supervoxel, where 0 is the median of membrane and 1 that of interior
        voxels; NaN where too few voxels are interior.
    n_voxels : ndarray of int, shape (P,)
        Interior voxels of every supervoxel.
    """

    level: np.ndarray
    n_voxels: np.ndarray

    @classmethod
    def unknown(cls, n_supervoxels: int) -> Brightness:
        """Return the brightness of supervoxels of which nothing is known."""
        return cls(np.full(n_supervoxels, np.nan), np.zeros(n_supervoxels, int))

    def difference(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the absolute difference of pairs of supervoxels; 0 where either is unknown."""
        return np.nan_to_num(np.abs(self.level[first] - self.level[second]))

    def find_dark(self, max_level: float, min_voxels: float) -> np.ndarray:
        """Find supervoxels at most this bright with at least so many interior voxels.

        Returns
        -------
        ndarray of bool, shape (P,)
        """
        return (self.level <= max_level) & (self.n_voxels >= min_voxels)


def measure_brightness(
    supervoxels: np.ndarray, em: np.ndarray, probability: np.ndarray, n_supervoxels: int
) -> Brightness:
    """Measure the brightness of supervoxels in their interior. Takes O(V) time for V voxels.

    Parameters
    ----------
    supervoxels : ndarray of int, shape (Z, Y, X)
        Supervoxel ids below ``n_supervoxels``; 0 is background.
    em : ndarray of float, shape (Z, Y, X)
        Preprocessed EM, with the same contrast in all sections.
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability.
    n_supervoxels : int
        One more than the largest possible id.

    Returns
    -------
    Brightness
        Unknown if no membrane or no interior is found, or membranes are not the darker ones.
    """
    interior = (probability > INTERIOR_PROBABILITY) & (supervoxels > 0)
    values, ids = em[interior], supervoxels[interior]
    membrane_values = em[(probability < 1 - INTERIOR_PROBABILITY) & (supervoxels > 0)]
    n_voxels = np.bincount(ids, minlength=n_supervoxels)
    if not (values.size and membrane_values.size):
        return Brightness.unknown(n_supervoxels)
    membrane, cytoplasm = (np.median(each[::SUBSAMPLING]) for each in (membrane_values, values))
    if membrane >= cytoplasm:
        return Brightness.unknown(n_supervoxels)
    mean = np.bincount(ids, values, minlength=n_supervoxels) / np.maximum(n_voxels, 1)
    level = (mean - membrane) / (cytoplasm - membrane)
    return Brightness(np.where(n_voxels >= MIN_INTERIOR_VOXELS, level, np.nan), n_voxels)


def assign_mitochondria(
    is_mitochondrion: np.ndarray,
    root: np.ndarray,
    *,
    first: np.ndarray,
    second: np.ndarray,
    weight: np.ndarray,
    min_fraction: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Assign each mitochondrion to a neurite, after all other supervoxels have been joined.

    The membranes of a mitochondrion and of its neurite often cannot be told apart where they
    touch, and neurites would be merged across it. Mitochondria are therefore joined last and join
    no neurites (delayed agglomeration; Parag et al. 2015). Each is assigned to the neurite that has
    the largest fraction of its contact weight, the clearest case first; from then on, its contacts
    to other mitochondria count for that neurite. Takes O(E log E) time for E contacts.

    Parameters
    ----------
    is_mitochondrion : ndarray of bool, shape (P,)
        Supervoxels to assign.
    root : ndarray of int, shape (P,)
        For every other supervoxel, the representative of the neurite it belongs to.
    first, second : ndarray of int, shape (E,)
        Supervoxels in contact.
    weight : ndarray of float, shape (E,)
        Weight of every contact, not negative.
    min_fraction : float
        Smallest fraction of a mitochondrion's total contact weight for an assignment.

    Returns
    -------
    joins : ndarray of int, shape (J, 2)
        Representative of a neurite and mitochondrion, in the order of assignment.
    fraction : ndarray of float, shape (J,)
        Fraction of the contact weight of each assigned mitochondrion that its neurite has.
    """
    to_neurites, to_mitochondria = _contact_weights(is_mitochondrion, root, first, second, weight)
    total = {
        supervoxel: sum(to_neurites[supervoxel].values())
        + sum(contact_weight for _, contact_weight in to_mitochondria[supervoxel])
        for supervoxel in to_neurites
    }
    queue: list[tuple[float, int, int]] = []

    def enqueue(supervoxel: int) -> None:
        if weights := to_neurites[supervoxel]:
            neurite = max(weights, key=weights.__getitem__)
            fraction = weights[neurite] / total[supervoxel]
            heapq.heappush(queue, (-fraction, supervoxel, neurite))

    for supervoxel in to_neurites:
        enqueue(supervoxel)
    joins, fractions = [], []
    while queue and -queue[0][0] >= min_fraction:
        negative_fraction, supervoxel, neurite = heapq.heappop(queue)
        # Weights only grow, so the first entry of a supervoxel to come up is the current one.
        if supervoxel not in to_neurites:
            continue
        del to_neurites[supervoxel]
        joins.append((neurite, supervoxel))
        fractions.append(-negative_fraction)
        for other, contact_weight in to_mitochondria[supervoxel]:
            if other in to_neurites:
                weights = to_neurites[other]
                weights[neurite] = weights.get(neurite, 0.0) + contact_weight
                enqueue(other)
    return np.array(joins, int).reshape(-1, 2), np.array(fractions)


def _contact_weights(
    is_mitochondrion: np.ndarray,
    root: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    weight: np.ndarray,
) -> tuple[dict[int, dict[int, float]], dict[int, list[tuple[int, float]]]]:
    """Sum up the contact weight of every mitochondrion to each neurite; list the other contacts.

    Returns
    -------
    to_neurites : dict
        Weight by neurite, for every mitochondrion.
    to_mitochondria : dict
        Mitochondrion and weight of every contact with another one, for every mitochondrion.
    """
    to_neurites: dict[int, dict[int, float]] = {
        supervoxel: {} for supervoxel in np.flatnonzero(is_mitochondrion).tolist()
    }
    to_mitochondria: dict[int, list[tuple[int, float]]] = {
        supervoxel: [] for supervoxel in to_neurites
    }
    here, there = np.concatenate([first, second]), np.concatenate([second, first])
    both = np.tile(weight, 2)
    counts = is_mitochondrion[here] & (both > 0)
    contacts = zip(here[counts].tolist(), there[counts].tolist(), both[counts], strict=True)
    for supervoxel, other, contact_weight in contacts:
        if is_mitochondrion[other]:
            to_mitochondria[supervoxel].append((other, contact_weight))
        else:
            neurite, weights = int(root[other]), to_neurites[supervoxel]
            weights[neurite] = weights.get(neurite, 0.0) + contact_weight
    return to_neurites, to_mitochondria
