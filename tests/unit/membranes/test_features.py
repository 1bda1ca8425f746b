"""What a voxel looks like: curvatures of known shapes, and lengths that are lengths."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from connectome.membranes.features import (
    _eigenvalues,
    _sheet_tensor,
    compute_features,
    feature_margin_px,
    feature_names,
    standardise_sections,
)

FINE = (4.0, 4.0, 4.0)
CURVATURES = ["coarse curvature", "coarse curvature across", "coarse curvature along"]
N_ELEMENTS = {2: 3, 3: 6}  # of the upper triangle of a tensor


def described(image, voxel_size, n_axes):
    """Return features by name."""
    features = compute_features(image.astype(np.float32), voxel_size, n_axes)
    return dict(zip(feature_names(n_axes), features, strict=True))


def dark(shape, where):
    """Return a soft dark shape in the bright."""
    image = np.ones(shape)
    image[where] = -1
    return ndimage.gaussian_filter(image, 1.5)


def cloudy(shape, sigma, seed=0):
    """Return smooth random greys of variance 1."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return (noise / noise.std()).astype(np.float32)


def symmetric(triangles, n_axes):
    """Return full matrices (N, n, n) from upper triangles (elements, N)."""
    full = np.zeros((triangles.shape[1], n_axes, n_axes))
    rows, columns = np.triu_indices(n_axes)
    full[:, rows, columns] = full[:, columns, rows] = triangles.T
    return full


# --- tensors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_axes", [2, 3])
@given(data=st.data())
@settings(max_examples=50)
def test_eigenvalues_are_those_of_linear_algebra(n_axes, data):
    values = st.floats(-100, 100, width=32) | st.sampled_from([0.0, 1.0, -1.0])
    triangles = data.draw(arrays(np.float32, (N_ELEMENTS[n_axes], 20), elements=values))
    found = np.array(_eigenvalues(list(triangles)))
    expected = np.linalg.eigvalsh(symmetric(triangles, n_axes))[:, ::-1].T
    np.testing.assert_allclose(found, expected, atol=2e-3 * (1 + abs(triangles).max()))


@pytest.mark.parametrize("n_axes", [2, 3])
def test_a_sheet_points_along_its_strongest_bend_and_a_bright_one_is_none(n_axes):
    triangles = np.random.default_rng(1).normal(size=(N_ELEMENTS[n_axes], 200))
    values, vectors = np.linalg.eigh(symmetric(triangles, n_axes))
    strength, across = np.maximum(values[:, -1], 0), vectors[:, :, -1]
    expected = strength[:, None, None] * across[:, :, None] * across[:, None, :]
    bends = list(triangles.astype(np.float32))
    found = np.array(_sheet_tensor(bends, _eigenvalues(bends)))
    np.testing.assert_allclose(symmetric(found, n_axes), expected, atol=0.02)
    assert (strength == 0).any()


# --- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_dark_sheet_has_one_high_curvature(axis):
    where = [slice(None)] * 3
    where[axis] = slice(15, 17)
    features = described(dark((32, 32, 32), tuple(where)), FINE, 3)
    first, second, third = (features[name][15, 15, 15] for name in CURVATURES)
    assert first > 0.3 and abs(second) < 0.02 * first and abs(third) < 0.02 * first
    # All neighbours agree on where the sheet runs.
    assert features["sheet alone"][15, 15, 15] > 0.95 * features["sheet"][15, 15, 15] > 0.1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_dark_line_has_two_high_curvatures_and_is_no_sheet(axis):
    where = [slice(14, 18)] * 3
    where[axis] = slice(None)
    features = described(dark((32, 32, 32), tuple(where)), FINE, 3)
    first, second, third = (features[name][15, 15, 15] for name in CURVATURES)
    assert first > 0.2 and second > 0.9 * first and abs(third) < 0.05 * first
    assert features["sheet alone"][15, 15, 15] < 0.2 * features["sheet"][15, 15, 15]


@pytest.mark.parametrize("axis", [1, 2])
def test_within_sections_a_dark_line_has_one_high_curvature_and_a_dark_spot_two(axis):
    line = np.s_[:, 15:17] if axis == 1 else np.s_[:, :, 15:17]
    spot = np.s_[:, 14:18, 14:18]
    of_line, of_spot = (described(dark((1, 32, 32), w), (50.0, 4.0, 4.0), 2) for w in (line, spot))
    first, second = (of_line[name][0, 15, 15] for name in CURVATURES[:2])
    assert first > 0.3 and abs(second) < 0.02 * first
    first, second = (of_spot[name][0, 15, 15] for name in CURVATURES[:2])
    assert first > 0.2 and second > 0.9 * first


