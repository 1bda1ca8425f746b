"""The four figures: right contents, print-ready pages, the same bytes for the same input."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import matplotlib
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from helpers.figure_checks import (
    SOURCE,
    assert_fit_to_print,
    candidates,
    pictures,
    stacks,
    visible_texts,
)
from helpers.locations import ROOT
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection, PolyCollection
from matplotlib.image import AxesImage
from matplotlib.quiver import Quiver
from PIL import Image

from connectome.align.transforms import compose_transform, rotation_matrix, warp_section
from connectome.core.errors import DataError
from connectome.figures.layout import page
from connectome.figures.network import (
    NETWORK_MM,
    _arrow_polygons,
    _draw_graph_keys,
    _weight_norm,
    figure3,
)
from connectome.figures.neurites import figure5
from connectome.figures.overview import figure1, figure2, figure4, write_figure

pytestmark = pytest.mark.slow

CANDIDATES = ["z", "y", "x", "pre_id", "post_id", "score"]


def random_graph(nodes, edges, seed=0):
    rng = np.random.default_rng(seed)
    graph = nx.DiGraph()
    for pre, post in zip(*rng.integers(0, nodes, (2, edges)), strict=True):
        graph.add_edge(int(pre), int(post), weight=float(rng.gamma(2, 0.3)), count=1)
    return graph


# Figure 1


def test_figure1_shows_the_same_section_and_plane_of_each_stack():
    raw, preprocessed, aligned, labels = stacks()
    shown = pictures(figure1(raw, preprocessed, aligned, labels, section=4))
    np.testing.assert_array_equal(shown[0], raw.data[4])
    np.testing.assert_allclose(shown[1] / 255, preprocessed[4], atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(shown[2] / 255, aligned[4], atol=0.5 / 255 + 1e-6)
    np.testing.assert_array_equal(shown[4], raw.data[:, 24])
    np.testing.assert_allclose(shown[6] / 255, aligned[:, 24], atol=0.5 / 255 + 1e-6)


def test_figure1_leaves_unlabelled_tissue_grey_and_tints_the_rest():
    raw, preprocessed, aligned, labels = stacks()
    labels[:, :, :32] = 0
    tinted, grey = (pictures(figure1(raw, preprocessed, aligned, labels))[i] for i in (3, 2))
    np.testing.assert_array_equal(tinted[:, :32], np.repeat(grey[:, :32, None], 3, axis=2))
    assert np.ptp(tinted[:, 32:].astype(int), axis=2).min() > 0


def test_figure1_avoids_a_blank_section():
    raw, preprocessed, aligned, labels = stacks()
    raw.data[3] = 0
    shown = pictures(figure1(raw, preprocessed, aligned, labels))[0]
    np.testing.assert_array_equal(shown, raw.data[2])


def test_a_neurite_has_one_colour_in_figures_1_and_5():
    raw, preprocessed, aligned, _ = stacks()
    labels = np.random.default_rng(3).integers(1, 60, (6, 6, 8)).repeat(8, axis=1).repeat(8, axis=2)
    first = pictures(figure1(raw, preprocessed, aligned, labels))
    fifth = pictures(figure5(replace(raw, data=aligned), labels))
    for one, other in ((first[3], fifth[3]), (first[7], fifth[4])):
        np.testing.assert_array_equal(one, other)


def test_figure1_is_to_one_physical_scale_with_a_bar_of_a_round_length():
    raw, *others = stacks((10, 48, 64), (30, 4, 8))
    figure = figure1(raw, *others)
    width, height = figure.get_size_inches() * page.MM_PER_INCH
    assert width == pytest.approx(178)
    xy, xz = figure.axes[0].get_position(), figure.axes[5].get_position()
    assert xy.height * height / (xy.width * width) == pytest.approx(48 * 4 / (64 * 8))
    assert xz.height * height / (xz.width * width) == pytest.approx(10 * 30 / (64 * 8))
    bar = figure.axes[4].get_position()  # after the four pictures of the section
    assert bar.width / xy.width == pytest.approx(0.1 / 0.512)
    assert "0.1 µm" in [text.get_text() for text in figure.texts]


def test_figure1_refuses_stacks_of_different_shape():
    raw, preprocessed, aligned, labels = stacks()
    with pytest.raises(DataError, match=r"\(5, 48, 64\).*\(6, 48, 64\)"):
        figure1(raw, preprocessed, aligned[:5], labels)


@pytest.mark.parametrize(
    "shape, voxel_size",
    [
        ((1, 16, 16), (30, 8, 8)),
        ((200, 16, 16), (160, 8, 8)),
        ((2, 200, 200), (10, 10, 10)),
        ((12, 64, 512), (30, 4, 4)),
        ((5, 256, 64), (50, 4, 4)),
    ],
)
def test_pages_are_fit_to_print_at_any_size(shape, voxel_size):
    raw, preprocessed, aligned, labels = stacks(shape, voxel_size)
    assert_fit_to_print(figure1(raw, preprocessed, aligned.astype(np.float16), labels))
    table = candidates(shape, 30)
    assert_fit_to_print(figure2(aligned.astype(np.float16), labels, table, voxel_size, SOURCE))
    shifts = np.random.default_rng(0).normal(0, 1.5, (shape[0], 2)).cumsum(axis=0)
    assert_fit_to_print(figure4(shifts, voxel_size, SOURCE, shifts + 3, [0], np.ones(shape[0])))


# Figure 2


def arrows_of(figure):
    return [quiver for axes in figure.axes for quiver in axes.findobj(Quiver) if quiver.N]


@pytest.mark.parametrize(
    "pre, post, direction", [((24, 20), (24, 40), (1, 0)), ((40, 32), (8, 32), (0, 1))]
)
def test_figure2_arrows_point_from_pre_to_post(pre, post, direction):
    raw, _, aligned, labels = stacks()
    labels[:] = 0
    for ident, (y, x) in ((1, pre), (2, post)):
        labels[:, y - 8 : y + 8, x - 8 : x + 8] = ident
    middle = np.mean([pre, post], axis=0)
    for ids, sign in (((1, 2), 1), ((2, 1), -1)):
        table = pd.DataFrame([(3, *middle, *ids, 0.7)], columns=CANDIDATES)
        (arrow,) = arrows_of(figure2(aligned, labels, table, raw.voxel_size))
        # Quiver's V points up the page.
        np.testing.assert_allclose([arrow.U[0], arrow.V[0]], sign * np.array(direction), atol=0.05)


def test_figure2_without_direction_draws_the_same_line_whoever_is_called_presynaptic():
    raw, _, aligned, labels = stacks()
    lines = []
    for ids in ((304, 305), (305, 304)):  # squares side by side
        table = pd.DataFrame([(3, 27, 40, *ids, 0.7)], columns=CANDIDATES)
        figure = figure2(aligned, labels, table, raw.voxel_size, SOURCE, False)
        assert_fit_to_print(figure)
        told = " ".join(text.get_text() for text in visible_texts(figure))
        assert "without direction" in told
        assert "synaptic neurite" not in told and "Arrows" not in told
        (line,) = arrows_of(figure)
        assert line.pivot == "middle"
        shape = line.get_paths()[0].vertices
        assert np.ptp(shape[:, 1]) == pytest.approx(0.6 / page.MM_PER_INCH)  # no head
        lines.append([shape.min(axis=0), shape.max(axis=0)])
    np.testing.assert_allclose(*lines, atol=1e-6)


def test_figure2_shows_the_fullest_section_of_each_third_with_all_its_candidates():
    raw, _, aligned, labels = stacks((9, 48, 64))
    z = [1, 1, 0, 4, 4, 4, 8]
    table = candidates(raw.shape, len(z)).assign(z=z)
    figure = figure2(aligned, labels, table, raw.voxel_size)
    titles = [text.get_text() for text in figure.texts if text.get_text().startswith("Section")]
    assert [title.split(" · ") for title in titles] == [
        ["Section z = 1", "2 candidates"],
        ["Section z = 4", "3 candidates"],
        ["Section z = 8", "1 candidate"],
    ]
    marks = [
        len(collection.get_offsets())
        for axes in figure.axes[:4]
        for collection in axes.collections
        if len(collection.get_offsets())
    ]
    assert sum(marks) == 6


def test_figure2_shows_a_candidate_in_every_section_it_spans():
    raw, _, aligned, labels = stacks((9, 48, 64))
    table = candidates(raw.shape, 3).assign(z=[1, 2, 7], z_first=[0, 2, 7], z_last=[2, 4, np.nan])
    figure = figure2(aligned, labels, table, raw.voxel_size)
    titles = [text.get_text() for text in figure.texts if text.get_text().startswith("Section")]
    assert [title.split(" · ") for title in titles] == [
        ["Section z = 2", "2 candidates"],
        ["Section z = 4", "1 candidate"],
        ["Section z = 7", "1 candidate"],
    ]


def test_figure2_says_so_when_there_are_no_candidates():
    raw, _, aligned, labels = stacks()
    figure = figure2(aligned, labels, pd.DataFrame(columns=CANDIDATES), raw.voxel_size, SOURCE)
    assert "no synapse candidates" in [text.get_text() for text in visible_texts(figure)]
    assert_fit_to_print(figure)


def test_figure2_bears_boundaries_only_where_ids_meet():
    raw, _, aligned, labels = stacks((3, 48, 64))
    labels[:] = 1
    labels[:, :, 32:] = 2
    aligned[:] = 0.5
    none = pd.DataFrame(columns=CANDIDATES)
    image = pictures(figure2(aligned, labels, none, raw.voxel_size))[0]
    coloured = np.ptp(image.astype(int), axis=2).max(axis=0) > 0
    assert coloured.sum() == 1
    assert np.flatnonzero(coloured)[0] == image.shape[1] // 2 - 1


# Figure 3


def test_reciprocal_arrows_bow_apart_and_end_at_the_rim_of_their_target():
    ends = np.array([[0.0, 0.0], [20.0, 0.0]])
    radius = np.array([1.0, 2.0])
    there, back = _arrow_polygons(ends, ends[::-1], radius, radius[::-1], np.full(2, 0.3))
    assert there[:, 1].mean() > 0.5
    assert back[:, 1].mean() < -0.5
    for polygon, start, end, reach in ((there, 0, 1, 2.0), (back, 1, 0, 1.0)):
        tip = polygon[len(polygon) // 2]
        assert np.linalg.norm(tip - ends[end]) == pytest.approx(reach, abs=0.4)
        assert np.linalg.norm(polygon - ends[start], axis=1).min() >= radius[start] - 0.3


def test_stronger_connections_are_darker_wider_and_drawn_last():
    graph = nx.DiGraph([(0, 1, {"weight": 5.0}), (2, 3, {"weight": 1.0})])
    arrows = figure3(graph).axes[0].findobj(PolyCollection)[0]
    darkness = 1 - arrows.get_facecolor()[:, :3].mean(axis=1)
    width = [np.linalg.norm(path.vertices[0] - path.vertices[-2]) for path in arrows.get_paths()]
    assert darkness[1] > darkness[0]
    assert width[1] > 2 * width[0]


def test_matrix_has_presynaptic_neurites_in_rows():
    graph = nx.DiGraph([("AVA", "DA1", {"weight": 3.0}), ("DA1", "VB2", {"weight": 1.0})])
    matrix = figure3(graph).axes[2]
    rows = [label.get_text() for label in matrix.get_yticklabels()]
    columns = [label.get_text() for label in matrix.get_xticklabels()]
    assert rows == columns
    shown = matrix.images[0].get_array().filled(0)
    assert shown[rows.index("AVA"), columns.index("DA1")] == 3
    assert shown[rows.index("DA1"), columns.index("VB2")] == 1
    assert shown.sum() == 4


def test_figure3_without_direction_draws_one_straight_line_without_a_head_per_pair():
    directed = random_graph(20, 50)
    directed.remove_edges_from(list(nx.selfloop_edges(directed)))
    graph = directed.to_undirected()
    figure = figure3(graph, SOURCE)
    assert_fit_to_print(figure)
    lines = figure.axes[0].findobj(PolyCollection)[0].get_paths()
    assert len(lines) == graph.number_of_edges() < directed.number_of_edges()
    told = [text.get_text() for text in visible_texts(figure)]
    assert any(f"{len(lines)} connections" in text for text in told)
    for path in lines:
        along = path.vertices[10] - path.vertices[0]  # of one side
        along /= np.linalg.norm(along)
        aside = (path.vertices - path.vertices[0]) @ [-along[1], along[0]]
        width = np.linalg.norm(path.vertices[0] - path.vertices[-2])
        assert np.ptp(aside) < width + 0.02
    dots = figure.axes[0].findobj(EllipseCollection)[0]
    assert len(set(dots.get_array())) == 1


def test_figure3_without_direction_speaks_of_no_sides_and_its_matrix_is_symmetric():
    figure = figure3(nx.Graph([(1, 2, {"weight": 3.0}), (2, 3, {"weight": 1.0})]), SOURCE)
    told = " ".join(text.get_text() for text in visible_texts(figure))
    for word in ("synaptic", "receives", "sends"):
        assert word not in told
    assert "connection, without direction" in told
    shown = figure.axes[2].images[0].get_array().filled(0)
    assert (shown == shown.T).all()
    assert shown.sum() == 8


def test_strongest_hubs_of_a_large_graph_are_named():
    graph = random_graph(400, 900)
    for post in range(100, 160):
        graph.add_edge(7, post, weight=4.0)
    named = [text.get_text() for text in figure3(graph).axes[0].texts]
    assert named[0] == "7"
    strength = dict(graph.degree(weight="weight"))
    assert set(named) == {str(n) for n in sorted(strength, key=strength.get)[-len(named) :]}


def test_dots_tell_senders_from_receivers():
    figure = figure3(nx.DiGraph([(0, 1, {"weight": 1.0}), (1, 2, {"weight": 1.0})]))
    dots = figure.axes[0].findobj(EllipseCollection)[0]
    assert sorted(dots.get_array()) == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("name", ["RMD{:02}".format, lambda n: 2**40 + n])
def test_wide_names_leave_dots_and_the_word_over_the_matrix_free(name):
    figure = figure3(nx.relabel_nodes(random_graph(30, 60), name), SOURCE)
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
    dots = figure3(graph).axes[0].findobj(EllipseCollection)[0]
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
def test_graphs_too_small_to_lay_out_still_make_a_page(name):
    assert_fit_to_print(figure3(small_graphs()[name], SOURCE))


def test_a_graph_of_twenty_neurites_is_fit_to_print():
    assert_fit_to_print(figure3(random_graph(20, 44), SOURCE))


def test_a_graph_of_fifty_thousand_neurites_says_how_many_are_drawn():
    figure = figure3(random_graph(50_000, 80_000), SOURCE)
    assert "the 5,000 strongest neurites drawn" in figure.texts[-1].get_text()
    assert len(figure.axes[0].findobj(EllipseCollection)[0].get_offsets()) == 5000


def test_the_hubs_of_a_real_connectome_are_in_the_matrix(shared_data):
    table = pd.read_csv(shared_data / "celegans_connectomes" / "dataset8.csv")
    graph = nx.DiGraph()
    for (pre, post), rows in table.groupby(["pre", "post"]):
        graph.add_edge(pre, post, weight=float(len(rows)))
    figure = figure3(graph, "Witvliet et al. 2021, dataset 8")
    outside = [text for text in visible_texts(figure) if text.axes is not figure.axes[0]]
    assert {"RIAL", "RIAR", "AIBR"} <= {text.get_text() for text in outside}


# Figure 4


def test_figure4_draws_shifts_in_pixels_and_nanometres():
    shifts = np.array([[0, 0], [1.5, -2], [0.5, 3]])
    figure = figure4(shifts, (30, 4, 8))
    dy, dy_nm, dx, dx_nm = (figure.axes[i] for i in (0, 1, 2, 3))
    for axes, in_nm, column, nm in ((dy, dy_nm, 0, 4), (dx, dx_nm, 1, 8)):
        (line,) = [line for line in axes.lines if line.get_label() == "applied"]
        np.testing.assert_array_equal(line.get_ydata(), shifts[:, column])
        np.testing.assert_allclose(in_nm.get_ylim(), np.multiply(axes.get_ylim(), nm))


def test_figure4_takes_from_the_truth_what_all_sections_share():
    shifts = np.random.default_rng(1).normal(size=(12, 2))
    figure = figure4(shifts, (30, 8, 8), truth_shifts=shifts + np.array([10, -4]))
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "true"]
    np.testing.assert_allclose(line.get_ydata(), shifts[:, 0])


def test_figure4_marks_each_damaged_section():
    figure = figure4(np.zeros((9, 2)), (30, 8, 8), damaged=(2, 5))
    spans = sorted(patch.get_x() for patch in figure.axes[0].patches)
    assert spans == [1.5, 4.5]
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend.count("damaged section") == 1


def test_figure4_draws_the_trend_that_was_kept_within_the_panel():
    trend = np.linspace(-9, 9, 24).reshape(12, 2)
    figure = figure4(np.zeros((12, 2)), (30, 8, 8), trend=trend)
    for axes, column in ((figure.axes[0], 0), (figure.axes[2], 1)):
        (line,) = [line for line in axes.lines if line.get_label() == "trend kept"]
        np.testing.assert_array_equal(line.get_ydata(), trend[:, column])
        assert axes.get_ylim()[0] < trend.min() < trend.max() < axes.get_ylim()[1]


def test_figure4_draws_turns_in_degrees_and_stretches_in_percent():
    degrees, percent = np.array([0.0, 3.0, -2.0]), np.array([0.0, 0.0, 1.0])
    matrices = np.array([rotation_matrix(np.radians(angle)) for angle in degrees])
    plain = figure4(np.zeros((3, 2)), (30, 8, 8), matrices=matrices)
    both = figure4(
        np.zeros((3, 2)), (30, 8, 8), matrices=(1 + percent / 100)[:, None, None] * matrices
    )
    for figure, drawn in ((plain, [degrees]), (both, [degrees, percent])):
        (turns,) = [axes for axes in figure.axes if "clockwise" in axes.get_ylabel()]
        beside = [axes for axes in figure.axes if axes.get_ylabel() == "% larger"]
        assert len(beside) == len(drawn) - 1
        for axes, values in zip([turns, *beside], drawn, strict=True):
            np.testing.assert_allclose(axes.lines[-1].get_ydata(), values, atol=1e-9)
        assert_fit_to_print(figure)


def test_a_turn_that_is_drawn_as_counterclockwise_is_one():
    section = np.zeros((41, 41), np.float32)
    section[35, 20] = 1  # below the middle
    turned = warp_section(
        section, compose_transform(rotation_matrix(np.radians(90)), np.zeros(2)), order=1, cval=0.0
    )
    assert np.unravel_index(turned.argmax(), turned.shape) == (20, 35)  # right of it


def test_figure4_says_nothing_of_a_trend_where_there_is_none():
    figure = figure4(np.ones((12, 2)), (30, 8, 8), trend=np.zeros((12, 2)))
    assert [line.get_label() for line in figure.axes[0].lines if line.get_label()[0] != "_"] == [
        "applied"
    ]


# Writing

RENDER = """
import hashlib, sys
from pathlib import Path
import networkx as nx, numpy as np
from connectome.figures.overview import figure4, write_figure
from connectome.figures.network import figure3
out = Path(sys.argv[1])
graph = nx.DiGraph([(a, b, {"weight": 1.0 + a}) for a in range(9) for b in (a + 1, 0) if a != b])
write_figure(figure3(graph, "phantom"), out / "graph")
write_figure(figure4(np.arange(12.0).reshape(6, 2), (30, 8, 8), "phantom"), out / "shifts")
assert "matplotlib.pyplot" not in sys.modules
for name in sorted(out.iterdir()):
    print(name.name, hashlib.sha256(name.read_bytes()).hexdigest())
