"""Lay out the nodes of a graph in the plane, in about a second for thousands of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

MAX_ALL_PAIRS = 300  # nodes; larger components approximate the repulsion of far nodes by a mesh
MESH = 64  # cells along each side of the mesh
SCREENING_CELLS = 8  # range of the repulsion; unscreened, chains would stick out like spines
N_PIVOTS = 50


def layout_graph(pre: np.ndarray, post: np.ndarray, n_nodes: int) -> np.ndarray:
    """Lay out the nodes of a graph in the plane, with connected nodes close to each other.

    Parameters
    ----------
    pre, post : ndarray of int, shape (E,)
        Ends of the edges, as node numbers below ``n_nodes``.
    n_nodes : int
        Number of nodes.

    Returns
    -------
    ndarray of float, shape (n_nodes, 2)
        Positions; neighbours are about 1 apart. Components are side by side, the largest first.

    Notes
    -----
    Force-directed (Fruchterman & Reingold 1991). Large components start from pivot distances
    (Brandes & Pich 2006); their repulsion is exact for the nearest nodes and computed on a mesh
    for the others. The same graph always gets the same layout.
    """
    edges = np.unique(np.sort(np.stack([pre, post], axis=1), axis=1), axis=0)
    adjacency = sparse.coo_array((np.ones(len(edges)), edges.T), (n_nodes, n_nodes)).tocsr()
    adjacency = adjacency + adjacency.T
    n_components, component = csgraph.connected_components(adjacency, directed=False)
    sizes = np.bincount(component, minlength=n_components)
    rng = np.random.default_rng(0)
    position = rng.normal(size=(n_nodes, 2)) * np.sqrt(sizes[component])[:, None]

    small = np.flatnonzero(sizes[component] <= MAX_ALL_PAIRS)
    pairs = _difference_matrix(*_pairs_within(component[small]), len(small))
    position[small] = _relax(
        position[small], adjacency[small][:, small], lambda p: _pairwise_repulsion(p, pairs)
    )
    for large in np.flatnonzero(sizes > MAX_ALL_PAIRS):
        nodes = np.flatnonzero(component == large)
        within = adjacency[nodes][:, nodes]
        position[nodes] = _relax(_pivot_positions(within, rng), within, _mesh_repulsion)
    return _pack_components(position, component)


def _difference_matrix(one: np.ndarray, other: np.ndarray, n_nodes: int) -> sparse.csr_array:
    """Return the matrix (pairs, n_nodes) that gives ``position[one] - position[other]``."""
    row = np.arange(len(one))
    return sparse.coo_array(
        (np.repeat([1.0, -1.0], len(one)), (np.tile(row, 2), np.concatenate([one, other]))),
        (len(one), n_nodes),
    ).tocsr()


def _pairs_within(component: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every pair of nodes that share a component."""
    order = np.argsort(component, kind="stable")
    ordered = component[order]
    later = np.searchsorted(ordered, ordered, side="right") - np.arange(len(order)) - 1
    first = np.repeat(np.arange(len(order)), later)
    step = np.arange(len(first)) - np.repeat(np.cumsum(later) - later, later) + 1
    return order[first], order[first + step]


def _relax(
    position: np.ndarray,
    adjacency: sparse.csr_array,
    repulsion: Callable[[np.ndarray], np.ndarray],
    steps: int = 100,
) -> np.ndarray:
    """Move nodes along the attraction of edges and the repulsion of nodes, in shrinking steps."""
    one, other = sparse.triu(adjacency, 1).coords
    degree = np.maximum(np.diff(adjacency.indptr), 1)
    # Edges of nodes with many neighbours attract less, or dense graphs would collapse.
    stiffness = 1 / np.sqrt(np.minimum(degree[one], degree[other]))
    springs = _difference_matrix(one, other, len(position))
    springs_t = springs.T.tocsr()
    for max_step in np.geomspace(0.1 * np.sqrt(len(position)) + 0.5, 0.03, steps):
        stretch = springs @ position
        stretch *= (stiffness * np.linalg.norm(stretch, axis=1))[:, None]
        force = repulsion(position) - springs_t @ stretch
        size = np.linalg.norm(force, axis=1, keepdims=True)
        position = position + force * np.minimum(1, max_step / np.maximum(size, 1e-9))
    return position


def _pairwise_repulsion(position: np.ndarray, pairs: sparse.csr_array) -> np.ndarray:
    """Return the sum of 1 / distance repulsions of the given pairs on each node."""
    offset = pairs @ position
    offset /= np.maximum((offset**2).sum(axis=1, keepdims=True), 1e-2)
    return pairs.T @ offset


