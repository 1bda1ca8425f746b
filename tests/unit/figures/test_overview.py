"""The processing overview: the same planes at every step, at one scale."""

import numpy as np
import pytest
from helpers.figure_checks import images, stacks

from connectome.core.errors import DataError
from connectome.figures.layout import page
from connectome.figures.neurites import draw_ortho_views
from connectome.figures.overview import draw_overview


def test_the_overview_shows_the_same_section_and_plane_of_each_stack():
    cutout, preprocessed, aligned, labels = stacks()
    shown = images(draw_overview(cutout, preprocessed, aligned, labels, section=4))
    np.testing.assert_array_equal(shown[0], cutout.data[4])
    np.testing.assert_allclose(shown[1] / 255, preprocessed[4], atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(shown[2] / 255, aligned.data[4], atol=0.5 / 255 + 1e-6)
    np.testing.assert_array_equal(shown[4], cutout.data[:, 24])
    np.testing.assert_allclose(shown[6] / 255, aligned.data[:, 24], atol=0.5 / 255 + 1e-6)


def test_the_overview_leaves_unlabelled_tissue_grey_and_tints_the_rest():
    cutout, preprocessed, aligned, labels = stacks()
    labels[:, :, :32] = 0
    tinted, grey = (images(draw_overview(cutout, preprocessed, aligned, labels))[i] for i in (3, 2))
    np.testing.assert_array_equal(tinted[:, :32], np.repeat(grey[:, :32, None], 3, axis=2))
    assert np.ptp(tinted[:, 32:].astype(int), axis=2).min() > 0


def test_the_overview_avoids_a_blank_section():
    cutout, preprocessed, aligned, labels = stacks()
    cutout.data[3] = 0
    shown = images(draw_overview(cutout, preprocessed, aligned, labels))[0]
    np.testing.assert_array_equal(shown, cutout.data[2])


def test_a_neurite_has_one_colour_in_the_overview_and_in_ortho_views():
    cutout, preprocessed, aligned, _ = stacks()
    labels = np.random.default_rng(3).integers(1, 60, (6, 6, 8)).repeat(8, axis=1).repeat(8, axis=2)
    first = images(draw_overview(cutout, preprocessed, aligned, labels))
    fifth = images(draw_ortho_views(aligned, labels))
    for one, other in ((first[3], fifth[3]), (first[7], fifth[4])):
        np.testing.assert_array_equal(one, other)


def test_the_overview_is_to_one_physical_scale_with_a_bar_of_a_round_length():
    cutout, *others = stacks((10, 48, 64), (30, 4, 8))
    figure = draw_overview(cutout, *others)
    width, height = figure.get_size_inches() * page.MM_PER_INCH
    assert width == pytest.approx(178)
    xy, xz = figure.axes[0].get_position(), figure.axes[5].get_position()
    assert xy.height * height / (xy.width * width) == pytest.approx(48 * 4 / (64 * 8))
    assert xz.height * height / (xz.width * width) == pytest.approx(10 * 30 / (64 * 8))
    bar = figure.axes[4].get_position()  # after the four images of the section
    assert bar.width / xy.width == pytest.approx(0.1 / 0.512)
    assert "0.1 µm" in [text.get_text() for text in figure.texts]


def test_the_overview_refuses_stacks_of_different_shape():
    cutout, preprocessed, aligned, labels = stacks()
    with pytest.raises(DataError, match=r"\(5, 48, 64\).*\(6, 48, 64\)"):
        draw_overview(cutout, preprocessed[:5], aligned, labels)