def test_what_is_bright_has_no_high_curvature():
    where = np.s_[:, :, 15:17]
    features = described(-dark((32, 32, 32), where), FINE, 3)
    assert features["coarse curvature"][15, 15, 15] < 0.02
    assert features["sheet"][15, 15, 15] < 0.05


def test_edges_are_where_greys_change_and_texture_is_where_they_differ():
    image = np.zeros((1, 40, 80))
    image[:, :, 40:] = 1
    features = described(image, (50.0, 4.0, 4.0), 2)
    assert features["edge"][0, 20].argmax() in (39, 40)
    assert features["edge"][0, 20, [5, 75]].max() < 1e-3
    assert features["texture"][0, 20, 40] == pytest.approx(0.5, abs=0.02)
    assert features["grey"][0, 20, 5] < 0.01 and features["grey"][0, 20, 75] > 0.99


# --- what features depend on --------------------------------------------------------------------


@pytest.mark.parametrize(("n_axes", "sections"), [(2, 3), (3, 64)])
def test_features_mean_the_same_at_half_the_pixel_size(n_axes, sections):
    every = (2 if n_axes == 3 else 1, 2, 2)
    fine_size = (4.0 if n_axes == 3 else 50.0, 4.0, 4.0)
    coarse_size = tuple(size * step for size, step in zip(fine_size, every, strict=True))
    fine = cloudy((sections, 96, 96), (4 if n_axes == 3 else 0, 4, 4))
    pick = tuple(slice(None, None, step) for step in every)
    ours, theirs = described(fine, fine_size, n_axes), described(fine[pick], coarse_size, n_axes)
    middle = (slice(8, -8) if n_axes == 3 else slice(None), slice(8, -8), slice(8, -8))
    for name, values in ours.items():
        a, b = values[pick][middle].ravel(), theirs[name][middle].ravel()
        slope = np.dot(a, b) / np.dot(a, a)
        assert np.corrcoef(a, b)[0, 1] > 0.97, name
        assert 0.85 < slope < 1.15, name


@pytest.mark.parametrize("voxel_size", [(10.0, 10.0, 10.0), (16.0, 8.0, 8.0)])
def test_nothing_beyond_reach_is_seen(voxel_size):
    dz, dy, dx = feature_margin_px(voxel_size)
    shape = (dz + 1, dy + 2, dx + 3)
    image = cloudy(shape, 1)
    other = cloudy(shape, 1, seed=1)
    for axis in range(3):
        changed = np.moveaxis(image.copy(), axis, 0)
        changed[-1:] = np.moveaxis(other, axis, 0)[-1:]
        changed = np.moveaxis(changed, 0, axis)
        before, after = (
            np.moveaxis(compute_features(stack, voxel_size, 3), axis + 1, 0)
            for stack in (image, changed)
        )
        # At the other end nobody takes notice; beside what changed, everybody does.
        assert np.array_equal(before[0], after[0])
        assert not np.isclose(before[-2], after[-2]).all(axis=(1, 2)).any()


def test_sections_looked_at_one_by_one_do_not_see_each_other():
    image = cloudy((4, 40, 40), 1)
    alone = compute_features(image[2:3], (50.0, 4.0, 4.0), 2)
    assert np.array_equal(compute_features(image, (50.0, 4.0, 4.0), 2)[:, 2:3], alone)


@pytest.mark.parametrize("n_axes", [2, 3])
def test_every_feature_has_a_name_of_its_own(n_axes):
    names = feature_names(n_axes)
    features = compute_features(np.zeros((2, 5, 7), np.float32), (10.0, 10.0, 10.0), n_axes)
    assert len(set(names)) == len(names) == len(features)
    assert features.shape[1:] == (2, 5, 7)
    assert abs(features).max() < 1e-5


# --- standardised -------------------------------------------------------------------------------


def test_every_section_comes_to_mean_0_and_variance_1_over_its_tissue():
    image = cloudy((3, 40, 40), 1) * [[[1.0]], [[5.0]], [[0.1]]] + [[[0.0]], [[9.0]], [[-2.0]]]
    tissue = np.ones(image.shape, bool)
    tissue[:, :13] = False
    even = standardise_sections(image, tissue)
    assert not even[~tissue].any() and even.dtype == np.float32
    for section in even[:, 13:]:
        assert section.mean() == pytest.approx(0, abs=1e-4)
        assert section.std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_sections_without_contrast_or_tissue_stay_at_zero(value):
    image = np.full((2, 33, 35), value, np.float32)
    tissue = np.ones(image.shape, bool)
    tissue[1] = False
    assert abs(standardise_sections(image, tissue)).max() < 0.1
    assert not standardise_sections(image, tissue)[1].any()