def _mesh_repulsion(position: np.ndarray) -> np.ndarray:
    """Return the 1 / distance repulsion of all nodes: on a mesh, and exact for the nearest."""
    low = position.min(axis=0)
    cell = (position.max(axis=0) - low).max() / (MESH - 1) + 1e-9
    grid = (position - low) / cell
    nearest = np.round(grid).astype(int)
    density = np.bincount(nearest[:, 0] * MESH + nearest[:, 1], minlength=MESH * MESH)
    spectrum = np.fft.rfft2(density.reshape(MESH, MESH), (2 * MESH, 2 * MESH))
    fields = np.fft.irfft2(spectrum * _mesh_kernel(), (2 * MESH, 2 * MESH))[:, :MESH, :MESH]
    far = np.stack([ndimage.map_coordinates(field, grid.T, order=1) for field in fields], axis=1)

    _, neighbours = cKDTree(position).query(position, k=9)
    offset = position[:, None] - position[neighbours[:, 1:]]
    offset /= np.maximum((offset**2).sum(axis=2, keepdims=True), 1e-2)
    return far / cell + offset.sum(axis=1)


@cache
def _mesh_kernel() -> np.ndarray:
    """Return the spectrum (2, 2·MESH, MESH + 1) of a screened 1 / distance repulsion, in cells."""
    lag = np.fft.fftfreq(2 * MESH, 1 / (2 * MESH))
    rows, columns = np.meshgrid(lag, lag, indexing="ij")
    distance = np.maximum(np.hypot(rows, columns), 1)
    screened = np.exp(-distance / SCREENING_CELLS)
    return np.fft.rfft2(np.stack([rows, columns]) / distance**2 * screened)


def _pivot_positions(adjacency: sparse.csr_array, rng: np.random.Generator) -> np.ndarray:
    """Return initial positions: principal components of graph distances to a few pivots."""
    n_nodes = adjacency.shape[0]
    pivots = rng.choice(n_nodes, min(N_PIVOTS, n_nodes), replace=False)
    distance = csgraph.dijkstra(adjacency, unweighted=True, indices=pivots).T ** 2
    distance -= distance.mean(axis=0)
    distance -= distance.mean(axis=1, keepdims=True)
    _, axes = np.linalg.eigh(distance.T @ distance)
    position = distance @ axes[:, -2:]
    # In a star all leaves except the pivots coincide: clip the outliers, and add noise.
    position = np.clip(position / np.maximum(position.std(axis=0), 1e-9), -2.5, 2.5)
    return np.sqrt(n_nodes) * (0.5 * position + 0.1 * rng.normal(size=position.shape))


def _pack_components(position: np.ndarray, component: np.ndarray) -> np.ndarray:
    """Align the longest axis of each component with x, and set them in rows, tallest first."""
    position = position.copy()
    members = np.split(np.argsort(component, kind="stable"), np.cumsum(np.bincount(component))[:-1])
    for nodes in members:
        centred = _pull_in_outliers(position[nodes] - position[nodes].mean(axis=0))
        _, axes = np.linalg.eigh(centred.T @ centred)
        position[nodes] = centred @ axes[:, ::-1]
        position[nodes] -= position[nodes].min(axis=0)
    boxes = np.array([position[nodes].max(axis=0) for nodes in members]) + 1.2
    side = max(boxes[:, 0].max(), np.sqrt(np.prod(boxes, axis=1).sum()))
    corners = min(
        (_pack_boxes(boxes, width) for width in side * np.linspace(1.0, 1.6, 7)),
        key=lambda corners: (corners + boxes).max(),
    )
    return position + corners[component]


def _pull_in_outliers(position: np.ndarray) -> np.ndarray:
    """Move far outliers of a component inwards, or all the rest would be small in print."""
    radius = np.linalg.norm(position, axis=1)
    usual = max(float(np.percentile(radius, 85)), 1e-9)
    shrunk = (usual + 0.4 * (radius - usual)) / np.maximum(radius, usual)
    return position * np.where(radius > usual, shrunk, 1)[:, None]


def _pack_boxes(boxes: np.ndarray, width: float) -> np.ndarray:
    """Return the corners (N, 2) of boxes in centred rows of at most ``width``, tallest first."""
    corners = np.zeros_like(boxes)
    row: list[int] = []
    left, top = 0.0, 0.0
    for box in np.lexsort((-boxes[:, 0], -boxes[:, 1])).tolist():
        if row and left + boxes[box, 0] > width:
            corners[row, 0] += (width - left) / 2
            row, left, top = [], 0.0, top + boxes[row[0], 1]
        corners[box] = left, top
        row.append(box)
        left += boxes[box, 0]
    corners[row, 0] += (width - left) / 2
    return corners
