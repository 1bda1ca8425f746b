"""Neurites in 3D: the right planes of the stack, and surfaces where neurites are."""

import numpy as np
import pytest
from helpers.figure_checks import assert_fit_to_print, images, stacks, texts

from connectome.core.errors import DataError
from connectome.core.volume import Volume
from connectome.figures.layout import page
from connectome.figures.layout.output import write_figure
from connectome.figures.neurites import (
    _create_projection,
    _depth_maps,
    _find_largest,
    draw_largest_neurites,
    draw_ortho_views,
)

NM = (30.0, 8.0, 8.0)


def volume(shape=(12, 40, 64), voxel_size=NM):
    _, _, aligned, labels = stacks(shape, voxel_size)
    return aligned, labels


def test_ortho_views_are_the_three_planes_through_the_middle():
    aligned, labels = volume()
    shown = images(draw_ortho_views(aligned, labels))
    planes = [aligned.data[6], aligned.data[:, 20], aligned.data[:, :, 32].T]
    for image, plane in zip(shown[:3], planes, strict=True):
        np.testing.assert_allclose(image / 255, plane, atol=0.5 / 255 + 1e-6)
    assert [image.shape[:2] for image in shown[3:]] == [plane.shape for plane in planes]


def test_ortho_views_have_one_scale():
    aligned, labels = volume()
    figure = draw_ortho_views(aligned, labels)
    width, height = figure.get_size_inches() * page.MM_PER_INCH
    panels = [axes.get_position() for axes in figure.axes if axes.images][:3]
    sides = [(box.width * width, box.height * height) for box in panels]
    z, y, x = aligned.field_of_view_um
    scale = sides[0][0] / x
    np.testing.assert_allclose(sides, np.array([(x, y), (x, z), (z, y)]) * scale)


@pytest.mark.parametrize("shape", [(1, 40, 40), (300, 24, 24), (4, 20, 200), (6, 200, 20)])
def test_ortho_views_of_any_shape_are_fit_to_print(shape):
    aligned, labels = volume(shape)
    figure = draw_ortho_views(aligned, labels)
    assert_fit_to_print(figure)
    assert any(", sections" in text for text in texts(figure)) == (shape[0] == 300)


def test_labels_of_another_shape_are_refused():
    aligned, labels = volume()
    with pytest.raises(DataError, match="shape"):
        draw_ortho_views(aligned, labels[1:])


def test_the_largest_neurites_are_found_whatever_their_ids():
    labels = np.zeros((4, 10, 10), np.int32)
    labels[0, :3, :3], labels[1, :2, :2], labels[2, 0, 0] = 2**31 - 1, 7, 3
    ids, voxels = _find_largest(labels)
    assert ids.tolist() == [2**31 - 1, 7, 3]
    assert voxels.tolist() == [9, 4, 1]


def test_the_nearer_surface_has_the_smaller_depth():
    """Of two walls, the one of low y is farther from the viewer, who stands at high y."""
    compact = np.zeros((20, 40, 40), np.uint8)
    compact[:, 4:6], compact[:, 34:36] = 1, 2
    size = np.array(compact.shape) * (16.0, 8.0, 8.0)
    one, other = _depth_maps(compact, (16.0, 8.0, 8.0), _create_projection(size), 2)
    both = np.isfinite(one) & np.isfinite(other)
    assert both.any()
    order = np.sign((one - other)[both])
    assert np.all(order == order[0])


@pytest.mark.parametrize("shape", [(1, 64, 64), (64, 1, 64), (64, 64, 1), (1, 1, 1), (40, 40, 40)])
def test_neurites_one_voxel_thin_are_drawn(shape):
    labels = np.ones(shape, np.int32)
    labels[:, shape[1] // 2, shape[2] // 2] = 2  # as thin as can be
    labels[0, 0, 0] = 3
    figure = draw_largest_neurites(labels, NM)
    (relief,) = figure.axes[0].images
    assert (np.asarray(relief.get_array())[..., 3] > 0).any(), "the stack is not lost"


def test_surfaces_lie_within_the_outline_of_the_stack():
    labels = np.ones((20, 40, 40), np.int32)
    view = _create_projection(np.array(labels.shape) * NM)
    (surface,) = _depth_maps(labels.astype(np.uint8), NM, view, 1)
    seen = np.argwhere(np.isfinite(surface))[:, ::-1]
    np.testing.assert_allclose(seen.min(axis=0), view.corners.min(axis=0), atol=5)
    np.testing.assert_allclose(seen.max(axis=0), view.corners.max(axis=0), atol=5)


def test_the_ten_largest_neurites_are_named_with_their_volumes():
    _, labels = volume()
    figure = draw_largest_neurites(labels, NM)
    assert_fit_to_print(figure)
    ids, voxels = _find_largest(labels)
    named = [text.split("\n") for text in texts(figure) if "µm³" in text]
    assert [int(name) for name, _ in named] == ids.tolist()
    shown = [float(size.split()[0]) for _, size in named]
    np.testing.assert_allclose(shown, voxels * 30 * 8 * 8 / 1e9, rtol=0.06)


@pytest.mark.parametrize("count", [0, 1])
def test_few_neurites_are_fit_to_print(count, tmp_path):
    labels = np.zeros((6, 20, 20), np.int32)
    labels[:, :count] = 5
    figure = draw_largest_neurites(labels, NM)
    assert_fit_to_print(figure)
    assert ("no neurites" in texts(figure)) == (count == 0)
    write_figure(figure, tmp_path / "f")
    draw_ortho_views(Volume(np.zeros(labels.shape, np.float32), NM), labels)
