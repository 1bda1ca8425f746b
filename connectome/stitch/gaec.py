"""Greedy additive edge contraction with must-link and cannot-link constraints."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Contraction:
    """Connected components of a graph, and the joins that produced them.

    Parameters
    ----------
    root : ndarray of int, shape (N,)
        Representative node of the component that each node belongs to.
    joins : ndarray of int, shape (J, 2)
        Representatives of the two components joined, in the order of joining. The first
        represents both from then on.
    join_weight : ndarray of float, shape (J,)
        Sum of the edge weights between the two components at the time of the join.
    """

    root: np.ndarray
    joins: np.ndarray
    join_weight: np.ndarray

    def join_step(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Find the join that brought each of several pairs of nodes together.

        Parameters
        ----------
        first, second : ndarray of int, shape (E,)
            Nodes.

        Returns
        -------
        ndarray of int, shape (E,)
            Index of the join; -1 for pairs in different components.
        """
        parent, step_of_link = self._balanced_forest()
        a, b = first.copy(), second.copy()
        step = np.full(a.size, -1)
        # The node whose link to its parent is older moves up. Where the two paths meet, the last
        # link followed is the join that connected them.
        climbing = np.flatnonzero(self.root[a] == self.root[b])
        while climbing.size:
            x, y = a[climbing], b[climbing]
            x_is_older = step_of_link[x] < step_of_link[y]
            step[climbing] = np.where(x_is_older, step_of_link[x], step_of_link[y])
            a[climbing] = np.where(x_is_older, parent[x], x)
            b[climbing] = np.where(x_is_older, y, parent[y])
            climbing = climbing[a[climbing] != b[climbing]]
        return step

    def append_joins(self, joins: np.ndarray, join_weight: np.ndarray | None = None) -> Contraction:
        """Add joins that were decided by other means, after all present ones.

        Parameters
        ----------
        joins : ndarray of int, shape (J, 2)
            Representatives of the two sides. The second must not take part in a later join.
        join_weight : ndarray of float, shape (J,), optional
            Weight of each join; 0 by default.

        Returns
        -------
        Contraction
        """
        if join_weight is None:
            join_weight = np.zeros(len(joins))
        parent = np.arange(self.root.size)
        parent[joins[:, 1]] = joins[:, 0]
        return Contraction(
            root=_resolve_roots(parent)[self.root],
            joins=np.concatenate([self.joins, joins]),
            join_weight=np.concatenate([self.join_weight, join_weight]),
        )

    def _balanced_forest(self) -> tuple[np.ndarray, np.ndarray]:
        """Replay the joins as a forest of logarithmic height (union by size).

        Returns
        -------
        parent, step_of_link : ndarray of int, shape (N,)
            Parent of every node, and the join that linked the two; a root has itself as its
            parent, and the number of all joins.
        """
        n = self.root.size
        parent, size = list(range(n)), [1] * n
        step_of_link = np.full(n, len(self.joins))
        tree_root = list(range(n))  # root of the tree that holds each representative
        for step, (keep, drop) in enumerate(self.joins.tolist()):
            higher, lower = tree_root[keep], tree_root[drop]
            if size[higher] < size[lower]:
                higher, lower = lower, higher
            parent[lower] = higher
            size[higher] += size[lower]
            step_of_link[lower] = step
            tree_root[keep] = higher
        return np.array(parent), step_of_link


