"""The gallery shows the right places; distributions count right; gaps are said, not drawn."""

import numpy as np
import pandas as pd
import pytest
from helpers.figure_checks import assert_fit_to_print, candidates, stacks, visible_texts

from connectome.core.errors import DataError
from connectome.figures.summary import OUTSIDE_GREY, THUMBNAIL_PX, figure7, figure8

SCORES = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3}
EVALUATION = {"segmentation": {"are": 0.2}, "synapses": dict.fromkeys(("100", "200"), SCORES)}


def texts(figure):
    return [text.get_text() for text in visible_texts(figure)]


def stack(shape=(6, 120, 160)):
    raw, _, aligned, labels = stacks(shape)
    return raw.with_data(aligned), labels


def thumbnails(figure):
    return [axes for axes in figure.axes if axes.images]


def tables(n_nodes=30, n_synapses=40, seed=0):
    rng = np.random.default_rng(seed)
    nodes = pd.DataFrame({"n_pre": rng.poisson(2, n_nodes), "n_post": rng.poisson(2, n_nodes)})
    edges = pd.DataFrame({"n_synapses": 1 + rng.poisson(1, 2 * n_nodes)})
    return nodes, edges, pd.DataFrame({"score": rng.random(n_synapses)})


def test_the_gallery_shows_the_best_and_the_worst():
    aligned, labels = stack()
    table = candidates(aligned.shape, 40)
    figure = figure7(aligned, labels, table)
    assert_fit_to_print(figure)
    told = [float(t.split("\n")[1].split()[0]) for t in texts(figure) if "→" in t]
    ranked = table["score"].sort_values(ascending=False).round(2).tolist()
    assert told == ranked[:8] + ranked[-8:]


def test_no_candidate_is_shown_twice():
    aligned, labels = stack()
    for count in (1, 8, 11):
        assert len(thumbnails(figure7(aligned, labels, candidates(aligned.shape, count)))) == count


def test_a_thumbnail_shows_its_place_plain_and_with_outlines_and_marks_it():
    aligned, labels = stack()
    aligned.data[:] = 0.2
    aligned.data[3, 60, 80] = 1.0
    table = pd.DataFrame(
        [{"z": 3, "y": 60, "x": 80, "pre_id": 701, "post_ids": "711;9", "score": 1}]
    )
    (axes,) = thumbnails(figure7(aligned, labels, table))
    image = axes.images[0].get_array()
    plain, outlined = image[:THUMBNAIL_PX], image[-THUMBNAIL_PX:]
    bright = np.unravel_index(plain[..., 0].argmax(), plain.shape[:2])
    (mark,) = axes.lines
    (x,), (y,) = mark.get_data()
    offset = len(image) - THUMBNAIL_PX
    np.testing.assert_allclose((y - offset, x), bright, atol=2)
    assert np.ptp(plain, axis=2).max() == 0 < np.ptp(outlined, axis=2).max()


@pytest.mark.parametrize("place", [(0, 0, 0), (5, 119, 159), (2, 60, 80)])
def test_every_candidate_is_in_the_middle_and_what_is_beyond_the_image_is_pale(place):
    aligned, labels = stack()
    aligned.data[:] = 0.2
    table = candidates(aligned.shape, 1).assign(**dict(zip("zyx", place, strict=True)))
    (axes,) = thumbnails(figure7(aligned, labels, table))
    (mark,) = axes.lines
    assert mark.get_xdata()[0] == pytest.approx(THUMBNAIL_PX / 2, abs=THUMBNAIL_PX / 80 + 1)
    plain = axes.images[0].get_array()[:THUMBNAIL_PX, :, 0]
    # 640 nm are 80 pixels: of a corner a quarter is seen, in the middle all.
    shown = (plain == 51).mean()
    assert shown == pytest.approx(1 if place[1] == 60 else 0.25, abs=0.02)
    assert ((plain == 51) | (plain == OUTSIDE_GREY)).all()


@pytest.mark.parametrize("ids", [(1, 2, 3), (107, 138, 153, 154), (10**6, 10**6 + 1), (2**40,) * 3])
def test_captions_keep_to_their_thumbnail_and_name_neurites_whole(ids):
    aligned, labels = stack()
    pre, *posts = ids
    names = {"pre_id": pre, "post_ids": ";".join(map(str, posts))}
    figure = figure7(aligned, labels, candidates(aligned.shape, 16).assign(**names))
    assert_fit_to_print(figure)
    caption = next(text for text in texts(figure) if "→" in text).split("\n")[0]
    if pre < 10**6:
        told, *rest = caption.split(" +")
        assert all(int(name) in ids for name in told.replace(" →", ";").split("; "))
        assert len(told.split("; ")) + sum(map(int, rest)) == len(posts)


