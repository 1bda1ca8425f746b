"""The pictures that compare: a colour other than that of the truth means an error."""

import sys

import numpy as np
from helpers.locations import ROOT
from PIL import Image

sys.path.insert(0, str(ROOT / "docs"))

from comparison_picture import Column, draw_comparison, match_ids, reduce_colours

from connectome.core.volume import Volume
from connectome.figures.layout import page


def stripes(*ids, width=6):
    """Return a stack of stripes, each so wide, with these ids."""
    return np.tile(np.repeat(ids, width), (2, 5, 1))


def test_a_perfect_answer_takes_the_true_ids():
    true = stripes(4, 9, 2, 0)
    np.testing.assert_array_equal(match_ids(stripes(1, 2, 3, 0), true), true)


def test_of_a_split_neurite_the_larger_piece_keeps_the_id_and_the_other_gets_a_new_one():
    found = match_ids(stripes(1, 1, 2, 3), stripes(7, 7, 7, 8))
    assert found[0, 0, [0, 6, 18]].tolist() == [7, 7, 8]
    assert found[0, 0, 12] not in (0, 7, 8)


def test_a_merger_takes_the_id_of_the_largest_neurite_in_it():
    found = match_ids(stripes(1, 1, 1, 2), stripes(5, 6, 6, 3))
    assert found[0, 0, ::6].tolist() == [6, 6, 6, 3]


def test_what_overlaps_nothing_true_has_an_id_of_its_own():
    found = match_ids(stripes(1, 2), stripes(3, 0))
    assert found[0, 0, 0] == 3
    assert found[0, 0, 6] not in (0, 3)


def test_both_rows_show_every_column_at_one_scale():
    volume = Volume(np.full((4, 30, 20), 128, np.uint8), (30.0, 8.0, 8.0))
    still, ids = np.zeros((4, 2)), np.ones((4, 30, 20), int)
    columns = [Column("EM", still), Column("Truth", still, ids), Column("Ours", still + 3, ids)]
    figure = draw_comparison(volume, columns)
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 6
    # 20 px of 8 nm square, and 4 sections of 30 nm.
    sizes = [axes.get_window_extent() for axes in panels]
    ratios = [size.height / size.width for size in sizes]
    np.testing.assert_allclose(ratios, 3 * [1.0] + 3 * [120 / 160], rtol=1e-3)


def test_few_colours_keep_greys_grey_and_tints_what_they_are():
    greys = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    few = np.asarray(reduce_colours(Image.fromarray(greys)).convert("RGB")).astype(int)
    assert np.ptp(few, axis=2).max() == 0
    assert np.abs(few - greys).max() <= 9
    tints = (0.5 * greys + 0.5 * 255 * page.NEURITE_COLOURS[:, None]).round().astype(np.uint8)
    few = np.asarray(reduce_colours(Image.fromarray(tints)).convert("RGB")).astype(int)
    assert np.abs(few - tints).max() <= 9
