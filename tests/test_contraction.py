import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from connectome.contraction import contract


def partition(roots):
    """Groups of regions, as a set of sets."""
    return {frozenset(np.flatnonzero(roots == root).tolist()) for root in set(roots.tolist())}


def slow_contract(n_regions, edges):
    """Join the pair of groups with the largest summed pull, until none is positive."""
    groups = [frozenset([region]) for region in range(n_regions)]
    while True:
        pulls = {
            (a, b): sum(w for i, j, w in edges if (i in a and j in b) or (i in b and j in a))
            for k, a in enumerate(groups)
            for b in groups[k + 1 :]
        }
        best = max(pulls, key=pulls.get, default=None)
        if best is None or pulls[best] <= 0:
            return set(groups)
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


@given(graphs())
def test_joins_are_those_of_the_obvious_method(graph):
    n_regions, edges = graph
    first, second, pull = np.array(edges).reshape(-1, 3).T
    roots = contract(n_regions, first.astype(int), second.astype(int), pull)
    assert partition(roots) == slow_contract(n_regions, edges)


def test_parallel_edges_add_up():
    first, second = np.array([0, 1, 0]), np.array([1, 0, 1])
    assert partition(contract(2, first, second, np.array([2.0, -1.5, -1.0]))) == {
        frozenset([0]),
        frozenset([1]),
    }
    assert partition(contract(2, first, second, np.array([2.0, -1.5, 0.0]))) == {frozenset([0, 1])}


def test_many_weak_signs_against_outweigh_one_for():
    # 0 and 1 are joined first; together they are pushed from 2 by more than 2 is pulled to 1.
    first, second = np.array([0, 0, 1]), np.array([1, 2, 2])
    roots = contract(3, first, second, np.array([5.0, -2.0, 1.0]))
    assert partition(roots) == {frozenset([0, 1]), frozenset([2])}


def test_regions_without_edges_stay_by_themselves():
    empty = np.array([], int)
    assert contract(3, empty, empty, empty.astype(float)).tolist() == [0, 1, 2]


def test_a_long_chain_is_followed_to_its_end():
    regions = np.arange(5000)
    roots = contract(5001, regions, regions + 1, 1.0 + regions % 7)
    assert len(set(roots.tolist())) == 1
