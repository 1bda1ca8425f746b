"""Synapse candidates: in the right places and directions, and complete."""

import numpy as np
import pandas as pd
import pytest
from helpers.figure_checks import CANDIDATES, assert_fit_to_print, candidates, images, stacks, texts
from matplotlib.quiver import Quiver

from connectome.core.errors import DataError
from connectome.figures.layout import page
from connectome.figures.synapses import (
    OUTSIDE_GREY,
    THUMBNAIL_PX,
    draw_synapse_gallery,
    draw_synapse_overlay,
)

# --- overlay --------------------------------------------------------------------------------


def arrows_of(figure):
    return [quiver for axes in figure.axes for quiver in axes.findobj(Quiver) if quiver.N]


@pytest.mark.parametrize(
    "pre, post, direction", [((24, 20), (24, 40), (1, 0)), ((40, 32), (8, 32), (0, 1))]
)
def test_arrows_point_from_the_presynaptic_to_the_postsynaptic_neurite(pre, post, direction):
    _, _, aligned, labels = stacks()
    labels[:] = 0
    for neurite, (y, x) in ((1, pre), (2, post)):
        labels[:, y - 8 : y + 8, x - 8 : x + 8] = neurite
    middle = np.mean([pre, post], axis=0)
    for ids, sign in (((1, 2), 1), ((2, 1), -1)):
        table = pd.DataFrame([(3, *middle, *ids, 0.7)], columns=CANDIDATES)
        (arrow,) = arrows_of(draw_synapse_overlay(aligned, labels, table))
        # Quiver's V points up the page.
        np.testing.assert_allclose([arrow.U[0], arrow.V[0]], sign * np.array(direction), atol=0.05)


def test_an_undirected_line_is_the_same_whichever_partner_is_called_presynaptic():
    _, _, aligned, labels = stacks()
    lines = []
    for ids in ((304, 305), (305, 304)):  # squares side by side
        table = pd.DataFrame([(3, 27, 40, *ids, 0.7)], columns=CANDIDATES)
        figure = draw_synapse_overlay(aligned, labels, table, directed=False)
        assert_fit_to_print(figure)
        shown = " ".join(texts(figure))
        assert "undirected" in shown
        assert "synaptic neurite" not in shown and "Arrows" not in shown
        (line,) = arrows_of(figure)
        assert line.pivot == "middle"
        shape = line.get_paths()[0].vertices
        assert np.ptp(shape[:, 1]) == pytest.approx(0.6 / page.MM_PER_INCH)  # no head
        lines.append([shape.min(axis=0), shape.max(axis=0)])
    np.testing.assert_allclose(*lines, atol=1e-6)


def test_the_overlay_shows_the_section_with_most_candidates_of_each_third():
    _, _, aligned, labels = stacks((9, 48, 64))
    z = [1, 1, 0, 4, 4, 4, 8]
    table = candidates(aligned.shape, len(z)).assign(z=z)
    figure = draw_synapse_overlay(aligned, labels, table)
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


def test_a_candidate_is_shown_in_every_section_that_it_spans():
    _, _, aligned, labels = stacks((9, 48, 64))
    table = candidates(aligned.shape, 3).assign(
        z=[1, 2, 7], z_first=[0, 2, 7], z_last=[2, 4, np.nan]
    )
    figure = draw_synapse_overlay(aligned, labels, table)
    titles = [text.get_text() for text in figure.texts if text.get_text().startswith("Section")]
    assert [title.split(" · ") for title in titles] == [
        ["Section z = 2", "2 candidates"],
        ["Section z = 4", "1 candidate"],
        ["Section z = 7", "1 candidate"],
    ]


def test_an_overlay_without_candidates_has_a_notice():
    _, _, aligned, labels = stacks()
    figure = draw_synapse_overlay(aligned, labels, pd.DataFrame(columns=CANDIDATES))
    assert "no synapse candidates" in texts(figure)
    assert_fit_to_print(figure)


def test_boundaries_are_drawn_only_where_ids_differ():
    _, _, aligned, labels = stacks((3, 48, 64))
    labels[:] = 1
    labels[:, :, 32:] = 2
    aligned.data[:] = 0.5
    none = pd.DataFrame(columns=CANDIDATES)
    image = images(draw_synapse_overlay(aligned, labels, none))[0]
    coloured = np.ptp(image.astype(int), axis=2).max(axis=0) > 0
    assert coloured.sum() == 1
    assert np.flatnonzero(coloured)[0] == image.shape[1] // 2 - 1


# --- gallery --------------------------------------------------------------------------------


def stack(shape=(6, 120, 160)):
    _, _, aligned, labels = stacks(shape)
    return aligned, labels


def thumbnails(figure):
    return [axes for axes in figure.axes if axes.images]


def test_the_gallery_shows_the_highest_and_the_lowest_scores():
    aligned, labels = stack()
    table = candidates(aligned.shape, 40)
    figure = draw_synapse_gallery(aligned, labels, table)
    assert_fit_to_print(figure)
    shown = [float(t.split("\n")[1].split()[0]) for t in texts(figure) if "→" in t]
    ranked = table["score"].sort_values(ascending=False).round(2).tolist()
    assert shown == ranked[:8] + ranked[-8:]


