"""Export of graphs, and import of graphs from runs and other programs."""

import json
import xml.etree.ElementTree as ET

import networkx as nx
import pandas as pd
import pytest

from connectome.core.errors import DataError, UsageError
from connectome.graph.formats import read_graph, write_graph, write_matrix
from connectome.io import paths

SOURCE = "phantom://neuropil?seed=7"
TYPES = {"node": {"n_sections": "long", "volume_um3": "double", "touches_border": "boolean"}}
TYPES["edge"] = {"n_synapses": "long", "weight": "double", "contact_area_um2": "double"}


def small_graph():
    graph = nx.DiGraph()
    graph.add_node(5, n_sections=9, volume_um3=0.5, touches_border=True)
    graph.add_node(12, n_sections=4, volume_um3=0.25, touches_border=False)
    graph.add_node(3_000_000_000)  # without attributes
    graph.add_edge(5, 12, n_synapses=3, weight=1.5, contact_area_um2=0.125)
    graph.add_edge(12, 5, n_synapses=1, weight=0.25, contact_area_um2=0.125)
    graph.add_edge(12, 3_000_000_000, n_synapses=2, weight=0.75)
    return graph


@pytest.fixture
def written(tmp_path):
    write_graph(tmp_path, small_graph(), SOURCE)
    return tmp_path


def assert_same(graph, expected):
    assert graph.is_directed()
    assert dict(graph.nodes(data=True)) == dict(expected.nodes(data=True))
    for pre, post, edge in expected.edges(data=True):
        assert edge.items() <= graph.edges[pre, post].items()
    assert graph.number_of_edges() == expected.number_of_edges()


def test_graphml_keeps_ids_numbers_and_types(written):
    graph = nx.read_graphml(written / paths.GRAPHML, node_type=int)
    assert_same(graph, small_graph())
    assert graph.graph["source"] == SOURCE


def test_gexf_keeps_ids_numbers_and_types(written):
    graph = nx.read_gexf(written / paths.GEXF, node_type=int)
    for _, attributes in graph.nodes(data=True):
        attributes.pop("label")
    assert_same(graph, small_graph())


def test_json_keeps_everything_and_is_readable_by_d3(written):
    content = json.loads((written / paths.GRAPH_JSON).read_text())
    assert_same(nx.node_link_graph(content, edges="links"), small_graph())
    assert content["graph"]["source"] == SOURCE
    assert {"id", "n_sections"} <= content["nodes"][0].keys()
    assert {"source", "target", "weight"} <= content["links"][0].keys()


def test_attributes_are_declared_with_types_of_cytoscape_and_gephi(written):
    graphml = "{http://graphml.graphdrawing.org/xmlns}"
    keys = ET.parse(written / paths.GRAPHML).getroot().findall(f"{graphml}key")
    declared = {(key.get("for"), key.get("attr.name")): key.get("attr.type") for key in keys}
    gexf = "{http://www.gexf.net/1.2draft}"
    gephi = {}
    for group in ET.parse(written / paths.GEXF).getroot().iter(f"{gexf}attributes"):
        for attribute in group:
            gephi[group.get("class"), attribute.get("title")] = attribute.get("type")
    for kind, types in TYPES.items():
        for name, expected in types.items():
            assert declared[kind, name] == expected
            # GEXF stores weights separately.
            assert gephi.get((kind, name), expected) == expected
    edges = list(ET.parse(written / paths.GEXF).getroot().iter(f"{gexf}edge"))
    assert [float(edge.get("weight")) for edge in edges] == [1.5, 0.25, 0.75]


