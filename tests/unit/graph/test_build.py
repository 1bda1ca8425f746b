"""The connectivity graph of small tables, compared with sums done by hand."""

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome.core.errors import DataError
from connectome.core.params import GraphParams
from connectome.graph.build import (
    CONTACT_COLUMNS,
    EDGE_COLUMNS,
    NODE_COLUMNS,
    annotate_graph,
    build_graph,
    close_gaps,
    contact_table,
    edge_table,
    node_table,
)

# 1 has two synapses onto 2 and one onto 2 and 3 together; 3 has one onto 1.
SYNAPSES = pd.DataFrame(
    [(1, "2", 0.5), (1, "2", 0.25), (1, "2;3", 0.75), (3, "1", 0.125)],
    columns=["pre_id", "post_ids", "score"],
)
EMPTY = SYNAPSES.iloc[:0]


SUMMED_COLUMNS = ["pre_id", "post_id", "n_synapses", "weight", "mean_score"]


def rows(table):
    return [tuple(row) for row in table[SUMMED_COLUMNS].itertuples(index=False)]


def test_synapses_are_summed_into_connections_strongest_first():
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
    degrees = nodes[["in_degree", "out_degree", "in_synapses", "out_synapses", "n_pre", "n_post"]]
    assert degrees.loc[1].tolist() == [0.125, 2.25, 1, 4, 1, 2]
    assert degrees.loc[2].tolist() == [1.5, 0, 3, 0, 1, 0]
    assert degrees.loc[3].tolist() == [0.75, 0.125, 1, 1, 1, 1]


def test_columns_begin_as_published():
    assert NODE_COLUMNS[:4] == ["node", "in_degree", "out_degree", "pagerank"]
    assert EDGE_COLUMNS[:2] == ["pre_id", "post_id"]
    assert list(node_table(build_graph(SYNAPSES)).columns) == NODE_COLUMNS


def test_pagerank_is_the_stationary_distribution_of_a_random_walk():
    nodes = node_table(build_graph(SYNAPSES)).set_index("node")
    # A step follows a connection by weight (85 %) or goes to any node; from 2, to any node.
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
def test_no_synapse_is_lost_or_counted_twice(table):
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


UNDIRECTED = GraphParams(directed=False)


def test_undirected_connections_sum_both_directions_under_the_lower_id():
    assert rows(edge_table(SYNAPSES, UNDIRECTED)) == [(1, 2, 3, 1.5, 0.5), (1, 3, 2, 0.875, 0.4375)]
    graph = build_graph(SYNAPSES, UNDIRECTED)
    assert not graph.is_directed()
    assert graph.edges[3, 1] == {"n_synapses": 2, "weight": 0.875, "mean_score": 0.4375}
    assert not annotate_graph(graph, node_table(graph)).is_directed()


@given(tables, st.integers(0, 2**32 - 1))
def test_undirected_connections_do_not_depend_on_the_presynaptic_side(table, seed):
    pairs = table.assign(post_id=table.post_ids.str.split(";")).explode("post_id")
    pairs = pairs.drop(columns="post_ids").astype({"post_id": "int64"})
    reversed_ = pairs.copy()
    swap = np.random.default_rng(seed).random(len(pairs)) < 0.5
    reversed_.loc[swap, ["pre_id", "post_id"]] = pairs.loc[swap, ["post_id", "pre_id"]].to_numpy()
    edges = edge_table(table, UNDIRECTED)
    pd.testing.assert_frame_equal(edge_table(reversed_, UNDIRECTED), edges)
    assert (edges.pre_id <= edges.post_id).all()
    assert not edges.duplicated(["pre_id", "post_id"]).any()
    assert edges.n_synapses.sum() == len(pairs)


@given(tables)
def test_undirected_partners_count_on_both_sides(table):
    table = table[table.pre_id.astype(str) != table.post_ids]
    graph = build_graph(table, UNDIRECTED)
    nodes = node_table(graph).set_index("node")
    for one, other in (("in_degree", "out_degree"), ("in_synapses", "out_synapses")):
        assert nodes[one].tolist() == nodes[other].tolist()
    assert nodes.n_pre.tolist() == nodes.n_post.tolist() == [len(graph[n]) for n in nodes.index]
    for node in graph:
        weights = [edge["weight"] for edge in graph[node].values()]
        assert nodes.in_degree[node] == pytest.approx(sum(weights), abs=1e-3)
    assert nodes.betweenness.to_dict() == pytest.approx(nx.betweenness_centrality(graph), abs=1e-6)
    parts = nodes.groupby("component").groups.values()
    assert set(map(frozenset, parts)) == set(map(frozenset, nx.connected_components(graph)))


def test_candidates_below_the_threshold_do_not_count():
    edges = edge_table(SYNAPSES, GraphParams(min_score=0.5))
    assert rows(edges) == [(1, 2, 2, 1.25, 0.625), (1, 3, 1, 0.75, 0.75)]
    assert set(build_graph(SYNAPSES, GraphParams(min_score=0.8))) == set()


