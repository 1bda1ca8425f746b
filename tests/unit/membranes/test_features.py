"""Features of voxels: curvatures of known shapes, and lengths in nm."""

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


def named_features(image, voxel_size, n_axes):
    """Return features by name."""
    features = compute_features(image.astype(np.float32), voxel_size, n_axes)
    return dict(zip(feature_names(n_axes), features, strict=True))


def dark_shape(shape, where):
    """Return a blurred dark shape on a bright background."""
    image = np.ones(shape)
    image[where] = -1
    return ndimage.gaussian_filter(image, 1.5)


def smooth_noise(shape, sigma, seed=0):
    """Return smooth random values of variance 1."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return (noise / noise.std()).astype(np.float32)


def symmetric_matrices(triangles, n_axes):
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
    expected = np.linalg.eigvalsh(symmetric_matrices(triangles, n_axes))[:, ::-1].T
    np.testing.assert_allclose(found, expected, atol=2e-3 * (1 + abs(triangles).max()))


@pytest.mark.parametrize("n_axes", [2, 3])
def test_the_sheet_tensor_projects_onto_the_largest_positive_curvature(n_axes):
    triangles = np.random.default_rng(1).normal(size=(N_ELEMENTS[n_axes], 200))
    values, vectors = np.linalg.eigh(symmetric_matrices(triangles, n_axes))
    strength, across = np.maximum(values[:, -1], 0), vectors[:, :, -1]
    expected = strength[:, None, None] * across[:, :, None] * across[:, None, :]
    hessian = list(triangles.astype(np.float32))
    found = np.array(_sheet_tensor(hessian, _eigenvalues(hessian)))
    np.testing.assert_allclose(symmetric_matrices(found, n_axes), expected, atol=0.02)
    assert (strength == 0).any()


# --- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_dark_sheet_has_one_large_curvature(axis):
    where = [slice(None)] * 3
    where[axis] = slice(15, 17)
    features = named_features(dark_shape((32, 32, 32), tuple(where)), FINE, 3)
    first, second, third = (features[name][15, 15, 15] for name in CURVATURES)
    assert first > 0.3 and abs(second) < 0.02 * first and abs(third) < 0.02 * first
    # The tensors of all neighbours have the same direction.
    assert features["sheet alone"][15, 15, 15] > 0.95 * features["sheet"][15, 15, 15] > 0.1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_dark_line_has_two_large_curvatures_and_is_not_a_sheet(axis):
    where = [slice(14, 18)] * 3
    where[axis] = slice(None)
    features = named_features(dark_shape((32, 32, 32), tuple(where)), FINE, 3)
    first, second, third = (features[name][15, 15, 15] for name in CURVATURES)
    assert first > 0.2 and second > 0.9 * first and abs(third) < 0.05 * first
    assert features["sheet alone"][15, 15, 15] < 0.2 * features["sheet"][15, 15, 15]


@pytest.mark.parametrize("axis", [1, 2])
def test_within_sections_a_dark_line_has_one_large_curvature_and_a_dark_spot_two(axis):
    line = np.s_[:, 15:17] if axis == 1 else np.s_[:, :, 15:17]
    spot = np.s_[:, 14:18, 14:18]
    of_line, of_spot = (
        named_features(dark_shape((1, 32, 32), w), (50.0, 4.0, 4.0), 2) for w in (line, spot)
    )
    first, second = (of_line[name][0, 15, 15] for name in CURVATURES[:2])
    assert first > 0.3 and abs(second) < 0.02 * first
    first, second = (of_spot[name][0, 15, 15] for name in CURVATURES[:2])
    assert first > 0.2 and second > 0.9 * first


def test_a_bright_sheet_has_no_large_curvature():
    where = np.s_[:, :, 15:17]
    features = named_features(-dark_shape((32, 32, 32), where), FINE, 3)
    assert features["coarse curvature"][15, 15, 15] < 0.02
    assert features["sheet"][15, 15, 15] < 0.05


def test_edge_grey_and_texture_at_a_step():
    image = np.zeros((1, 40, 80))
    image[:, :, 40:] = 1
    features = named_features(image, (50.0, 4.0, 4.0), 2)
    assert features["edge"][0, 20].argmax() in (39, 40)
    assert features["edge"][0, 20, [5, 75]].max() < 1e-3
    assert features["texture"][0, 20, 40] == pytest.approx(0.5, abs=0.02)
    assert features["grey"][0, 20, 5] < 0.01 and features["grey"][0, 20, 75] > 0.99


# --- dependence on the input --------------------------------------------------------------------


@pytest.mark.parametrize(("n_axes", "sections"), [(2, 3), (3, 64)])
def test_features_mean_the_same_at_half_the_pixel_size(n_axes, sections):
    every = (2 if n_axes == 3 else 1, 2, 2)
    fine_size = (4.0 if n_axes == 3 else 50.0, 4.0, 4.0)
    coarse_size = tuple(size * step for size, step in zip(fine_size, every, strict=True))
    fine = smooth_noise((sections, 96, 96), (4 if n_axes == 3 else 0, 4, 4))
    pick = tuple(slice(None, None, step) for step in every)
    ours, theirs = (
        named_features(fine, fine_size, n_axes),
        named_features(fine[pick], coarse_size, n_axes),
    )
    middle = (slice(8, -8) if n_axes == 3 else slice(None), slice(8, -8), slice(8, -8))
    for name, values in ours.items():
        a, b = values[pick][middle].ravel(), theirs[name][middle].ravel()
        slope = np.dot(a, b) / np.dot(a, a)
        assert np.corrcoef(a, b)[0, 1] > 0.97, name
        assert 0.85 < slope < 1.15, name


@pytest.mark.parametrize("voxel_size", [(10.0, 10.0, 10.0), (16.0, 8.0, 8.0)])
def test_features_do_not_depend_on_voxels_beyond_the_margin(voxel_size):
    dz, dy, dx = feature_margin_px(voxel_size)
    shape = (dz + 1, dy + 2, dx + 3)
    image = smooth_noise(shape, 1)
    other = smooth_noise(shape, 1, seed=1)
    for axis in range(3):
        changed = np.moveaxis(image.copy(), axis, 0)
        changed[-1:] = np.moveaxis(other, axis, 0)[-1:]
        changed = np.moveaxis(changed, 0, axis)
        before, after = (
            np.moveaxis(compute_features(stack, voxel_size, 3), axis + 1, 0)
            for stack in (image, changed)
        )
        # No feature changes at the other end; all change beside the changed voxels.
        assert np.array_equal(before[0], after[0])
        assert not np.isclose(before[-2], after[-2]).all(axis=(1, 2)).any()


def test_features_within_sections_do_not_depend_on_other_sections():
    image = smooth_noise((4, 40, 40), 1)
    alone = compute_features(image[2:3], (50.0, 4.0, 4.0), 2)
    assert np.array_equal(compute_features(image, (50.0, 4.0, 4.0), 2)[:, 2:3], alone)


@pytest.mark.parametrize("n_axes", [2, 3])
def test_every_feature_has_a_name_of_its_own(n_axes):
    names = feature_names(n_axes)
    features = compute_features(np.zeros((2, 5, 7), np.float32), (10.0, 10.0, 10.0), n_axes)
    assert len(set(names)) == len(names) == len(features)
    assert features.shape[1:] == (2, 5, 7)
    assert abs(features).max() < 1e-5


# --- standardisation -----------------------------------------------------------------------------


def test_every_section_has_mean_0_and_variance_1_over_its_tissue():
    image = smooth_noise((3, 40, 40), 1) * [[[1.0]], [[5.0]], [[0.1]]] + [
        [[0.0]],
        [[9.0]],
        [[-2.0]],
    ]
    mask = np.ones(image.shape, bool)
    mask[:, :13] = False
    standardised = standardise_sections(image, mask)
    assert not standardised[~mask].any() and standardised.dtype == np.float32
    for section in standardised[:, 13:]:
        assert section.mean() == pytest.approx(0, abs=1e-4)
        assert section.std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_sections_without_contrast_or_tissue_are_zero(value):
    image = np.full((2, 33, 35), value, np.float32)
    mask = np.ones(image.shape, bool)
    mask[1] = False
    assert abs(standardise_sections(image, mask)).max() < 0.1
    assert not standardise_sections(image, mask)[1].any()
