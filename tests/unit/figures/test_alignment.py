"""Alignment: shifts, drift and rotation in the right units and directions."""

import numpy as np
from helpers.figure_checks import SOURCE, assert_fit_to_print

from connectome.align.transforms import compose_transform, rotation_matrix, warp_section
from connectome.figures.alignment import draw_alignment


def draw(shifts, voxel_size=(30, 8, 8), **optional):
    return draw_alignment({"shifts": shifts, **optional}, voxel_size, SOURCE)


def test_shifts_are_drawn_in_pixels_and_nanometres():
    shifts = np.array([[0, 0], [1.5, -2], [0.5, 3]])
    figure = draw(shifts, (30, 4, 8))
    dy, dy_nm, dx, dx_nm = (figure.axes[i] for i in (0, 1, 2, 3))
    for axes, in_nm, column, nm in ((dy, dy_nm, 0, 4), (dx, dx_nm, 1, 8)):
        (line,) = [line for line in axes.lines if line.get_label() == "applied"]
        np.testing.assert_array_equal(line.get_ydata(), shifts[:, column])
        np.testing.assert_allclose(in_nm.get_ylim(), np.multiply(axes.get_ylim(), nm))


def test_a_shift_common_to_all_sections_is_subtracted_from_the_truth():
    shifts = np.random.default_rng(1).normal(size=(12, 2))
    figure = draw(shifts, true_shifts=shifts + np.array([10, -4]))
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "true"]
    np.testing.assert_allclose(line.get_ydata(), shifts[:, 0])


def test_each_damaged_section_is_marked():
    figure = draw(np.zeros((9, 2)), damaged_sections=(2, 5))
    spans = sorted(patch.get_x() for patch in figure.axes[0].patches)
    assert spans == [1.5, 4.5]
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend.count("damaged section") == 1


def test_drift_is_drawn_within_the_panel():
    drift = np.linspace(-9, 9, 24).reshape(12, 2)
    figure = draw(np.zeros((12, 2)), trend=drift)
    for axes, column in ((figure.axes[0], 0), (figure.axes[2], 1)):
        (line,) = [line for line in axes.lines if line.get_label() == "drift kept"]
        np.testing.assert_array_equal(line.get_ydata(), drift[:, column])
        assert axes.get_ylim()[0] < drift.min() < drift.max() < axes.get_ylim()[1]


def test_rotation_is_drawn_in_degrees_and_scaling_in_percent():
    degrees, percent = np.array([0.0, 3.0, -2.0]), np.array([0.0, 0.0, 1.0])
    matrices = np.array([rotation_matrix(np.radians(angle)) for angle in degrees])
    plain = draw(np.zeros((3, 2)), matrices=matrices)
    both = draw(np.zeros((3, 2)), matrices=(1 + percent / 100)[:, None, None] * matrices)
    for figure, drawn in ((plain, [degrees]), (both, [degrees, percent])):
        (rotation,) = [axes for axes in figure.axes if "clockwise" in axes.get_ylabel()]
        scaling = [axes for axes in figure.axes if axes.get_ylabel() == "scaling (%)"]
        assert len(scaling) == len(drawn) - 1
        for axes, values in zip([rotation, *scaling], drawn, strict=True):
            np.testing.assert_allclose(axes.lines[-1].get_ydata(), values, atol=1e-9)
        assert_fit_to_print(figure)


def test_rotation_drawn_as_counterclockwise_is_counterclockwise():
    section = np.zeros((41, 41), np.float32)
    section[35, 20] = 1  # below the middle
    rotated = warp_section(
        section, compose_transform(rotation_matrix(np.radians(90)), np.zeros(2)), order=1, cval=0.0
    )
    assert np.unravel_index(rotated.argmax(), rotated.shape) == (20, 35)  # right of it


def test_zero_drift_is_not_drawn():
    figure = draw(np.ones((12, 2)), trend=np.zeros((12, 2)))
    assert [line.get_label() for line in figure.axes[0].lines if line.get_label()[0] != "_"] == [
        "applied"
    ]