def test_tables_with_post_id_only_are_accepted():
    published = pd.DataFrame({"pre_id": [1, 1], "post_id": [2, 3], "score": [0.5, 0.5]})
    assert rows(edge_table(published, GraphParams())) == [(1, 2, 1, 0.5, 0.5), (1, 3, 1, 0.5, 0.5)]


def test_a_table_read_back_from_csv_gives_the_same_graph(tmp_path):
    SYNAPSES.to_csv(tmp_path / "s.csv", index=False)
    read = pd.read_csv(tmp_path / "s.csv")
    assert dict(build_graph(read).edges) == dict(build_graph(SYNAPSES).edges)
    # Without any ";" pandas reads the partners as numbers.
    SYNAPSES.drop(index=2).to_csv(tmp_path / "s.csv", index=False)
    assert rows(edge_table(pd.read_csv(tmp_path / "s.csv"), GraphParams()))[0][:3] == (1, 2, 2)


def test_no_synapses_give_an_empty_graph_with_all_columns(tmp_path):
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


# --- contacts -----------------------------------------------------------------------------------

VOXEL = (30.0, 8.0, 4.0)


def test_contact_areas_are_sums_of_voxel_faces():
    labels = np.zeros((2, 2, 3), np.int32)
    labels[0] = [[1, 1, 2], [1, 1, 2]]  # two faces across x, 30 x 8 nm² each
    labels[1] = [[3, 0, 0], [4, 0, 0]]  # each a face of 8 x 4 below 1; between them one of 30 x 4
    table = contact_table(labels, VOXEL)
    assert list(table.columns) == CONTACT_COLUMNS
    expected = [(1, 2, 480e-6), (1, 3, 32e-6), (1, 4, 32e-6), (3, 4, 120e-6)]
    for row, known in zip(table.itertuples(index=False), expected, strict=True):
        assert tuple(row) == pytest.approx(known)


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 5)] * 3))
def test_contacts_agree_with_a_loop_over_voxel_pairs(seed, shape):
    labels = np.random.default_rng(seed).integers(0, 4, shape).astype(np.int32)
    face = np.prod(VOXEL) / np.array(VOXEL) / 1e6
    expected = {}
    for axis, step in enumerate(np.eye(3, dtype=int)):
        for at in np.ndindex(*(np.array(shape) - step)):
            a, b = sorted((int(labels[at]), int(labels[tuple(at + step)])))
            if 0 < a < b:
                expected[a, b] = expected.get((a, b), 0) + face[axis]
    found = contact_table(labels, VOXEL)
    pairs = zip(found.id_a, found.id_b, strict=True)
    assert dict(zip(pairs, found.area_um2, strict=True)) == pytest.approx(expected, abs=1e-6)


def test_the_largest_possible_ids_can_touch():
    labels = np.array([[[2**31 - 1, 2**31 - 2]]], np.int32)
    table = contact_table(labels, VOXEL)
    assert table[["id_a", "id_b"]].to_numpy().tolist() == [[2**31 - 2, 2**31 - 1]]


def test_a_single_neurite_has_no_contacts():
    table = contact_table(np.ones((2, 3, 4), np.int32), VOXEL)
    assert table.empty
    assert list(table.columns) == CONTACT_COLUMNS


def test_neurites_touch_across_unlabelled_membrane_but_not_outside_the_mask():
    labels = np.zeros((2, 3, 12), np.int32)
    labels[:, :, :3], labels[:, :, 6:9] = 1, 2  # a membrane of 3 x 4 nm between them
    labels[1, :, 6:9] = 0
    mask = np.ones(labels.shape, bool)
    closed = close_gaps(labels, mask, VOXEL)
    assert (closed[0, :, :4] == 1).all()
    assert (closed[0, :, 5:] == 2).all()
    assert (closed[1, :, :8] == 1).all()  # up to 25 nm: six pixels
    assert (closed[1, :, 9:] == 0).all()
    assert contact_table(closed, VOXEL).id_b.tolist() == [2]
    narrow = close_gaps(labels, mask, VOXEL, GraphParams(max_gap_nm=4.0))
    assert contact_table(narrow, VOXEL).empty
    mask[labels == 0] = False
    assert contact_table(close_gaps(labels, mask, VOXEL), VOXEL).empty


def test_labels_without_gaps_are_returned_unchanged():
    labels = np.ones((2, 3, 4), np.int32)
    assert close_gaps(labels, np.ones(labels.shape, bool), VOXEL) is labels


def test_real_neurites_touch_across_unlabelled_membranes(shared_data):
    found = np.load(shared_data / "isbi_dev.npz")
    labels, voxel_size = found["labels"][:6], tuple(found["voxel_size_nm_zyx"])
    assert (labels == 0).mean() > 0.1
    apart = contact_table(labels, voxel_size)
    touching = contact_table(close_gaps(labels, labels >= 0, voxel_size), voxel_size)
    assert touching.area_um2.sum() > 2 * apart.area_um2.sum()


