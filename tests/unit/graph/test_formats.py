"""Graphs written for other programs come back as they were; graphs of others are understood."""

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
    graph.add_node(3_000_000_000)  # nothing is known of it
    graph.add_edge(5, 12, n_synapses=3, weight=1.5, contact_area_um2=0.125)
    graph.add_edge(12, 5, n_synapses=1, weight=0.25, contact_area_um2=0.125)
    graph.add_edge(12, 3_000_000_000, n_synapses=2, weight=0.75)
    return graph


@pytest.fixture
def written(tmp_path):
    write_graph(tmp_path, small_graph(), SOURCE)
    return tmp_path


def same(graph, expected):
    assert graph.is_directed()
    assert dict(graph.nodes(data=True)) == dict(expected.nodes(data=True))
    for pre, post, edge in expected.edges(data=True):
        assert edge.items() <= graph.edges[pre, post].items()
    assert graph.number_of_edges() == expected.number_of_edges()


def test_graphml_comes_back_with_ids_numbers_and_types(written):
    graph = nx.read_graphml(written / paths.GRAPHML, node_type=int)
    same(graph, small_graph())
    assert graph.graph["source"] == SOURCE


def test_gexf_comes_back_with_ids_numbers_and_types(written):
    graph = nx.read_gexf(written / paths.GEXF, node_type=int)
    for _, attributes in graph.nodes(data=True):
        attributes.pop("label")
    same(graph, small_graph())


def test_json_comes_back_and_is_what_d3_reads(written):
    content = json.loads((written / paths.GRAPH_JSON).read_text())
    same(nx.node_link_graph(content, edges="links"), small_graph())
    assert content["graph"]["source"] == SOURCE
    assert {"id", "n_sections"} <= content["nodes"][0].keys()
    assert {"source", "target", "weight"} <= content["links"][0].keys()


def test_attributes_are_declared_with_types_cytoscape_and_gephi_know(written):
    graphml = "{http://graphml.graphdrawing.org/xmlns}"
    keys = ET.parse(written / paths.GRAPHML).getroot().findall(f"{graphml}key")
    declared = {(key.get("for"), key.get("attr.name")): key.get("attr.type") for key in keys}
    gexf = "{http://www.gexf.net/1.2draft}"
    gephi = {}
    for group in ET.parse(written / paths.GEXF).getroot().iter(f"{gexf}attributes"):
        for attribute in group:
            gephi[group.get("class"), attribute.get("title")] = attribute.get("type")
    for kind, types in TYPES.items():
        for name, wanted in types.items():
            assert declared[kind, name] == wanted
            # GEXF has a place of its own for weights.
            assert gephi.get((kind, name), wanted) == wanted
    edges = list(ET.parse(written / paths.GEXF).getroot().iter(f"{gexf}edge"))
    assert [float(edge.get("weight")) for edge in edges] == [1.5, 0.25, 0.75]


