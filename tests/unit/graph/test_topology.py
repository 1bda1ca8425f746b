"""Topology compared with networkx, and of random graphs and worms with the literature."""

from collections import Counter

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networkx.algorithms.triads import TRIAD_NAMES

from connectome.figures.distributions import CONNECTED_TRIADS as DRAWN_TRIADS
from connectome.graph.formats import read_graph
from connectome.graph.null_models import rewire
from connectome.graph.topology import CONNECTED_TRIADS, measure_topology


@st.composite
def graphs(draw):
    n = draw(st.integers(1, 12))
    density = draw(st.sampled_from([0.05, 0.2, 0.5, 0.9]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return from_matrix(rng.random((n, n)) < density, rng)


def from_matrix(adjacency, rng):
    graph = nx.DiGraph()
    graph.add_nodes_from(map(str, range(len(adjacency))))
    for pre, post in np.argwhere(adjacency).tolist():
        graph.add_edge(str(pre), str(post), n_synapses=int(rng.integers(1, 9)))
    return graph


def measured(graph, n_random=0, column="value"):
    return measure_topology(graph, n_random).table.set_index(["group", "measure"])[column]


@given(graphs())
def test_measures_agree_with_networkx(graph):
    found = measure_topology(graph, 0)
    value = found.table.set_index(["group", "measure"]).value
    loops = list(nx.selfloop_edges(graph))
    assert value["size", "connections with itself"] == len(loops)
    graph.remove_edges_from(loops)
    plain = graph.to_undirected()
    assert value["size", "density"] == pytest.approx(nx.density(graph))
    assert value["reciprocity", "share of connections"] == pytest.approx(
        nx.reciprocity(graph) if graph.edges else 0
    )
    assert value["clustering", "mean local"] == pytest.approx(nx.average_clustering(plain))
    assert value["clustering", "transitivity"] == pytest.approx(nx.transitivity(plain))
    assert value["triads"].to_dict() == nx.triadic_census(graph)
    club = found.rich_club.set_index("degree").coefficient
    expected = nx.rich_club_coefficient(plain, normalized=False) if len(plain) > 3 else {}
    assert {k: club[k] for k in expected} == pytest.approx(expected)


@given(graphs())
def test_undirected_measures_agree_with_networkx(graph):
    plain = graph.to_undirected()
    found = measure_topology(plain, 2)
    value = found.table.set_index(["group", "measure"]).value
    plain.remove_edges_from(list(nx.selfloop_edges(plain)))
    assert value["size", "connections"] == plain.number_of_edges()
    assert value["size", "synapses"] == plain.size(weight="n_synapses")
    assert value["size", "density"] == pytest.approx(nx.density(plain))
    largest = max(map(len, nx.connected_components(plain)))
    assert value["size", "largest component, weak"] == largest
    assert value["clustering", "mean local"] == pytest.approx(nx.average_clustering(plain))
    assert value["clustering", "transitivity"] == pytest.approx(nx.transitivity(plain))
    for side in ("in_degree", "out_degree"):
        assert found.distributions[side].tolist() == [d for _, d in plain.degree()]
    each = sorted(n for *_, n in plain.edges(data="n_synapses"))
    assert sorted(found.distributions["synapses_per_connection"]) == each


def test_directed_measures_are_missing_for_undirected_graphs():
    graph = nx.karate_club_graph()
    nx.set_edge_attributes(graph, 1, "n_synapses")
    table = measure_topology(graph, 5).table.set_index(["group", "measure"])
    directed_only = [("size", "largest component, strong"), ("reciprocity", "share of connections")]
    directed_only += [("triads", name) for name in TRIAD_NAMES]
    assert table.loc[directed_only].isna().all(axis=None)
    assert table["value"].drop(directed_only).notna().all()


@given(graphs())
def test_degrees_and_synapses_agree_with_networkx(graph):
    found = measure_topology(graph, 0).distributions
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))
    assert found["in_degree"].tolist() == [d for _, d in graph.in_degree()]
    assert found["out_degree"].tolist() == [d for _, d in graph.out_degree()]
    assert found["in_synapses"].tolist() == [d for _, d in graph.in_degree(weight="n_synapses")]
    assert found["out_synapses"].tolist() == [d for _, d in graph.out_degree(weight="n_synapses")]
    assert sum(found["synapses_per_connection"]) == graph.size(weight="n_synapses")


def test_the_figure_and_the_table_order_triads_alike():
    assert tuple(DRAWN_TRIADS) == CONNECTED_TRIADS
    assert all(nx.is_weakly_connected(nx.triad_graph(name)) for name in CONNECTED_TRIADS)
    assert len(CONNECTED_TRIADS) == len(TRIAD_NAMES) - 3


def test_a_hub_with_fifty_thousand_partners_is_fast():
    star = nx.DiGraph(((0, i) for i in range(1, 50_001)), n_synapses=1)
    nx.set_edge_attributes(star, 1, "n_synapses")
    value = measured(star)
    assert value["triads", "021D"] == 50_000 * 49_999 // 2
    assert value["clustering", "transitivity"] == 0


# --- random graphs ------------------------------------------------------------------------------


