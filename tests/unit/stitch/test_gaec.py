"""Joining the regions of a graph, against the obvious way to do it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from connectome.stitch.gaec import contract_edges


def partition(roots):
    """Groups of regions, as a set of sets."""
    return {frozenset(np.flatnonzero(roots == root).tolist()) for root in set(roots.tolist())}


def slow_contract(n_regions, edges):
    """Join the pair of groups with the largest summed pull, until none is positive.

    Return the groups, and for every join its two sides and their pull.
    """
    groups, joins = [frozenset([region]) for region in range(n_regions)], []
    while True:
        pulls = {
            (a, b): sum(w for i, j, w in edges if (i in a and j in b) or (i in b and j in a))
            for k, a in enumerate(groups)
            for b in groups[k + 1 :]
        }
        best = max(pulls, key=pulls.get, default=None)
        if best is None or pulls[best] <= 0:
            return set(groups), joins
        joins.append((set(best), pulls[best]))
        groups = [group for group in groups if group not in best] + [best[0] | best[1]]


@st.composite
def graphs(draw):
    n_regions = draw(st.integers(1, 8))
    pairs = [(i, j) for i in range(n_regions) for j in range(i)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    # Powers of two add up without ties, so that there is one right order of joins.
    sizes = draw(st.permutations(range(len(chosen))))
    signs = draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=len(chosen), max_size=len(chosen)))
    edges = zip(chosen, sizes, signs, strict=True)
    return n_regions, [(i, j, sign * 2.0**size) for (i, j), size, sign in edges]


def contracted(n_regions, edges):
    first, second, pull = np.array(edges).reshape(-1, 3).T
    return contract_edges(n_regions, first.astype(int), second.astype(int), pull)


@given(graphs())
def test_joins_are_those_of_the_obvious_method(graph):
    found = contracted(*graph)
    groups, joins = slow_contract(*graph)
    assert partition(found.root) == groups
    assert found.join_weight.tolist() == [pull for _, pull in joins]
    members = [frozenset([region]) for region in range(graph[0])]
    for (keep, drop), (sides, _) in zip(found.joins.tolist(), joins, strict=True):
        assert {members[keep], members[drop]} == sides
        members[keep] |= members[drop]


@given(graphs())
def test_pairs_came_together_at_the_join_that_first_united_them(graph):
    n_regions, _ = graph
    found = contracted(*graph)
    members = [{region} for region in range(n_regions)]
    expected = np.full((n_regions, n_regions), -1)
    for step, (keep, drop) in enumerate(found.joins.tolist()):
        for a in members[keep]:
            for b in members[drop]:
                expected[a, b] = expected[b, a] = step
        members[keep] |= members[drop]
    first, second = np.nonzero(~np.eye(n_regions, dtype=bool))
    assert np.array_equal(found.join_step(first, second), expected[first, second])


def test_parallel_edges_add_up():
    first, second = np.array([0, 1, 0]), np.array([1, 0, 1])
    apart = contract_edges(2, first, second, np.array([2.0, -1.5, -1.0]))
    assert partition(apart.root) == {frozenset([0]), frozenset([1])}
    assert apart.joins.shape == (0, 2) and apart.join_step(first, second).tolist() == [-1, -1, -1]
    together = contract_edges(2, first, second, np.array([2.0, -1.5, 0.0]))
    assert partition(together.root) == {frozenset([0, 1])}
    assert together.join_weight.tolist() == [0.5]


def test_many_weak_signs_against_outweigh_one_for():
    # 0 and 1 are joined first; together they are pushed from 2 by more than 2 is pulled to 1.
    first, second = np.array([0, 0, 1]), np.array([1, 2, 2])
    found = contract_edges(3, first, second, np.array([5.0, -2.0, 1.0]))
    assert partition(found.root) == {frozenset([0, 1]), frozenset([2])}
    assert found.join_step(first, second).tolist() == [0, -1, -1]


def test_regions_without_edges_stay_by_themselves():
    empty = np.array([], int)
    found = contract_edges(3, empty, empty, empty.astype(float))
    assert found.root.tolist() == [0, 1, 2]
    assert found.join_step(empty, empty).size == 0


def test_a_long_chain_is_followed_to_its_end():
    regions = np.arange(5000)
    found = contract_edges(5001, regions, regions + 1, 1.0 + regions % 7)
    assert len(set(found.root.tolist())) == 1 and len(found.joins) == 5000
    assert np.array_equal(np.sort(found.join_step(regions, regions + 1)), regions)


def test_joins_decided_otherwise_come_last():
    found = contract_edges(5, np.array([0, 2]), np.array([1, 3]), np.array([2.0, 1.0]))
    inner, outer = found.root[2], found.root[0]
    more = found.append_joins(np.array([[inner, 4], [outer, inner]]), np.array([0.0, 0.5]))
    assert len(partition(more.root)) == 1 and more.join_weight.tolist() == [2.0, 1.0, 0.0, 0.5]
    first, second = np.array([0, 2, 3, 4, 1]), np.array([1, 3, 4, 0, 3])
    assert more.join_step(first, second).tolist() == [0, 1, 2, 3, 3]
    # What was found before stays as it was.
    assert len(partition(found.root)) == 3


@given(graphs(), st.data())
def test_what_is_known_of_regions_holds(graph, data):
    n_regions, edges = graph
    known = data.draw(st.lists(st.integers(0, 3), min_size=n_regions, max_size=n_regions))
    first, second, pull = np.array(edges).reshape(-1, 3).T
    found = contract_edges(n_regions, first.astype(int), second.astype(int), pull, np.array(known))
    for group in partition(found.root):
        assert len({known[region] for region in group} - {0}) <= 1
    for number in set(known) - {0}:
        of_it = [region for region in range(n_regions) if known[region] == number]
        assert len({found.root[region] for region in of_it}) == 1


def test_knowing_nothing_changes_nothing():
    edges = [(0, 1, 2.0), (1, 2, -1.0), (0, 2, 0.5)]
    first, second, pull = np.array(edges).T
    first, second = first.astype(int), second.astype(int)
    without = contract_edges(3, first, second, pull)
    with_zeros = contract_edges(3, first, second, pull, np.zeros(3, int))
    assert without.root.tolist() == with_zeros.root.tolist()
    assert without.join_weight.tolist() == with_zeros.join_weight.tolist()
