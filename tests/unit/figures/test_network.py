"""The connectivity graph and matrix: readable, and the right way round."""

from itertools import pairwise

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from helpers.figure_checks import SOURCE, assert_fit_to_print, random_graph, texts, visible_texts
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection, PolyCollection

from connectome.figures.layout import page
from connectome.figures.network import (
    NETWORK_MM,
    _arrow_polygons,
    _draw_graph_keys,
    _weight_norm,
    draw_graph,
)


def test_reciprocal_arrows_do_not_overlap_and_end_at_the_rim_of_their_target():
    ends = np.array([[0.0, 0.0], [20.0, 0.0]])
    radius = np.array([1.0, 2.0])
    there, back = _arrow_polygons(
        ends, ends[::-1], start_radius=radius, end_radius=radius[::-1], width=np.full(2, 0.3)
    )
    assert there[:, 1].mean() > 0.5
    assert back[:, 1].mean() < -0.5
    for polygon, start, end, reach in ((there, 0, 1, 2.0), (back, 1, 0, 1.0)):
        tip = polygon[len(polygon) // 2]
        assert np.linalg.norm(tip - ends[end]) == pytest.approx(reach, abs=0.4)
        assert np.linalg.norm(polygon - ends[start], axis=1).min() >= radius[start] - 0.3


def test_stronger_connections_are_darker_wider_and_drawn_last():
    graph = nx.DiGraph([(0, 1, {"weight": 5.0}), (2, 3, {"weight": 1.0})])
    arrows = draw_graph(graph).axes[0].findobj(PolyCollection)[0]
    darkness = 1 - arrows.get_facecolor()[:, :3].mean(axis=1)
    width = [np.linalg.norm(path.vertices[0] - path.vertices[-2]) for path in arrows.get_paths()]
    assert darkness[1] > darkness[0]
    assert width[1] > 2 * width[0]


def test_matrix_has_presynaptic_neurites_in_rows():
    graph = nx.DiGraph([("AVA", "DA1", {"weight": 3.0}), ("DA1", "VB2", {"weight": 1.0})])
    matrix = draw_graph(graph).axes[2]
    rows = [label.get_text() for label in matrix.get_yticklabels()]
    columns = [label.get_text() for label in matrix.get_xticklabels()]
    assert rows == columns
    shown = matrix.images[0].get_array().filled(0)
    assert shown[rows.index("AVA"), columns.index("DA1")] == 3
    assert shown[rows.index("DA1"), columns.index("VB2")] == 1
    assert shown.sum() == 4


def test_an_undirected_graph_has_one_straight_line_without_a_head_per_pair():
    directed = random_graph(20, 50)
    directed.remove_edges_from(list(nx.selfloop_edges(directed)))
    graph = directed.to_undirected()
    figure = draw_graph(graph, SOURCE)
    assert_fit_to_print(figure)
    lines = figure.axes[0].findobj(PolyCollection)[0].get_paths()
    assert len(lines) == graph.number_of_edges() < directed.number_of_edges()
    shown = texts(figure)
    assert any(f"{len(lines)} connections" in text for text in shown)
    for path in lines:
        along = path.vertices[10] - path.vertices[0]  # of one side
        along /= np.linalg.norm(along)
        aside = (path.vertices - path.vertices[0]) @ [-along[1], along[0]]
        width = np.linalg.norm(path.vertices[0] - path.vertices[-2])
        assert np.ptp(aside) < width + 0.02
    dots = figure.axes[0].findobj(EllipseCollection)[0]
    assert len(set(dots.get_array())) == 1


def test_an_undirected_graph_names_no_sides_and_its_matrix_is_symmetric():
    figure = draw_graph(nx.Graph([(1, 2, {"weight": 3.0}), (2, 3, {"weight": 1.0})]), SOURCE)
    shown = " ".join(text.get_text() for text in visible_texts(figure))
    for word in ("synaptic", "input", "output"):
        assert word not in shown
    assert "connection (undirected)" in shown
    shown = figure.axes[2].images[0].get_array().filled(0)
    assert (shown == shown.T).all()
    assert shown.sum() == 8


def test_strongest_hubs_of_a_large_graph_are_named():
    graph = random_graph(400, 900)
    for post in range(100, 160):
        graph.add_edge(7, post, weight=4.0)
    named = [text.get_text() for text in draw_graph(graph).axes[0].texts]
    assert named[0] == "7"
    strength = dict(graph.degree(weight="weight"))
    assert set(named) == {str(n) for n in sorted(strength, key=strength.get)[-len(named) :]}


def test_dots_are_coloured_by_output_fraction():
    figure = draw_graph(nx.DiGraph([(0, 1, {"weight": 1.0}), (1, 2, {"weight": 1.0})]))
    dots = figure.axes[0].findobj(EllipseCollection)[0]
    assert sorted(dots.get_array()) == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("name", ["RMD{:02}".format, lambda n: 2**40 + n])
def test_wide_names_do_not_cover_dots_or_the_label_of_the_matrix(name):
    figure = draw_graph(nx.relabel_nodes(random_graph(30, 60), name), SOURCE)
    visible_texts(figure)  # draws
    network, _, matrix = figure.axes[:3]
    word = matrix.xaxis.label.get_window_extent()
    assert not any(
        t.get_window_extent().padded(-1).overlaps(word) for t in matrix.get_xticklabels()
    )
    dots = network.findobj(EllipseCollection)[0]
    centres = network.transData.transform(dots.get_offsets())
    mm = network.bbox.width / NETWORK_MM
    for spot, radius in zip(centres, dots.get_widths() / 2 * mm, strict=True):
        for text in network.texts:
            box = text.get_bbox_patch().get_window_extent().get_points()
            assert np.linalg.norm(spot - spot.clip(*box)) > 0.9 * radius, text


def test_no_dot_hides_another_or_the_arrow_between():
    # A tight cluster that a long chain leaves little room.
    graph = nx.compose(nx.path_graph(30, nx.DiGraph), nx.complete_graph(range(30, 40), nx.DiGraph))
    graph.add_edge(29, 30)
    nx.set_edge_attributes(graph, 1.0, "weight")
    dots = draw_graph(graph).axes[0].findobj(EllipseCollection)[0]
    place, radius = dots.get_offsets(), dots.get_widths() / 2
    assert (place.min(axis=0) > radius.max()).all()
    assert (place.max(axis=0) < NETWORK_MM - radius.max()).all()
    one, other = np.triu_indices(len(place), 1)
    rims = np.linalg.norm(place[one] - place[other], axis=1) - radius[one] - radius[other]
    assert rims.min() > 1.0


def small_graphs():
    empty, lonely, pair, odd = (nx.DiGraph() for _ in range(4))
    lonely.add_node(7)
    pair.add_edge(1, 2, weight=1.0)
    odd.add_edge(1, 2, weight=0.0)
    odd.add_edge(2, 2, weight=3.0)
    odd.add_edge(2, "a $name$ that is long", weight=3.0)
    return {"empty": empty, "one neurite": lonely, "pair": pair, "odd": odd}


@pytest.mark.parametrize("name", small_graphs())
def test_graphs_too_small_for_a_layout_are_fit_to_print(name):
    assert_fit_to_print(draw_graph(small_graphs()[name], SOURCE))


def test_a_graph_of_twenty_neurites_is_fit_to_print():
    assert_fit_to_print(draw_graph(random_graph(20, 44), SOURCE))


def test_a_graph_of_fifty_thousand_neurites_states_how_many_are_shown():
    figure = draw_graph(random_graph(50_000, 80_000), SOURCE)
    assert "5,000 strongest neurites shown" in figure.texts[-1].get_text()
    assert len(figure.axes[0].findobj(EllipseCollection)[0].get_offsets()) == 5000


def test_the_hubs_of_a_real_connectome_are_in_the_matrix(shared_data):
    table = pd.read_csv(shared_data / "celegans_connectomes" / "dataset8.csv")
    graph = nx.DiGraph()
    for (pre, post), rows in table.groupby(["pre", "post"]):
        graph.add_edge(pre, post, weight=float(len(rows)))
    figure = draw_graph(graph, "Witvliet et al. 2021, dataset 8")
    outside = [text for text in visible_texts(figure) if text.axes is not figure.axes[0]]
    assert {"RIAL", "RIAR", "AIBR"} <= {text.get_text() for text in outside}


def test_the_matrix_shows_neurites_that_are_strongly_connected_with_each_other():
    graph = random_graph(400, 700)
    hubs = [(1000 + hub, 2000 + 20 * hub + i) for hub in range(30) for i in range(20)]
    graph.add_edges_from(hubs, weight=3.0)  # strong, but none has to do with another
    core = [(pre, post) for pre in range(5000, 5024) for post in range(5000, 5024) if pre < post]
    graph.add_edges_from(core, weight=1.0)
    names = [tick.get_text() for tick in draw_graph(graph).axes[2].get_yticklabels()]
    assert {int(name) for name in names} == set(range(5000, 5024))


@pytest.mark.parametrize("low", [0.0002, 0.004, 0.015, 0.05])
def test_tick_labels_of_the_weight_scale_do_not_overlap(low):
    figure = page.create_page(120.0)
    _draw_graph_keys(figure, _weight_norm(np.array([low, 0.2])))
    FigureCanvasAgg(figure).draw()
    shades = figure.axes[0].xaxis
    boxes = [tick.label1.get_window_extent() for tick in shades.get_major_ticks()]
    boxes += [tick.label1.get_window_extent() for tick in shades.get_minor_ticks()]
    seen = sorted((box.x0, box.x1) for box in boxes if box.width > 1)
    assert len(seen) >= 2
    assert all(right <= left for (_, right), (left, _) in pairwise(seen))