"""


def test_the_same_figure_gives_the_same_bytes_in_every_process_without_pyplot(tmp_path):
    printed = []
    for hash_seed in ("1", "2"):
        folder = tmp_path / hash_seed
        folder.mkdir()
        run = subprocess.run(
            [sys.executable, "-c", RENDER, str(folder)],
            env={"PYTHONHASHSEED": hash_seed, "HOME": str(tmp_path)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        printed.append(run.stdout)
    assert printed[0] == printed[1]
    assert len(printed[0].splitlines()) == 4


def test_the_users_matplotlib_settings_neither_show_nor_change(tmp_path):
    shifts = np.arange(8.0).reshape(4, 2)
    write_figure(figure4(shifts, (30, 8, 8)), tmp_path / "plain" / "figure")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "pdf.fonttype": 3}):
        before = dict(matplotlib.rcParams)
        write_figure(figure4(shifts, (30, 8, 8)), tmp_path / "odd" / "figure")
        assert dict(matplotlib.rcParams) == before
    for kind in ("pdf", "png"):
        plain, odd = ((tmp_path / name / f"figure.{kind}") for name in ("plain", "odd"))
        assert (
            hashlib.sha256(plain.read_bytes()).digest() == hashlib.sha256(odd.read_bytes()).digest()
        )


def test_the_pdf_embeds_truetype_fonts_and_bears_no_date(tmp_path):
    write_figure(figure4(np.zeros((4, 2)), (30, 8, 8)), tmp_path / "figure.v1")
    pdf = (tmp_path / "figure.v1.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


def test_a_large_page_stays_small_and_sharp(tmp_path):
    raw, _, _, labels = stacks((2, 1024, 1024), (30, 4, 4))
    smooth = np.linspace(0, 1, raw.data.size, dtype=np.float32).reshape(raw.shape)
    raw.data[:] = 255 * smooth
    write_figure(figure1(raw, smooth, smooth, labels), tmp_path / "figure")
    png = tmp_path / "figure.png"
    assert png.stat().st_size < 1.5e6
    with Image.open(png) as image:
        assert image.width == pytest.approx(178 / 25.4 * 200, abs=1)


def test_a_failed_write_leaves_the_previous_files(tmp_path):
    write_figure(figure4(np.zeros((4, 2)), (30, 8, 8)), tmp_path / "figure")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    broken = figure4(np.ones((4, 2)), (30, 8, 8))
    broken.axes[0].add_artist(AxesImage(broken.axes[0]))  # has no data: it cannot be drawn
    with pytest.raises((AttributeError, RuntimeError)):
        write_figure(broken, tmp_path / "figure")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_matrix_shows_neurites_that_are_strong_among_each_other():
    graph = random_graph(400, 700)
    hubs = [(1000 + hub, 2000 + 20 * hub + i) for hub in range(30) for i in range(20)]
    graph.add_edges_from(hubs, weight=3.0)  # strong, but none has to do with another
    core = [(pre, post) for pre in range(5000, 5024) for post in range(5000, 5024) if pre < post]
    graph.add_edges_from(core, weight=1.0)
    names = [tick.get_text() for tick in figure3(graph).axes[2].get_yticklabels()]
    assert {int(name) for name in names} == set(range(5000, 5024))


@pytest.mark.parametrize("low", [0.0002, 0.004, 0.015, 0.05])
def test_the_numbers_under_the_shades_of_connections_do_not_overlap(low):
    figure = page.create_page(120.0)
    _draw_graph_keys(figure, _weight_norm(np.array([low, 0.2])))
    FigureCanvasAgg(figure).draw()
    shades = figure.axes[0].xaxis
    boxes = [tick.label1.get_window_extent() for tick in shades.get_major_ticks()]
    boxes += [tick.label1.get_window_extent() for tick in shades.get_minor_ticks()]
    seen = sorted((box.x0, box.x1) for box in boxes if box.width > 1)
    assert len(seen) >= 2
    assert all(right <= left for (_, right), (left, _) in pairwise(seen))
