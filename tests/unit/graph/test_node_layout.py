"""Layout of nodes: apart, near their partners, components side by side."""

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from connectome.graph.node_layout import layout_graph


def random_edges(n_nodes, edges, seed=0):
    rng = np.random.default_rng(seed)
    weight = rng.pareto(1.5, n_nodes) + 0.2
    pre, post = rng.choice(n_nodes, edges, p=weight / weight.sum()), rng.integers(0, n_nodes, edges)
    return pre[pre != post], post[pre != post]


def star(leaves):
    return np.zeros(leaves, int), np.arange(1, leaves + 1)


@pytest.mark.parametrize("n_nodes, edges", [(20, 44), (280, 700), (2000, 3200)])
def test_partners_are_nearer_than_unconnected_nodes(n_nodes, edges):
    pre, post = random_edges(n_nodes, edges)
    position = layout_graph(pre, post, n_nodes)
    others = np.random.default_rng(1).integers(0, n_nodes, (2, 2000))

    def median_distance(one, other):
        return np.median(np.linalg.norm(position[one] - position[other], axis=1))

    assert median_distance(pre, post) < 0.7 * median_distance(*others)


@pytest.mark.parametrize(
    "pre, post, n_nodes",
    [(*random_edges(300, 500), 300), (*random_edges(1500, 2500), 1500), (*star(600), 601)],
    ids=["small", "large", "star"],
)
def test_no_two_neurites_coincide(pre, post, n_nodes):
    distance, _ = cKDTree(layout_graph(pre, post, n_nodes)).query(
        layout_graph(pre, post, n_nodes), k=2
    )
    assert np.isfinite(distance).all()
    assert distance[:, 1].min() > 0.02
    assert np.median(distance[:, 1]) > 0.2


def test_components_do_not_overlap():
    pre, post = random_edges(400, 260, seed=3)
    position = layout_graph(pre, post, 400)
    _, component = connected_components(
        coo_array((np.ones(len(pre)), (pre, post)), (400, 400)), directed=False
    )
    parts = [position[component == part] for part in np.unique(component)]
    low, high = (np.array([edge(part, axis=0) for part in parts]) for edge in (np.min, np.max))
    apart = ((low[:, None] >= high) | (low >= high[:, None])).any(axis=2)
    assert apart[~np.eye(len(parts), dtype=bool)].all()


def test_outliers_do_not_shrink_the_rest():
    pre, post = random_edges(300, 900)
    tail = np.arange(299, 340)  # a long chain attached to the graph
    position = layout_graph(np.append(pre, tail[:-1]), np.append(post, tail[1:]), 340)
    radius = np.linalg.norm(position - np.median(position, axis=0), axis=1)
    assert radius.max() < 6 * np.median(radius)


def test_the_same_graph_gets_the_same_layout():
    pre, post = random_edges(700, 1200)
    np.testing.assert_array_equal(layout_graph(pre, post, 700), layout_graph(pre, post, 700))


def test_nodes_without_edges_have_distinct_positions():
    none = np.empty(0, int)
    assert len(np.unique(layout_graph(none, none, 30), axis=0)) == 30
    assert layout_graph(none, none, 1).shape == (1, 2)