CONTACTS = pd.DataFrame([(1, 2, 0.5), (2, 3, 0.25)], columns=CONTACT_COLUMNS)


def test_contact_areas_are_found_in_both_directions():
    edges = edge_table(SYNAPSES, GraphParams(), CONTACTS).set_index(["pre_id", "post_id"])
    assert edges.contact_area_um2[1, 2] == 0.5
    assert edges.contact_area_um2[1, 3] == edges.contact_area_um2[3, 1] == 0  # never touch
    nodes = node_table(build_graph(SYNAPSES), contacts=CONTACTS).set_index("node")
    assert nodes.contact_area_um2.loc[[1, 2, 3]].tolist() == [0.5, 0.75, 0.25]


def test_the_position_of_a_connection_is_the_mean_of_its_synapses():
    placed = SYNAPSES.assign(z=[1, 2, 3, 9], y=[10, 10, 40, 5], x=[0, 0, 6, 7])
    edges = edge_table(placed, GraphParams()).set_index(["pre_id", "post_id"])
    assert edges.loc[(1, 2), ["z", "y", "x"]].tolist() == [2, 20, 2]
    assert edges.loc[(3, 1), ["z", "y", "x"]].tolist() == [9, 5, 7]


# --- the node table -----------------------------------------------------------------------------


def graph_of(pre, post):
    return build_graph(pd.DataFrame({"pre_id": pre, "post_id": post, "score": 1.0}))


def test_betweenness_is_the_fraction_of_shortest_paths():
    nodes = node_table(graph_of([1, 2, 3], [2, 3, 4])).set_index("node")
    # Of 3 x 2 ordered pairs of others, 1→3 and 1→4 pass through 2.
    assert nodes.betweenness.loc[[1, 2, 3, 4]].tolist() == pytest.approx(
        [0, 1 / 3, 1 / 3, 0], abs=1e-6
    )


def test_betweenness_of_a_large_graph_is_a_reproducible_estimate():
    ends = np.random.default_rng(5).integers(1, 900, (2, 3000)) ** 2 // 900 + 1  # low ids are hubs
    graph = graph_of(*ends)
    found = node_table(graph).set_index("node").betweenness
    exact = pd.Series(nx.betweenness_centrality(graph)).loc[found.index]
    assert not np.allclose(found, exact, atol=1e-6)
    assert found.corr(exact) > 0.95
    pd.testing.assert_series_equal(found, node_table(graph).set_index("node").betweenness)


def test_strongly_connected_components_are_numbered_by_size():
    nodes = node_table(graph_of([7, 8, 9, 9, 1], [8, 9, 7, 1, 2])).set_index("node")
    assert nodes.component.loc[[7, 8, 9, 1, 2]].tolist() == [1, 1, 1, 2, 3]


SEGMENTS = pd.DataFrame(
    [(1, 0.5, 9, True), (2, 0.25, 4, False)],
    columns=["id", "volume_um3", "n_sections", "touches_border"],
)


def test_unknown_neurites_have_missing_values():
    nodes = node_table(build_graph(SYNAPSES), SEGMENTS).set_index("node")
    described = nodes[["volume_um3", "n_sections", "touches_border"]]
    assert described.loc[1].tolist() == [0.5, 9, True]
    assert described.loc[3].isna().all()
    assert nodes.n_sections.dtype == "Int64"  # integers in spite of missing values


def test_an_annotated_graph_has_plain_numbers_and_no_missing_values():
    graph = build_graph(SYNAPSES.assign(z=1, y=2, x=3), contacts=CONTACTS)
    annotated = annotate_graph(graph, node_table(graph, SEGMENTS, CONTACTS))
    assert annotated.nodes[1]["n_sections"] == 9
    assert "n_sections" not in annotated.nodes[3]
    all_attributes = [attributes for _, attributes in annotated.nodes(data=True)]
    all_attributes += [attributes for *_, attributes in annotated.edges(data=True)]
    values = [value for attributes in all_attributes for value in attributes.values()]
    assert {type(value) for value in values} == {int, float, bool}
    assert not np.isnan(values).any()
    assert "volume_um3" not in graph.nodes[1]  # the original stays as it was


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["pre_id", "post_ids", "score"])
def test_a_missing_column_or_value_is_named(column):
    with pytest.raises(DataError, match="no column"):
        build_graph(SYNAPSES.drop(columns=column))
    gap = SYNAPSES.astype(object)
    gap.loc[2, column] = np.nan
    with pytest.raises(DataError, match=f"row 2 has no {column}"):
        build_graph(gap)


def test_an_invalid_id_is_named():
    with pytest.raises(DataError, match="AVAL"):
        build_graph(SYNAPSES.assign(post_ids=["2", "2", "2;AVAL", "1"]))


def test_ids_above_two_to_the_31_stay_exact():
    big = 2**40
    table = pd.DataFrame({"pre_id": [big], "post_ids": [f"{big + 1};{big + 2}"], "score": 1})
    assert set(node_table(build_graph(table)).node) == {big, big + 1, big + 2}