def test_a_stack_smaller_than_a_thumbnail_is_shown_as_it_is():
    aligned, labels = stack((2, 20, 30))
    aligned.data[:] = 0.2
    figure = figure7(aligned, labels, candidates(aligned.shape, 3))
    assert_fit_to_print(figure)
    plain = thumbnails(figure)[0].images[0].get_array()[:THUMBNAIL_PX, :, 0]
    assert (plain == 51).mean() == pytest.approx(20 * 30 / 80**2, abs=0.02)


def test_no_candidates_give_a_gallery_that_says_so():
    aligned, labels = stack()
    assert "no synapse candidates" in texts(figure7(aligned, labels, candidates((6, 9, 9), 0)))


@pytest.mark.parametrize("column", ["z", "score", "pre_id", "post_id"])
def test_a_gallery_without_a_column_is_refused(column):
    aligned, labels = stack()
    with pytest.raises(DataError, match=column):
        figure7(aligned, labels, candidates(aligned.shape, 3).drop(columns=column))


def test_a_gallery_without_direction_has_partners_alike_and_no_arrows():
    aligned, labels = stack()
    table = candidates(aligned.shape, 3).assign(pre_id=711, post_id=712, x=92, y=60)
    turned = table.assign(pre_id=712, post_id=711)
    figures = [figure7(aligned, labels, each, False) for each in (table, turned)]
    one, other = ([axes.images[0].get_array() for axes in thumbnails(each)] for each in figures)
    assert np.ptp(one[0][-THUMBNAIL_PX:].astype(int), axis=2).max() > 0  # outlines are there
    np.testing.assert_array_equal(one, other)
    for figure in figures:
        assert_fit_to_print(figure)
        told = " ".join(texts(figure))
        assert "→" not in told and "synaptic" not in told
        assert "partners, without direction" in told


def test_figure8_without_direction_counts_partners_once():
    nodes, edges, synapses = tables()
    nodes["n_post"] = nodes["n_pre"]
    figure = figure8(nodes, edges, synapses, {}, "", False)
    (line,) = figure.axes[0].lines
    assert line.get_label() == "partners"
    assert not {"inputs", "outputs"} & set(texts(figure))


def test_figure8_counts_partners_synapses_and_scores():
    nodes, edges, synapses = tables()
    figure = figure8(nodes, edges, synapses, EVALUATION, "phantom://neuropil")
    assert_fit_to_print(figure)
    partners, strength, scores, _ = figure.axes
    inputs, outputs = partners.lines
    for line, name in ((inputs, "n_pre"), (outputs, "n_post")):
        for degree, share in zip(*line.get_data(), strict=True):
            assert share == pytest.approx((nodes[name] >= degree).mean())
    assert sum(bar.get_height() for bar in strength.patches) == len(edges)
    assert scores.patches[0].get_data().values.sum() == len(synapses)


@pytest.mark.parametrize(("most", "ticks"), [(1, [1]), (4, [1, 2, 3, 4]), (30, [1, 2, 5, 10, 20])])
def test_the_axis_of_partners_is_numbered(most, ticks):
    nodes = pd.DataFrame({"n_pre": [1, most], "n_post": [1, 1]})
    figure = figure8(nodes, pd.DataFrame({"n_synapses": [1]}), pd.DataFrame({"score": [0.5]}), {})
    shown = [t for t in visible_texts(figure) if t in figure.axes[0].get_xticklabels()]
    assert [int(text.get_text()) for text in shown] == ticks
    assert_fit_to_print(figure)


def test_figure8_shows_the_scores_of_the_run():
    shown = texts(figure8(*tables(), EVALUATION))
    assert {"0.80", "0.33", "0.50", "0.25", "F1, 200 nm"} <= set(shown)
    assert not {"F1, 400 nm"} & set(shown)


def test_nothing_known_is_said_and_not_drawn():
    empty = [table[:0] for table in tables()]
    figure = figure8(*empty, {})
    assert_fit_to_print(figure)
    shown = " ".join(texts(figure))
    for said in ("no connections", "no candidates", "no truth is known"):
        assert said in shown


def test_fifty_thousand_neurites_can_be_counted():
    assert_fit_to_print(figure8(*tables(50_000, 100_000), {}))


@pytest.mark.parametrize(("which", "column"), [(0, "n_pre"), (1, "n_synapses"), (2, "score")])
def test_figure8_without_a_column_is_refused(which, column):
    given = list(tables())
    given[which] = given[which].drop(columns=column)
    with pytest.raises(DataError, match=column):
        figure8(*given, {})