def contract_edges(
    n_nodes: int,
    first: np.ndarray,
    second: np.ndarray,
    weight: np.ndarray,
    constraints: np.ndarray | None = None,
) -> Contraction:
    """Contract the edges of a graph in order of their weight until no positive one is left.

    Greedy additive edge contraction (GAEC), the heuristic of Keuper et al. (2015) for the multicut
    problem. An edge of positive weight is attractive, one of negative weight repulsive. The edge
    of the largest weight is contracted; parallel edges that result are replaced by one with the
    sum of their weights, so that many weak repulsive edges outweigh one attractive edge. Takes
    O(E log E) time for E edges of a planar-like graph.

    Parameters
    ----------
    n_nodes : int
        Number of nodes, which are numbered from 0.
    first, second : ndarray of int, shape (E,)
        End nodes of each edge. Pairs may repeat; their weights are added.
    weight : ndarray of float, shape (E,)
        Signed edge weights.
    constraints : ndarray of int, shape (N,), optional
        Group of every node. Nodes of the same group are linked first, with infinite weight
        (must-link); nodes of different groups are never linked (cannot-link). Nodes of group 0
        are unconstrained.

    Returns
    -------
    Contraction
    """
    if constraints is None:
        constraints = np.zeros(n_nodes, int)
    linked, linked_to = _must_links(constraints)
    neighbours = _adjacency(
        n_nodes,
        np.concatenate([first, linked]),
        np.concatenate([second, linked_to]),
        np.concatenate([weight, np.full(linked.size, np.inf)]),
    )
    queue = [
        (-edge_weight, a, b)
        for a, edges in enumerate(neighbours)
        for b, edge_weight in edges.items()
        if a < b and edge_weight > 0
    ]
    heapq.heapify(queue)
    parent = list(range(n_nodes))
    group = constraints.tolist()
    joins, join_weight = [], []
    while queue:
        negative_weight, a, b = heapq.heappop(queue)
        # An entry is out of date if its edge was contracted or has changed since it was queued.
        if neighbours[a].get(b) != -negative_weight:
            continue
        if group[a] and group[b] and group[a] != group[b]:
            continue
        keep, drop = (a, b) if len(neighbours[a]) >= len(neighbours[b]) else (b, a)
        parent[drop] = keep
        group[keep] = group[keep] or group[drop]
        joins.append((keep, drop))
        join_weight.append(-negative_weight)
        _merge_edges(neighbours, keep, drop, queue)
    return Contraction(
        root=_resolve_roots(parent),
        joins=np.array(joins, int).reshape(-1, 2),
        join_weight=np.array(join_weight),
    )


def _must_links(constraints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chain the nodes of each group: return the two ends of every link."""
    order = np.argsort(constraints, kind="stable")
    order = order[np.count_nonzero(constraints == 0) :]
    same_group = np.flatnonzero(constraints[order[1:]] == constraints[order[:-1]])
    return order[same_group], order[same_group + 1]


def _adjacency(
    n_nodes: int, first: np.ndarray, second: np.ndarray, weight: np.ndarray
) -> list[dict[int, float]]:
    """Return the weight of the edge to each neighbour of every node; repeated pairs add up."""
    neighbours: list[dict[int, float]] = [{} for _ in range(n_nodes)]
    for a, b, edge_weight in zip(first.tolist(), second.tolist(), weight.tolist(), strict=True):
        neighbours[a][b] = neighbours[b][a] = neighbours[a].get(b, 0.0) + edge_weight
    return neighbours


def _merge_edges(
    neighbours: list[dict[int, float]],
    keep: int,
    drop: int,
    queue: list[tuple[float, int, int]],
) -> None:
    """Move the edges of node ``drop`` to ``keep``, adding up parallel ones; queue the new ones."""
    del neighbours[keep][drop]
    for other, edge_weight in neighbours[drop].items():
        if other == keep:
            continue
        del neighbours[other][drop]
        total = neighbours[keep].get(other, 0.0) + edge_weight
        neighbours[keep][other] = neighbours[other][keep] = total
        if total > 0:
            heapq.heappush(queue, (-total, min(keep, other), max(keep, other)))
    neighbours[drop] = {}


def _resolve_roots(parent: Sequence[int] | np.ndarray) -> np.ndarray:
    """Follow the chain of parents of every node to its end."""
    roots = np.array(parent)
    while np.any(roots != roots[roots]):
        roots = roots[roots]
    return roots