@given(graphs(), st.booleans(), st.integers(0, 99))
def test_random_graphs_preserve_degrees(graph, keep_reciprocal, seed):
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))
    pre, post = np.array([(int(a), int(b)) for a, b in graph.edges], int).reshape(-1, 2).T
    rng = np.random.default_rng(seed)
    new = nx.DiGraph()
    new.add_nodes_from(map(int, graph))
    edges = np.transpose(
        rewire(pre, post, len(graph), rng, keep_reciprocal=keep_reciprocal)
    ).tolist()
    new.add_edges_from(edges)
    assert new.number_of_edges() == graph.number_of_edges() == len(edges)
    assert nx.number_of_selfloops(new) == 0
    assert [d for _, d in new.in_degree()] == [d for _, d in graph.in_degree()]
    assert [d for _, d in new.out_degree()] == [d for _, d in graph.out_degree()]
    if keep_reciprocal:
        assert reciprocated(new) == reciprocated(graph)


def reciprocated(graph):
    return [sum(graph.has_edge(post, node) for post in graph[node]) for node in graph]


@pytest.mark.parametrize(
    ("keep_reciprocal", "pre", "post", "possible"),
    [
        (False, [0, 2, 4], [1, 3, 5], 6),  # any source with any target
        # Three ways to pair four nodes, times two for the one-way connections.
        (True, [0, 1, 2, 3, 4, 6], [1, 0, 3, 2, 5, 7], 6),
    ],
)
def test_random_graphs_are_uniformly_distributed(keep_reciprocal, pre, post, possible):
    rng = np.random.default_rng(1)
    seen = Counter()
    for _ in range(600):
        edges = rewire(np.array(pre), np.array(post), 8, rng, keep_reciprocal=keep_reciprocal)
        seen[tuple(sorted(map(tuple, np.transpose(edges).tolist())))] += 1
    chi2 = sum((n - 600 / possible) ** 2 / (600 / possible) for n in seen.values())
    assert len(seen) == possible
    # The mean of chi2 is the number of graphs minus one, its variance twice that.
    assert chi2 < possible - 1 + 4 * np.sqrt(2 * (possible - 1))


def test_random_graphs_depend_on_the_seed_only():
    graph = from_matrix(np.random.default_rng(3).random((30, 30)) < 0.2, np.random.default_rng(4))
    first, again, other = (measure_topology(graph, 5, seed).table for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)


def test_planted_feed_forward_loops_stand_out():
    rng = np.random.default_rng(0)
    adjacency = rng.random((60, 60)) < 0.02
    for a, b, c in (rng.choice(60, 3, replace=False) for _ in range(40)):
        adjacency[a, b] = adjacency[b, c] = adjacency[a, c] = True
    z = measured(from_matrix(adjacency, rng), 50, "z")["triads"]
    assert z["030T"] > 3
    assert z["030C"] < 2


def test_a_planted_rich_club_is_found():
    rng = np.random.default_rng(0)
    adjacency = rng.random((200, 200)) < 0.01
    adjacency[:12] |= rng.random((12, 200)) < 0.15
    plain = measure_topology(from_matrix(adjacency, rng), 30)
    adjacency[:12, :12] |= np.triu(np.ones((12, 12), bool), 1)
    rich = measure_topology(from_matrix(adjacency, rng), 30)
    assert set(rich.rich_club_members) == set(map(str, range(12)))
    assert not plain.rich_club_members


def test_a_random_graph_does_not_differ_from_random_graphs():
    rng = np.random.default_rng(7)
    z = measured(from_matrix(rng.random((80, 80)) < 0.06, rng), 60, "z")
    assert abs(z["reciprocity", "share of connections"]) < 3
    assert abs(z["clustering", "transitivity"]) < 3
    assert abs(z["triads", "030T"]) < 3


def test_without_random_graphs_there_are_no_z_scores():
    found = measure_topology(nx.DiGraph([("a", "b", {"n_synapses": 1})]), 0)
    assert found.table[["random", "z"]].isna().all().all()
    assert found.rich_club_members == ()


# --- real worms ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worms(shared_data):
    folder = shared_data / "celegans_connectomes"
    return {
        path.stem: measure_topology(read_graph(path), 40)
        for path in sorted(folder.glob("dataset*.csv"))
    }


def values_of(worm, column="value"):
    return worm.table.set_index(["group", "measure"])[column]


def test_real_worms_agree_with_the_literature(worms):
    for worm in worms.values():
        value, z = values_of(worm), values_of(worm, "z")
        # Watts & Strogatz (1998): clustering 0.28, five times chance; Varshney et al. (2011):
        # many reciprocal connections; sparse: 2,194 connections of 279 neurons.
        assert 0.2 < value["clustering", "mean local"] < 0.32
        assert z["clustering", "mean local"] > 10
        assert z["reciprocity", "share of connections"] > 10
        assert 0.02 < value["size", "density"] < 0.06
        # Milo et al. (2002), Reigl et al. (2004), Qian et al. (2011): feed-forward loops
        # are frequent, cycles rare.
        assert z["triads", "030T"] > 10
        assert z["triads", "030C"] < 0
        # Towlson et al. (2013): rich club.
        assert value["rich_club", "normalised coefficient"] > 1.1
        assert z["rich_club", "normalised coefficient"] > 2
        assert len(worm.rich_club_members) >= 10


def test_growth_agrees_with_witvliet_and_others(worms):
    young, adult = values_of(worms["dataset2"]), values_of(worms["dataset8"])
    # Witvliet et al. (2021): synapses are added to existing connections, and make new ones.
    assert adult["size", "synapses"] == 7901
    assert young["size", "synapses"] == 1861
    assert adult["size", "density"] > young["size", "density"]
    measure = ("synapses_per_connection", "mean")
    assert adult[measure] == pytest.approx(7901 / 2149)
    assert adult[measure] > 1.5 * young[measure]
    assert {"AIBL", "AIBR", "AVAL", "AVEL", "RIAL", "RIAR"} <= set(
        worms["dataset8"].rich_club_members
    )
