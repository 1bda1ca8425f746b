"""Greedy additive edge contraction: which regions of a graph belong together."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Contraction:
    """What was joined with what, in which order.

    Parameters
    ----------
    root : ndarray of int, shape (N,)
        For every region the region that represents what it was joined into.
    joins : ndarray of int, shape (J, 2)
        Representatives of the two sides of every join, in the order of joining.
    pull : ndarray of float, shape (J,)
        Strength of every join.
    """

    root: np.ndarray
    joins: np.ndarray
    join_weight: np.ndarray

    def join_step(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Tell at which join pairs of regions came together.

        Parameters
        ----------
        first, second : ndarray of int, shape (E,)
            Regions.

        Returns
        -------
        ndarray of int, shape (E,)
            Index of the join; -1 for pairs that stayed apart.
        """
        parent, when = self._balanced()
        a, b = first.copy(), second.copy()
        step = np.full(a.size, -1)
        # Of two, the one that was joined to its parent earlier climbs; where they meet, the
        # last join either of them passed brought them together.
        climbing = np.flatnonzero(self.root[a] == self.root[b])
        while climbing.size:
            x, y = a[climbing], b[climbing]
            lower = when[x] < when[y]
            earliest = np.where(lower, when[x], when[y])
            a[climbing] = np.where(lower, parent[x], x)
            b[climbing] = np.where(lower, y, parent[y])
            step[climbing] = earliest
            climbing = climbing[a[climbing] != b[climbing]]
        return step

    def append_joins(self, joins: np.ndarray, pull: np.ndarray) -> Contraction:
        """Add joins that were decided otherwise, after all the others.

        Parameters
        ----------
        joins : ndarray of int, shape (J, 2)
            Representatives of the two sides; the second is no side of a later join.
        pull : ndarray of float, shape (J,)
            What spoke for each.

        Returns
        -------
        Contraction
        """
        parent = np.arange(self.root.size)
        parent[joins[:, 1]] = joins[:, 0]
        return Contraction(
            _roots(parent)[self.root],
            np.concatenate([self.joins, joins]),
            np.concatenate([self.join_weight, pull]),
        )

    def _balanced(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the same joins as a forest of logarithmic height, and when each link was made."""
        n = self.root.size
        parent, size = list(range(n)), [1] * n
        when = np.full(n, len(self.joins))
        top = list(range(n))  # of the tree of each representative
        for step, (keep, drop) in enumerate(self.joins.tolist()):
            higher, lower = top[keep], top[drop]
            if size[higher] < size[lower]:
                higher, lower = lower, higher
            parent[lower] = higher
            size[higher] += size[lower]
            when[lower] = step
            top[keep] = higher
        return np.array(parent), when


def contract_edges(
    n_nodes: int,
    first: np.ndarray,
    second: np.ndarray,
    weight: np.ndarray,
    constraints: np.ndarray | None = None,
) -> Contraction:
    """Join regions in one global order, the strongest pull first, until none is left.

    Every edge pulls its two regions together (positive) or pushes them apart (negative). The
    edge with the strongest pull is contracted; parallel edges that arise add up, so that many
    weak signs against a join outweigh one for it. This is the greedy solution of the multicut
    problem of Keuper et al. 2015 (GAEC). O(E log E) time for E edges of a planar-like graph.

    Parameters
    ----------
    n_regions : int
        Regions are numbered from 0.
    first, second : ndarray of int, shape (E,)
        The two regions of each edge; pairs may repeat and then add up.
    pull : ndarray of float, shape (E,)
        Signed strength.
    anchors : ndarray of int, shape (N,), optional
        What is known of regions: those of one number are joined first, with infinite pull, and
        those of two numbers never; 0 where nothing is known.

    Returns
    -------
    Contraction
        The regions that belong together, and the joins that made it so.
    """
    constraints = np.zeros(n_nodes, int) if constraints is None else constraints
    edges = zip(*_with_known(constraints, first, second, weight), strict=True)
    neighbours: list[dict[int, float]] = [{} for _ in range(n_nodes)]
    for a, b, strength in edges:
        neighbours[a][b] = neighbours[b][a] = neighbours[a].get(b, 0.0) + strength
    queue = [
        (-strength, a, b)
        for a, around in enumerate(neighbours)
        for b, strength in around.items()
        if a < b and strength > 0
    ]
    heapq.heapify(queue)
    parent = list(range(n_nodes))
    known = constraints.tolist()
    joins, pulls = [], []
    while queue:
        strength, a, b = heapq.heappop(queue)
        # An entry is out of date when its edge has gone or has changed since it was queued.
        if neighbours[a].get(b) != -strength:
            continue
        if known[a] and known[b] and known[a] != known[b]:
            continue
        keep, drop = (a, b) if len(neighbours[a]) >= len(neighbours[b]) else (b, a)
        parent[drop] = keep
        known[keep] = known[keep] or known[drop]
        joins.append((keep, drop))
        pulls.append(-strength)
        _absorb(neighbours, keep, drop, queue)
    return Contraction(_roots(parent), np.array(joins, int).reshape(-1, 2), np.array(pulls))


def _with_known(anchors, first, second, pull) -> tuple[list, list, list]:
    """Add an edge of infinite pull from each region of a number to the next of that number."""
    order = np.argsort(anchors, kind="stable")
    order = order[np.count_nonzero(anchors == 0) :]
    same = np.flatnonzero(anchors[order[1:]] == anchors[order[:-1]])
    ends = ((first, order[same]), (second, order[same + 1]), (pull, np.full(same.size, np.inf)))
    return tuple(np.concatenate(pair).tolist() for pair in ends)


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


def _roots(parent: Sequence[int]) -> np.ndarray:
    """Follow every chain of joins to its end."""
    roots = np.array(parent)
    while np.any(roots != roots[roots]):
        roots = roots[roots]
    return roots
