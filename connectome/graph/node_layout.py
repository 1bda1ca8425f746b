"""Places for the nodes of a graph in the plane, in about a second for thousands of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

MAX_ALL_PAIRS = (
    300  # neurites up to which every pair repels; beyond, a mesh stands for the far ones
)
MESH_CELLS = 64
SCREENING_CELLS = 8  # cells after which a push fades, or chains would stand out like spines
N_PIVOTS = 50


def layout_graph(pre: np.ndarray, post: np.ndarray, count: int) -> np.ndarray:
    """Place the nodes of a graph in the plane: connected ones near, all apart.

    Parameters
    ----------
    pre, post : ndarray of int, shape (E,)
        Ends of the edges, as node numbers below ``count``.
    count : int
        Number of nodes.

    Returns
    -------
    ndarray of float, shape (count, 2)
        Places; neighbours lie about 1 apart. Components lie side by side, the largest first.

    Notes
    -----
    Fruchterman & Reingold (1991). Large components start from pivot distances (Brandes & Pich
    2006), and their repulsion is that of a mesh for far nodes and of the nearest ones exactly.
    The same graph always gets the same layout.
    """
    edges = np.unique(np.sort(np.stack([pre, post], axis=1), axis=1), axis=0)
    near = sparse.coo_array((np.ones(len(edges)), edges.T), (count, count)).tocsr()
    near = near + near.T
    parts, component = csgraph.connected_components(near, directed=False)
    sizes = np.bincount(component, minlength=parts)
    rng = np.random.default_rng(0)
    place = rng.normal(size=(count, 2)) * np.sqrt(sizes[component])[:, None]

    groups = [(sizes[component] <= MAX_ALL_PAIRS, False)]
    groups += [(component == part, True) for part in np.flatnonzero(sizes > MAX_ALL_PAIRS)]
    for members, large in groups:
        nodes = np.flatnonzero(members)
        within = near[nodes][:, nodes]
        if large:
            start = _pivot_places(within, rng)
            place[nodes] = _relaxed(start, within, _mesh_repulsion)
        else:
            pairs = _differences(*_pairs_within(component[nodes]), len(nodes))
            place[nodes] = _relaxed(
                place[nodes], within, lambda p, pairs=pairs: _repulsion(p, pairs)
            )
    return _packed(place, component)


def _differences(one: np.ndarray, other: np.ndarray, count: int) -> sparse.csr_array:
    """Return the matrix (pairs, count) that takes places to ``place[one] - place[other]``."""
    row = np.arange(len(one))
    return sparse.coo_array(
        (np.repeat([1.0, -1.0], len(one)), (np.tile(row, 2), np.concatenate([one, other]))),
        (len(one), count),
    ).tocsr()


def _pairs_within(component: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every pair of nodes that share a component."""
    order = np.argsort(component, kind="stable")
    ordered = component[order]
    later = np.searchsorted(ordered, ordered, side="right") - np.arange(len(order)) - 1
    first = np.repeat(np.arange(len(order)), later)
    step = np.arange(len(first)) - np.repeat(np.cumsum(later) - later, later) + 1
    return order[first], order[first + step]


def _relaxed(
    place: np.ndarray,
    near: sparse.csr_array,
    repulsion: Callable[[np.ndarray], np.ndarray],
    steps: int = 100,
) -> np.ndarray:
    """Let edges pull and nodes push, in ever smaller steps."""
    one, other = sparse.triu(near, 1).coords
    degree = np.maximum(np.diff(near.indptr), 1)
    # Edges of busy nodes pull less, or dense graphs would collapse into a ball.
    pull = 1 / np.sqrt(np.minimum(degree[one], degree[other]))
    springs = _differences(one, other, len(place))
    back = springs.T.tocsr()
    for longest in np.geomspace(0.1 * np.sqrt(len(place)) + 0.5, 0.03, steps):
        stretch = springs @ place
        stretch *= (pull * np.linalg.norm(stretch, axis=1))[:, None]
        force = repulsion(place) - back @ stretch
        size = np.linalg.norm(force, axis=1, keepdims=True)
        place = place + force * np.minimum(1, longest / np.maximum(size, 1e-9))
    return place


def _repulsion(place: np.ndarray, pairs: sparse.csr_array) -> np.ndarray:
    """Return the sum of 1 / distance pushes of the given pairs on each node."""
    apart = pairs @ place
    apart /= np.maximum((apart**2).sum(axis=1, keepdims=True), 1e-2)
    return pairs.T @ apart


