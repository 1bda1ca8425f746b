"""Greedy additive edge contraction: which regions of a graph belong together."""

from __future__ import annotations

import heapq

import numpy as np


def contract(n_regions: int, first: np.ndarray, second: np.ndarray, pull: np.ndarray) -> np.ndarray:
    """Join regions in one global order, the strongest pull first, until none is left.

    Every edge pulls its two regions together (positive) or pushes them apart (negative). The
    edge with the strongest pull is contracted; parallel edges that arise add up, so that many
    weak signs against a join outweigh one for it. This is the greedy solution of the multicut
    problem of Keuper et al. 2015 (GAEC), and it needs no threshold. O(E log E) time for E edges
    of a planar-like graph.

    Parameters
    ----------
    n_regions : int
        Regions are numbered from 0.
    first, second : ndarray of int, shape (E,)
        The two regions of each edge; pairs may repeat and then add up.
    pull : ndarray of float, shape (E,)
        Signed strength.

    Returns
    -------
    ndarray of int, shape (n_regions,)
        For every region the region that represents what it was joined into.
    """
    neighbours: list[dict[int, float]] = [{} for _ in range(n_regions)]
    for a, b, strength in zip(first.tolist(), second.tolist(), pull.tolist(), strict=True):
        neighbours[a][b] = neighbours[b][a] = neighbours[a].get(b, 0.0) + strength
    queue = [
        (-strength, a, b)
        for a, around in enumerate(neighbours)
        for b, strength in around.items()
        if a < b and strength > 0
    ]
    heapq.heapify(queue)
    parent = list(range(n_regions))
    while queue:
        strength, a, b = heapq.heappop(queue)
        # An entry is out of date when its edge has gone or has changed since it was queued.
        if neighbours[a].get(b) != -strength:
            continue
        keep, drop = (a, b) if len(neighbours[a]) >= len(neighbours[b]) else (b, a)
        parent[drop] = keep
        _absorb(neighbours, keep, drop, queue)
    return _roots(parent)


def _absorb(neighbours, keep: int, drop: int, queue: list) -> None:
    """Hand the edges of one region over to another; edges to the same region add up."""
    del neighbours[keep][drop]
    for other, strength in neighbours[drop].items():
        if other == keep:
            continue
        del neighbours[other][drop]
        total = neighbours[keep].get(other, 0.0) + strength
        neighbours[keep][other] = neighbours[other][keep] = total
        if total > 0:
            heapq.heappush(queue, (-total, min(keep, other), max(keep, other)))
    neighbours[drop] = {}


def _roots(parent: list[int]) -> np.ndarray:
    """Follow every chain of joins to its end."""
    roots = np.array(parent)
    while np.any(roots != roots[roots]):
        roots = roots[roots]
    return roots