def test_the_same_graph_gives_the_same_bytes_on_any_date(written, tmp_path, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda *_: "1999-12-31")
    write_graph(tmp_path / "again", small_graph(), SOURCE)
    for name in (paths.MATRIX, paths.GRAPHML, paths.GEXF, paths.GRAPH_JSON):
        assert (written / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_matrix_has_presynaptic_ids_in_rows(written):
    table = pd.read_csv(written / paths.MATRIX, index_col="pre_id")
    ids = [5, 12, 3_000_000_000]
    assert table.index.tolist() == [int(name) for name in table.columns] == ids
    assert table.to_numpy().tolist() == [[0, 3, 0], [1, 0, 2], [0, 0, 0]]


def test_a_limited_matrix_has_the_neurites_with_most_synapses(tmp_path):
    write_matrix(tmp_path / "m.csv", small_graph(), max_neurites=2)
    table = pd.read_csv(tmp_path / "m.csv", index_col="pre_id")
    assert table.index.tolist() == [5, 12]
    assert table.loc[5, "12"] == 3


def test_an_empty_graph_can_be_written_but_not_compared(tmp_path):
    write_graph(tmp_path, nx.DiGraph(), SOURCE)
    assert (tmp_path / paths.MATRIX).read_text() == "pre_id\n"
    assert len(nx.read_graphml(tmp_path / paths.GRAPHML)) == 0
    for name in (paths.GRAPHML, paths.GEXF, paths.GRAPH_JSON):
        with pytest.raises(DataError, match="no connections"):
            read_graph(tmp_path / name)


# --- reading ------------------------------------------------------------------------------------

EXPECTED = {("5", "12"): 3, ("12", "5"): 1, ("12", "3000000000"): 2}


def counts(graph):
    return {(pre, post): n for pre, post, n in graph.edges(data="n_synapses")}


@pytest.mark.parametrize("name", [paths.GRAPHML, paths.GEXF, paths.GRAPH_JSON])
def test_every_exported_format_can_be_read(written, name):
    graph = read_graph(written / name)
    assert counts(graph) == EXPECTED
    assert set(graph) == {"5", "12", "3000000000"}


def table(tmp_path, text):
    (tmp_path / "graph.csv").write_text(text)
    return tmp_path / "graph.csv"


def test_a_run_is_read_from_its_edge_table(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / paths.EDGES).write_text("pre_id,post_id,n_synapses,weight\n5,12,3,1.5\n")
    assert counts(read_graph(tmp_path)) == {("5", "12"): 3}


def test_synapses_of_a_published_worm_are_summed(tmp_path):
    # One row per synapse and partner; names are used rather than the numbers beside them.
    text = "syn_id,pre,pre_id,post,post_id,size\n1,AVAL,7,AVBL,8,10\n1,AVAL,7,RIAR,9,20\n"
    path = table(tmp_path, text + "2,AVAL,7,AVBL,8,30\n")
    assert counts(read_graph(path)) == {("AVAL", "AVBL"): 2, ("AVAL", "RIAR"): 1}


def test_polyadic_candidates_count_for_each_partner(tmp_path):
    path = table(tmp_path, "pre_id,post_id,score,post_ids\n1,2,0.5,2;3\n1,2,0.5,2\n")
    assert counts(read_graph(path)) == {("1", "2"): 2, ("1", "3"): 1}


def test_post_ids_suffice_without_post_id(tmp_path):
    path = table(tmp_path, "pre_id,post_ids\n1,2;3\n1,2\n")
    assert counts(read_graph(path)) == {("1", "2"): 2, ("1", "3"): 1}


def test_weights_replace_missing_counts(tmp_path):
    path = table(tmp_path, "pre,post,weight\na,b,1.5\na,b,0.5\n")
    assert counts(read_graph(path)) == {("a", "b"): 2.0}


def test_large_ids_stay_distinct(tmp_path):
    big = 2**63 + 10**18
    path = table(tmp_path, f"pre_id,post_id\n{big},{big + 1}\n{2**53},{2**53 + 1}\n")
    assert len(read_graph(path)) == 4


def test_a_real_worm_is_read_as_published(shared_data):
    graph = read_graph(shared_data / "celegans_connectomes" / "dataset8.csv")
    assert len(graph) == 212
    assert sum(n for *_, n in graph.edges(data="n_synapses")) == 7901
    assert "AVAL" in graph


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a table"),
        ("a,b\n1,2\n", "expected pre, post or pre_id, post_id"),
        ("pre_id,1,2,3,4,5,6,7,8,9\n" + 10 * "1," + "\n", "columns pre_id, 1, 2, 3, 4, 5, 6, 7, …"),
        ("pre,post\n", "no connections"),
        ("pre,post\nAVAL,\n", "row 1: post is empty"),
        ("pre_id,post_id,n_synapses\n1,2,3\n1,NaN,3\n", "row 2: post_id is empty"),
        ("pre_id,post_id,weight\n1,2,nan\n", "row 1: weight is empty\na connection needs a number"),
        ("pre_id,post_ids\n1,2;3\n1,2;\n", "row 2: post_ids is empty\na connection needs two ends"),
        ("pre_id,post_id,n_synapses\n1,2,-3\n", "a positive number is needed"),
        ("pre_id,post_id,n_synapses\n1,2,many\n", "has 'many' synapses"),
        ("pre_id,post_id\n1,2\n1,2,3,4\n", "cannot be read as a table"),
    ],
)
def test_an_invalid_table_is_refused_with_a_reason(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_graph(table(tmp_path, text))


@pytest.mark.parametrize("name", ["g.graphml", "g.gexf", "g.json"])
@pytest.mark.parametrize("content", [b"", b"<graphml", b"{}", b"\xff\xfe\x00", b"[1, 2]"])
def test_a_damaged_file_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read_graph(tmp_path / name)


@pytest.fixture
def undirected(tmp_path):
    """Write an undirected graph in all formats."""
    graph = nx.Graph()
    graph.add_edge(12, 5, n_synapses=4, weight=1.75)
    graph.add_edge(12, 3_000_000_000, n_synapses=2, weight=0.75)
    write_graph(tmp_path, graph, SOURCE)
    table = pd.DataFrame({"pre_id": [5, 12], "post_id": [12, 3_000_000_000], "n_synapses": [4, 2]})
    table.to_csv(tmp_path / paths.EDGES, index=False)
    return tmp_path


def test_files_of_an_undirected_graph_are_undirected(undirected):
    assert not nx.read_graphml(undirected / paths.GRAPHML).is_directed()
    assert not nx.read_gexf(undirected / paths.GEXF).is_directed()
    content = json.loads((undirected / paths.GRAPH_JSON).read_text())
    assert content["directed"] is False
    assert not nx.node_link_graph(content, edges="links").is_directed()


def test_the_matrix_of_an_undirected_graph_is_symmetric(undirected):
    matrix = pd.read_csv(undirected / paths.MATRIX, index_col="pre_id")
    assert matrix.to_numpy().tolist() == [[0, 4, 0], [4, 0, 2], [0, 2, 0]]


FORMATS = ("", paths.EDGES, paths.GRAPHML, paths.GEXF, paths.GRAPH_JSON)


@pytest.mark.parametrize("name", FORMATS)
def test_an_undirected_graph_is_read_as_one_from_every_format(undirected, name):
    graph = read_graph(undirected / name)
    assert not graph.is_directed()
    assert graph.edges["5", "12"]["n_synapses"] == 4
    assert graph.number_of_edges() == 2


def test_graph_json_applies_only_to_the_tables_of_its_run(undirected):
    mine = (undirected / paths.EDGES).rename(undirected / "tables" / "mine.csv")
    assert read_graph(mine).is_directed()


def test_a_damaged_graph_json_beside_a_table_is_named(undirected):
    (undirected / paths.GRAPH_JSON).write_text("{")
    with pytest.raises(DataError, match=r"graph\.json"):
        read_graph(undirected)


@pytest.mark.parametrize("name", ["nothing.csv", "", "image.png"])
def test_missing_files_and_unknown_formats_are_usage_errors(tmp_path, name):
    (tmp_path / "image.png").touch()
    with pytest.raises(UsageError, match=r"does not exist|not in a supported"):
        read_graph(tmp_path / name)