def _mesh_repulsion(place: np.ndarray) -> np.ndarray:
    """Return 1 / distance pushes of all nodes on each: far ones by a mesh, near ones exactly."""
    low = place.min(axis=0)
    cell = (place.max(axis=0) - low).max() / (MESH_CELLS - 1) + 1e-9
    grid = (place - low) / cell
    nearest = np.round(grid).astype(int)
    density = np.bincount(
        nearest[:, 0] * MESH_CELLS + nearest[:, 1], minlength=MESH_CELLS * MESH_CELLS
    )
    spectrum = np.fft.rfft2(
        density.reshape(MESH_CELLS, MESH_CELLS), (2 * MESH_CELLS, 2 * MESH_CELLS)
    )
    fields = np.fft.irfft2(spectrum * _mesh_kernel(), (2 * MESH_CELLS, 2 * MESH_CELLS))[
        :, :MESH_CELLS, :MESH_CELLS
    ]
    far = np.stack([ndimage.map_coordinates(field, grid.T, order=1) for field in fields], axis=1)

    _, mates = cKDTree(place).query(place, k=9)
    apart = place[:, None] - place[mates[:, 1:]]
    apart /= np.maximum((apart**2).sum(axis=2, keepdims=True), 1e-2)
    return far / cell + apart.sum(axis=1)


@cache
def _mesh_kernel() -> np.ndarray:
    """Return the spectrum (2, 2·MESH, MESH + 1) of a 1 / distance push, in cells."""
    lag = np.fft.fftfreq(2 * MESH_CELLS, 1 / (2 * MESH_CELLS))
    rows, columns = np.meshgrid(lag, lag, indexing="ij")
    distance = np.maximum(np.hypot(rows, columns), 1)
    return np.fft.rfft2(
        np.stack([rows, columns]) / distance**2 * np.exp(-distance / SCREENING_CELLS)
    )


def _pivot_places(near: sparse.csr_array, rng: np.random.Generator) -> np.ndarray:
    """Return first places from graph distances to a few pivots, their principal components."""
    count = near.shape[0]
    pivots = rng.choice(count, min(N_PIVOTS, count), replace=False)
    distance = csgraph.dijkstra(near, unweighted=True, indices=pivots).T ** 2
    distance -= distance.mean(axis=0)
    distance -= distance.mean(axis=1, keepdims=True)
    _, axes = np.linalg.eigh(distance.T @ distance)
    place = distance @ axes[:, -2:]
    # In a star all leaves but the pivots coincide: few far outliers, the rest to be shaken apart.
    place = np.clip(place / np.maximum(place.std(axis=0), 1e-9), -2.5, 2.5)
    return np.sqrt(count) * (0.5 * place + 0.1 * rng.normal(size=place.shape))


def _packed(place: np.ndarray, component: np.ndarray) -> np.ndarray:
    """Turn each component's longest axis level and set them in rows, tallest first."""
    place = place.copy()
    members = np.split(np.argsort(component, kind="stable"), np.cumsum(np.bincount(component))[:-1])
    for nodes in members:
        centred = _drawn_in(place[nodes] - place[nodes].mean(axis=0))
        _, axes = np.linalg.eigh(centred.T @ centred)
        place[nodes] = centred @ axes[:, ::-1]
        place[nodes] -= place[nodes].min(axis=0)
    boxes = np.array([place[nodes].max(axis=0) for nodes in members]) + 1.2
    side = max(boxes[:, 0].max(), np.sqrt(np.prod(boxes, axis=1).sum()))
    corners = min(
        (_shelved(boxes, limit) for limit in side * np.linspace(1.0, 1.6, 7)),
        key=lambda corners: (corners + boxes).max(),
    )
    return place + corners[component]


def _drawn_in(place: np.ndarray) -> np.ndarray:
    """Bring far outliers of a component nearer, or they would shrink all the rest in print."""
    far = np.linalg.norm(place, axis=1)
    usual = max(float(np.percentile(far, 85)), 1e-9)
    return (
        place
        * np.where(far > usual, (usual + 0.4 * (far - usual)) / np.maximum(far, usual), 1)[:, None]
    )


def _shelved(boxes: np.ndarray, limit: float) -> np.ndarray:
    """Return the corners (N, 2) of boxes set in rows no wider than ``limit``, tallest first."""
    corners = np.zeros_like(boxes)
    shelf, left, top = [], 0.0, 0.0
    for box in np.lexsort((-boxes[:, 0], -boxes[:, 1])):
        if shelf and left + boxes[box, 0] > limit:
            corners[shelf, 0] += (limit - left) / 2
            shelf, left, top = [], 0.0, top + boxes[shelf[0], 1]
        corners[box] = left, top
        shelf.append(box)
        left += boxes[box, 0]
    corners[shelf, 0] += (limit - left) / 2
    return corners
