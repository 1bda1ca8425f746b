"""Distributions count correctly; missing data gives a notice."""

import numpy as np
import pandas as pd
import pytest
from helpers.figure_checks import SOURCE, assert_fit_to_print, texts, visible_texts

from connectome.core.errors import DataError
from connectome.figures.distributions import draw_distributions

SCORES = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3}
EVALUATION = {"segmentation": {"are": 0.2}, "synapses": dict.fromkeys(("100", "200"), SCORES)}


def tables(n_nodes=30, n_synapses=40, seed=0):
    rng = np.random.default_rng(seed)
    nodes = pd.DataFrame({"n_pre": rng.poisson(2, n_nodes), "n_post": rng.poisson(2, n_nodes)})
    edges = pd.DataFrame({"n_synapses": 1 + rng.poisson(1, 2 * n_nodes)})
    return nodes, edges, pd.DataFrame({"score": rng.random(n_synapses)})


def test_partners_of_an_undirected_graph_are_counted_once():
    nodes, edges, synapses = tables()
    nodes["n_post"] = nodes["n_pre"]
    figure = draw_distributions(nodes, edges, synapses, {}, directed=False)
    (line,) = figure.axes[0].lines
    assert line.get_label() == "partners"
    assert not {"inputs", "outputs"} & set(texts(figure))


def test_partners_synapses_and_scores_are_counted():
    nodes, edges, synapses = tables()
    figure = draw_distributions(nodes, edges, synapses, EVALUATION, source=SOURCE)
    assert_fit_to_print(figure)
    degrees, counts, scores, _ = figure.axes
    inputs, outputs = degrees.lines
    for line, name in ((inputs, "n_pre"), (outputs, "n_post")):
        for degree, fraction in zip(*line.get_data(), strict=True):
            assert fraction == pytest.approx((nodes[name] >= degree).mean())
    assert sum(bar.get_height() for bar in counts.patches) == len(edges)
    assert scores.patches[0].get_data().values.sum() == len(synapses)


@pytest.mark.parametrize(("most", "ticks"), [(1, [1]), (4, [1, 2, 3, 4]), (30, [1, 2, 5, 10, 20])])
def test_the_axis_of_partners_has_integer_ticks(most, ticks):
    nodes = pd.DataFrame({"n_pre": [1, most], "n_post": [1, 1]})
    figure = draw_distributions(
        nodes, pd.DataFrame({"n_synapses": [1]}), pd.DataFrame({"score": [0.5]}), {}
    )
    shown = [t for t in visible_texts(figure) if t in figure.axes[0].get_xticklabels()]
    assert [int(text.get_text()) for text in shown] == ticks
    assert_fit_to_print(figure)


def test_the_evaluation_is_shown():
    shown = texts(draw_distributions(*tables(), EVALUATION))
    assert {"0.80", "0.33", "0.50", "0.25", "F1, 200 nm"} <= set(shown)
    assert not {"F1, 400 nm"} & set(shown)


def test_missing_data_gives_notices():
    empty = [table[:0] for table in tables()]
    figure = draw_distributions(*empty, {})
    assert_fit_to_print(figure)
    shown = " ".join(texts(figure))
    for notice in ("no connections", "no candidates", "no ground truth"):
        assert notice in shown


def test_fifty_thousand_neurites_are_fit_to_print():
    assert_fit_to_print(draw_distributions(*tables(50_000, 100_000), {}))


@pytest.mark.parametrize(("which", "column"), [(0, "n_pre"), (1, "n_synapses"), (2, "score")])
def test_a_missing_column_is_refused(which, column):
    given = list(tables())
    given[which] = given[which].drop(columns=column)
    with pytest.raises(DataError, match=column):
        draw_distributions(*given, {})