def test_the_same_graph_gives_the_same_bytes_on_any_day(written, tmp_path, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda *_: "1999-12-31")
    write_graph(tmp_path / "again", small_graph(), SOURCE)
    for name in (paths.MATRIX, paths.GRAPHML, paths.GEXF, paths.GRAPH_JSON):
        assert (written / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_matrix_has_presynaptic_ids_in_rows(written):
    table = pd.read_csv(written / paths.MATRIX, index_col="pre_id")
    ids = [5, 12, 3_000_000_000]
    assert table.index.tolist() == [int(name) for name in table.columns] == ids
    assert table.to_numpy().tolist() == [[0, 3, 0], [1, 0, 2], [0, 0, 0]]


def test_a_matrix_of_too_many_shows_those_with_most_synapses(tmp_path):
    write_matrix(tmp_path / "m.csv", small_graph(), max_neurites=2)
    table = pd.read_csv(tmp_path / "m.csv", index_col="pre_id")
    assert table.index.tolist() == [5, 12]
    assert table.loc[5, "12"] == 3


def test_an_empty_graph_can_be_written_and_is_nothing_to_compare(tmp_path):
    write_graph(tmp_path, nx.DiGraph(), SOURCE)
    assert (tmp_path / paths.MATRIX).read_text() == "pre_id\n"
    assert len(nx.read_graphml(tmp_path / paths.GRAPHML)) == 0
    for name in (paths.GRAPHML, paths.GEXF, paths.GRAPH_JSON):
        with pytest.raises(DataError, match="no connection"):
            read_graph(tmp_path / name)


# --- reading ------------------------------------------------------------------------------------

EXPECTED = {("5", "12"): 3, ("12", "5"): 1, ("12", "3000000000"): 2}


def counts(graph):
    return {(pre, post): n for pre, post, n in graph.edges(data="n_synapses")}


@pytest.mark.parametrize("name", [paths.GRAPHML, paths.GEXF, paths.GRAPH_JSON])
def test_every_form_that_is_written_is_read(written, name):
    graph = read_graph(written / name)
    assert counts(graph) == EXPECTED
    assert set(graph) == {"5", "12", "3000000000"}


def table(tmp_path, text):
    (tmp_path / "graph.csv").write_text(text)
    return tmp_path / "graph.csv"


def test_a_run_is_read_from_its_table_of_connections(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / paths.EDGES).write_text("pre_id,post_id,n_synapses,weight\n5,12,3,1.5\n")
    assert counts(read_graph(tmp_path)) == {("5", "12"): 3}


def test_synapses_of_a_published_worm_add_up(tmp_path):
    # One row per synapse and partner; the numbers beside the names are not taken for names.
    text = "syn_id,pre,pre_id,post,post_id,size\n1,AVAL,7,AVBL,8,10\n1,AVAL,7,RIAR,9,20\n"
    path = table(tmp_path, text + "2,AVAL,7,AVBL,8,30\n")
    assert counts(read_graph(path)) == {("AVAL", "AVBL"): 2, ("AVAL", "RIAR"): 1}


def test_polyadic_candidates_count_for_each_partner(tmp_path):
    path = table(tmp_path, "pre_id,post_id,score,post_ids\n1,2,0.5,2;3\n1,2,0.5,2\n")
    assert counts(read_graph(path)) == {("1", "2"): 2, ("1", "3"): 1}


def test_the_main_partner_need_not_be_told_where_all_are(tmp_path):
    path = table(tmp_path, "pre_id,post_ids\n1,2;3\n1,2\n")
    assert counts(read_graph(path)) == {("1", "2"): 2, ("1", "3"): 1}


def test_weights_stand_in_for_counts(tmp_path):
    path = table(tmp_path, "pre,post,weight\na,b,1.5\na,b,0.5\n")
    assert counts(read_graph(path)) == {("a", "b"): 2.0}


def test_ids_of_any_size_stay_apart(tmp_path):
    big = 2**63 + 10**18
    path = table(tmp_path, f"pre_id,post_id\n{big},{big + 1}\n{2**53},{2**53 + 1}\n")
    assert len(read_graph(path)) == 4


def test_a_real_worm_is_read_as_published(shared_data):
    graph = read_graph(shared_data / "celegans_connectomes" / "dataset8.csv")
    assert len(graph) == 212
    assert sum(n for *_, n in graph.edges(data="n_synapses")) == 7901
    assert "AVAL" in graph


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no table"),
        ("a,b\n1,2\n", "no pre, post or pre_id, post_id"),
        ("pre_id,1,2,3,4,5,6,7,8,9\n" + 10 * "1," + "\n", "columns pre_id, 1, 2, 3, 4, 5, 6, 7, …"),
        ("pre,post\n", "no connection"),
        ("pre,post\nAVAL,\n", "row 1: post is empty"),
        ("pre_id,post_id,n_synapses\n1,2,3\n1,NaN,3\n", "row 2: post_id is empty"),
        ("pre_id,post_id,weight\n1,2,nan\n", "row 1: weight is empty\na connection has its number"),
        ("pre_id,post_ids\n1,2;3\n1,2;\n", "row 2: post_ids is empty\na connection has two ends"),
        ("pre_id,post_id,n_synapses\n1,2,-3\n", "no number of synapses"),
        ("pre_id,post_id,n_synapses\n1,2,many\n", "no number of synapses"),
        ("pre_id,post_id\n1,2\n1,2,3,4\n", "no table"),
    ],
)
def test_a_table_that_is_no_graph_is_refused_in_words(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        read_graph(table(tmp_path, text))


@pytest.mark.parametrize("name", ["g.graphml", "g.gexf", "g.json"])
@pytest.mark.parametrize("content", [b"", b"<graphml", b"{}", b"\xff\xfe\x00", b"[1, 2]"])
def test_a_damaged_file_is_refused_in_words(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read_graph(tmp_path / name)


@pytest.fixture
def pairs(tmp_path):
    """Leave a graph without direction in all its forms."""
    graph = nx.Graph()
    graph.add_edge(12, 5, n_synapses=4, weight=1.75)
    graph.add_edge(12, 3_000_000_000, n_synapses=2, weight=0.75)
    write_graph(tmp_path, graph, SOURCE)
    table = pd.DataFrame({"pre_id": [5, 12], "post_id": [12, 3_000_000_000], "n_synapses": [4, 2]})
    table.to_csv(tmp_path / paths.EDGES, index=False)
    return tmp_path


def test_files_of_a_graph_without_direction_say_so(pairs):
    assert not nx.read_graphml(pairs / paths.GRAPHML).is_directed()
    assert not nx.read_gexf(pairs / paths.GEXF).is_directed()
    content = json.loads((pairs / paths.GRAPH_JSON).read_text())
    assert content["directed"] is False
    assert not nx.node_link_graph(content, edges="links").is_directed()


def test_the_matrix_of_a_graph_without_direction_is_symmetric(pairs):
    matrix = pd.read_csv(pairs / paths.MATRIX, index_col="pre_id")
    assert matrix.to_numpy().tolist() == [[0, 4, 0], [4, 0, 2], [0, 2, 0]]


FORMS = ("", paths.EDGES, paths.GRAPHML, paths.GEXF, paths.GRAPH_JSON)


@pytest.mark.parametrize("name", FORMS)
def test_a_graph_without_direction_is_read_as_one_from_every_form(pairs, name):
    graph = read_graph(pairs / name)
    assert not graph.is_directed()
    assert graph.edges["5", "12"]["n_synapses"] == 4
    assert graph.number_of_edges() == 2


def test_only_a_table_that_a_run_left_is_read_by_what_lies_beside_it(pairs):
    mine = (pairs / paths.EDGES).rename(pairs / "tables" / "mine.csv")
    assert read_graph(mine).is_directed()


def test_a_damaged_graph_beside_a_table_is_named(pairs):
    (pairs / paths.GRAPH_JSON).write_text("{")
    with pytest.raises(DataError, match=r"graph\.json"):
        read_graph(pairs)


@pytest.mark.parametrize("name", ["nothing.csv", "", "image.png"])
def test_what_is_not_there_or_of_no_known_form_is_a_mistake_in_usage(tmp_path, name):
    (tmp_path / "image.png").touch()
    with pytest.raises(UsageError, match=r"there is no|no form"):
        read_graph(tmp_path / name)
