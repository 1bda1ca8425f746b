"""Edge contraction, against the obvious way to do it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from connectome.stitch.gaec import contract_edges


def partition(roots):
    """Return the components as a set of sets of nodes."""
    return {frozenset(np.flatnonzero(roots == root).tolist()) for root in set(roots.tolist())}


def contract_slowly(n_nodes, edges):
    """Join the two components with the largest summed weight until none is positive.

    Return the components, and for every join its two sides and their weight.
    """
    groups, joins = [frozenset([node]) for node in range(n_nodes)], []
    while True:
        weights = {
            (a, b): sum(w for i, j, w in edges if (i in a and j in b) or (i in b and j in a))
            for k, a in enumerate(groups)
            for b in groups[k + 1 :]
        }
        best = max(weights, key=weights.get, default=None)
        if best is None or weights[best] <= 0:
            return set(groups), joins
        joins.append((set(best), weights[best]))
        groups = [group for group in groups if group not in best] + [best[0] | best[1]]


@st.composite
def graphs(draw):
    n_nodes = draw(st.integers(1, 8))
    pairs = [(i, j) for i in range(n_nodes) for j in range(i)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    # Powers of two add up without ties, so that there is one right order of joins.
    sizes = draw(st.permutations(range(len(chosen))))
    signs = draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=len(chosen), max_size=len(chosen)))
    edges = zip(chosen, sizes, signs, strict=True)
    return n_nodes, [(i, j, sign * 2.0**size) for (i, j), size, sign in edges]


def contract(n_nodes, edges):
    first, second, weight = np.array(edges).reshape(-1, 3).T
    return contract_edges(n_nodes, first.astype(int), second.astype(int), weight)


@given(graphs())
def test_joins_are_those_of_the_obvious_method(graph):
    result = contract(*graph)
    groups, joins = contract_slowly(*graph)
    assert partition(result.root) == groups
    assert result.join_weight.tolist() == [weight for _, weight in joins]
    members = [frozenset([node]) for node in range(graph[0])]
    for (keep, drop), (sides, _) in zip(result.joins.tolist(), joins, strict=True):
        assert {members[keep], members[drop]} == sides
        members[keep] |= members[drop]


@given(graphs())
def test_the_join_step_of_a_pair_is_the_first_join_that_connects_it(graph):
    n_nodes, _ = graph
    result = contract(*graph)
    members = [{node} for node in range(n_nodes)]
    expected = np.full((n_nodes, n_nodes), -1)
    for step, (keep, drop) in enumerate(result.joins.tolist()):
        for a in members[keep]:
            for b in members[drop]:
                expected[a, b] = expected[b, a] = step
        members[keep] |= members[drop]
    first, second = np.nonzero(~np.eye(n_nodes, dtype=bool))
    assert np.array_equal(result.join_step(first, second), expected[first, second])


def test_parallel_edges_add_up():
    first, second = np.array([0, 1, 0]), np.array([1, 0, 1])
    apart = contract_edges(2, first, second, np.array([2.0, -1.5, -1.0]))
    assert partition(apart.root) == {frozenset([0]), frozenset([1])}
    assert apart.joins.shape == (0, 2) and apart.join_step(first, second).tolist() == [-1, -1, -1]
    together = contract_edges(2, first, second, np.array([2.0, -1.5, 0.0]))
    assert partition(together.root) == {frozenset([0, 1])}
    assert together.join_weight.tolist() == [0.5]


def test_many_repulsive_edges_outweigh_one_attractive_edge():
    # 0 and 1 are joined first; the sum of their edges to 2 is repulsive.
    first, second = np.array([0, 0, 1]), np.array([1, 2, 2])
    result = contract_edges(3, first, second, np.array([5.0, -2.0, 1.0]))
    assert partition(result.root) == {frozenset([0, 1]), frozenset([2])}
    assert result.join_step(first, second).tolist() == [0, -1, -1]


def test_nodes_without_edges_are_not_joined():
    empty = np.array([], int)
    result = contract_edges(3, empty, empty, empty.astype(float))
    assert result.root.tolist() == [0, 1, 2]
    assert result.join_step(empty, empty).size == 0


def test_a_long_chain_is_followed_to_its_end():
    nodes = np.arange(5000)
    result = contract_edges(5001, nodes, nodes + 1, 1.0 + nodes % 7)
    assert len(set(result.root.tolist())) == 1 and len(result.joins) == 5000
    assert np.array_equal(np.sort(result.join_step(nodes, nodes + 1)), nodes)


def test_appended_joins_come_last():
    result = contract_edges(5, np.array([0, 2]), np.array([1, 3]), np.array([2.0, 1.0]))
    inner, outer = result.root[2], result.root[0]
    more = result.append_joins(np.array([[inner, 4], [outer, inner]]), np.array([0.0, 0.5]))
    assert len(partition(more.root)) == 1 and more.join_weight.tolist() == [2.0, 1.0, 0.0, 0.5]
    first, second = np.array([0, 2, 3, 4, 1]), np.array([1, 3, 4, 0, 3])
    assert more.join_step(first, second).tolist() == [0, 1, 2, 3, 3]
    # The original contraction is unchanged.
    assert len(partition(result.root)) == 3


@given(graphs(), st.data())
def test_constraints_hold(graph, data):
    n_nodes, edges = graph
    constraints = data.draw(st.lists(st.integers(0, 3), min_size=n_nodes, max_size=n_nodes))
    first, second, weight = np.array(edges).reshape(-1, 3).T
    result = contract_edges(
        n_nodes, first.astype(int), second.astype(int), weight, np.array(constraints)
    )
    for group in partition(result.root):
        assert len({constraints[node] for node in group} - {0}) <= 1
    for number in set(constraints) - {0}:
        members = [node for node in range(n_nodes) if constraints[node] == number]
        assert len({result.root[node] for node in members}) == 1


def test_empty_constraints_change_nothing():
    edges = [(0, 1, 2.0), (1, 2, -1.0), (0, 2, 0.5)]
    first, second, weight = np.array(edges).T
    first, second = first.astype(int), second.astype(int)
    without = contract_edges(3, first, second, weight)
    with_zeros = contract_edges(3, first, second, weight, np.zeros(3, int))
    assert without.root.tolist() == with_zeros.root.tolist()
    assert without.join_weight.tolist() == with_zeros.join_weight.tolist()