def test_no_candidate_is_shown_twice():
    aligned, labels = stack()
    for count in (1, 8, 11):
        assert (
            len(thumbnails(draw_synapse_gallery(aligned, labels, candidates(aligned.shape, count))))
            == count
        )


def test_a_thumbnail_is_centred_and_shown_without_and_with_outlines():
    aligned, labels = stack()
    aligned.data[:] = 0.2
    aligned.data[3, 60, 80] = 1.0
    table = pd.DataFrame(
        [{"z": 3, "y": 60, "x": 80, "pre_id": 701, "post_ids": "711;9", "score": 1}]
    )
    (axes,) = thumbnails(draw_synapse_gallery(aligned, labels, table))
    image = axes.images[0].get_array()
    plain, outlined = image[:THUMBNAIL_PX], image[-THUMBNAIL_PX:]
    bright = np.unravel_index(plain[..., 0].argmax(), plain.shape[:2])
    (mark,) = axes.lines
    (x,), (y,) = mark.get_data()
    offset = len(image) - THUMBNAIL_PX
    np.testing.assert_allclose((y - offset, x), bright, atol=2)
    assert np.ptp(plain, axis=2).max() == 0 < np.ptp(outlined, axis=2).max()


@pytest.mark.parametrize("place", [(0, 0, 0), (5, 119, 159), (2, 60, 80)])
def test_every_candidate_is_centred_and_the_area_outside_the_stack_is_light_grey(place):
    aligned, labels = stack()
    aligned.data[:] = 0.2
    table = candidates(aligned.shape, 1).assign(**dict(zip("zyx", place, strict=True)))
    (axes,) = thumbnails(draw_synapse_gallery(aligned, labels, table))
    (mark,) = axes.lines
    assert mark.get_xdata()[0] == pytest.approx(THUMBNAIL_PX / 2, abs=THUMBNAIL_PX / 80 + 1)
    plain = axes.images[0].get_array()[:THUMBNAIL_PX, :, 0]
    # 640 nm are 80 pixels: a quarter of them lies inside the stack at a corner, all in the middle.
    shown = (plain == 51).mean()
    assert shown == pytest.approx(1 if place[1] == 60 else 0.25, abs=0.02)
    assert ((plain == 51) | (plain == OUTSIDE_GREY)).all()


@pytest.mark.parametrize("ids", [(1, 2, 3), (107, 138, 153, 154), (10**6, 10**6 + 1), (2**40,) * 3])
def test_captions_fit_their_thumbnail_and_do_not_truncate_ids(ids):
    aligned, labels = stack()
    pre, *posts = ids
    names = {"pre_id": pre, "post_ids": ";".join(map(str, posts))}
    figure = draw_synapse_gallery(aligned, labels, candidates(aligned.shape, 16).assign(**names))
    assert_fit_to_print(figure)
    caption = next(text for text in texts(figure) if "→" in text).split("\n")[0]
    if pre < 10**6:
        named, *more = caption.split(" +")
        assert all(int(name) in ids for name in named.replace(" →", ";").split("; "))
        assert len(named.split("; ")) + sum(map(int, more)) == len(posts)


def test_a_stack_smaller_than_a_thumbnail_is_not_enlarged():
    aligned, labels = stack((2, 20, 30))
    aligned.data[:] = 0.2
    figure = draw_synapse_gallery(aligned, labels, candidates(aligned.shape, 3))
    assert_fit_to_print(figure)
    plain = thumbnails(figure)[0].images[0].get_array()[:THUMBNAIL_PX, :, 0]
    assert (plain == 51).mean() == pytest.approx(20 * 30 / 80**2, abs=0.02)


def test_a_gallery_without_candidates_has_a_notice():
    aligned, labels = stack()
    assert "no synapse candidates" in texts(
        draw_synapse_gallery(aligned, labels, candidates((6, 9, 9), 0))
    )


@pytest.mark.parametrize("column", ["z", "score", "pre_id", "post_id"])
def test_a_gallery_without_a_column_is_refused(column):
    aligned, labels = stack()
    with pytest.raises(DataError, match=column):
        draw_synapse_gallery(aligned, labels, candidates(aligned.shape, 3).drop(columns=column))


def test_an_undirected_gallery_has_no_arrows_and_one_colour():
    aligned, labels = stack()
    table = candidates(aligned.shape, 3).assign(pre_id=711, post_id=712, x=92, y=60)
    swapped = table.assign(pre_id=712, post_id=711)
    figures = [draw_synapse_gallery(aligned, labels, each, False) for each in (table, swapped)]
    one, other = ([axes.images[0].get_array() for axes in thumbnails(each)] for each in figures)
    assert np.ptp(one[0][-THUMBNAIL_PX:].astype(int), axis=2).max() > 0  # outlines are there
    np.testing.assert_array_equal(one, other)
    for figure in figures:
        assert_fit_to_print(figure)
        shown = " ".join(texts(figure))
        assert "→" not in shown and "synaptic" not in shown
        assert "partners (undirected)" in shown
