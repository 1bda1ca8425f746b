"""The wiring graph of small tables whose sums are done by hand."""

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome.graph import EDGE_COLUMNS, NODE_COLUMNS, build_graph, edge_table, node_table
from connectome.params import GraphParams

# 1 talks to 2 twice and once to 2 and 3 together; 3 talks back to 1.
SYNAPSES = pd.DataFrame(
    [(1, "2", 0.5), (1, "2", 0.25), (1, "2;3", 0.75), (3, "1", 0.125)],
    columns=["pre_id", "post_ids", "score"],
)
EMPTY = SYNAPSES.iloc[:0]


def rows(table):
    return [tuple(row) for row in table.itertuples(index=False)]


def test_synapses_add_up_to_connections_the_strongest_first():
    edges = edge_table(SYNAPSES, GraphParams())
    assert list(edges.columns) == EDGE_COLUMNS
    assert rows(edges) == [(1, 2, 3, 1.5, 0.5), (1, 3, 1, 0.75, 0.75), (3, 1, 1, 0.125, 0.125)]


def test_the_graph_has_the_same_connections():
    graph = build_graph(SYNAPSES)
    assert set(graph) == {1, 2, 3}
    assert dict(graph.edges) == {
        (1, 2): {"n_synapses": 3, "weight": 1.5, "mean_score": 0.5},
        (1, 3): {"n_synapses": 1, "weight": 0.75, "mean_score": 0.75},
        (3, 1): {"n_synapses": 1, "weight": 0.125, "mean_score": 0.125},
    }


def test_degrees_are_weighted_and_synapses_counted():
    nodes = node_table(build_graph(SYNAPSES)).set_index("node")
    degrees = nodes.drop(columns="pagerank")
    assert degrees.loc[1].tolist() == [0.125, 2.25, 1, 4]
    assert degrees.loc[2].tolist() == [1.5, 0, 3, 0]
    assert degrees.loc[3].tolist() == [0.75, 0.125, 1, 1]


def test_columns_begin_as_published():
    assert NODE_COLUMNS[:4] == ["node", "in_degree", "out_degree", "pagerank"]
    assert EDGE_COLUMNS[:2] == ["pre_id", "post_id"]
    assert list(node_table(build_graph(SYNAPSES)).columns) == NODE_COLUMNS


def test_pagerank_is_the_stationary_visit_of_a_random_walk():
    nodes = node_table(build_graph(SYNAPSES)).set_index("node")
    # By hand: a step follows a connection by weight (85 %) or goes anywhere; from 2, anywhere.
    step = np.array([[0, 2 / 3, 1 / 3], [1 / 3] * 3, [1, 0, 0]])
    rank = np.full(3, 1 / 3)
    for _ in range(200):
        rank = 0.85 * rank @ step + 0.15 / 3
    np.testing.assert_allclose(nodes.pagerank.loc[[1, 2, 3]], rank, atol=1e-5)
    assert nodes.pagerank.is_monotonic_decreasing


tables = st.lists(
    st.tuples(
        st.integers(1, 9),
        st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True),
        st.integers(0, 100),
    ),
    max_size=20,
).map(
    lambda found: pd.DataFrame(
        [(pre, ";".join(map(str, posts)), score / 100) for pre, posts, score in found],
        columns=["pre_id", "post_ids", "score"],
    )
)


@given(tables)
def test_nothing_is_lost_or_counted_twice(table):
    edges = edge_table(table, GraphParams(min_score=0.2))
    counted = table[table.score >= 0.2]
    fan_out = counted.post_ids.astype(str).str.count(";") + 1
    assert edges.n_synapses.sum() == fan_out.sum()
    assert edges.weight.sum() == pytest.approx((fan_out * counted.score).sum(), abs=0.01)
    assert not edges.duplicated(["pre_id", "post_id"]).any()


@given(tables)
def test_degrees_and_pagerank_agree_with_networkx(table):
    plain = nx.MultiDiGraph()
    for row in table[table.score >= 0.1].itertuples():
        plain.add_edges_from(
            (row.pre_id, int(post), {"weight": row.score}) for post in row.post_ids.split(";")
        )
    nodes = node_table(build_graph(table, GraphParams(min_score=0.1))).set_index("node")
    assert set(nodes.index) == set(plain)
    rank = nx.pagerank(plain) if plain else {}
    for node in plain:
        assert nodes.in_synapses[node] == plain.in_degree(node)
        assert nodes.out_synapses[node] == plain.out_degree(node)
        assert nodes.in_degree[node] == pytest.approx(plain.in_degree(node, "weight"), abs=1e-3)
        assert nodes.out_degree[node] == pytest.approx(plain.out_degree(node, "weight"), abs=1e-3)
        assert nodes.pagerank[node] == pytest.approx(rank[node], abs=1e-4)


def test_the_least_score_counts_and_less_does_not():
    edges = edge_table(SYNAPSES, GraphParams(min_score=0.5))
    assert rows(edges) == [(1, 2, 2, 1.25, 0.625), (1, 3, 1, 0.75, 0.75)]
    assert set(build_graph(SYNAPSES, GraphParams(min_score=0.8))) == set()


def test_the_published_table_without_all_partners_will_do():
    published = pd.DataFrame({"pre_id": [1, 1], "post_id": [2, 3], "score": [0.5, 0.5]})
    assert rows(edge_table(published, GraphParams())) == [(1, 2, 1, 0.5, 0.5), (1, 3, 1, 0.5, 0.5)]


def test_a_table_read_back_from_csv_gives_the_same_graph(tmp_path):
    SYNAPSES.to_csv(tmp_path / "s.csv", index=False)
    read = pd.read_csv(tmp_path / "s.csv")
    assert dict(build_graph(read).edges) == dict(build_graph(SYNAPSES).edges)
    # Without any ";" pandas reads the partners as numbers.
    SYNAPSES.drop(index=2).to_csv(tmp_path / "s.csv", index=False)
    assert rows(edge_table(pd.read_csv(tmp_path / "s.csv"), GraphParams()))[0][:3] == (1, 2, 2)


def test_no_synapses_make_an_empty_graph_with_all_columns(tmp_path):
    EMPTY.to_csv(tmp_path / "empty.csv", index=False)
    for table in (EMPTY, pd.read_csv(tmp_path / "empty.csv")):
        assert list(edge_table(table, GraphParams()).columns) == EDGE_COLUMNS
        nodes = node_table(build_graph(table))
        assert nodes.empty
        assert list(nodes.columns) == NODE_COLUMNS


def test_the_order_of_the_table_does_not_matter():
    shuffled = SYNAPSES.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(
        edge_table(shuffled, GraphParams()), edge_table(SYNAPSES, GraphParams())
    )
    pd.testing.assert_frame_equal(
        node_table(build_graph(shuffled)), node_table(build_graph(SYNAPSES))
    )
