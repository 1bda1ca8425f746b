"""Downsampling, upsampling and smoothing at several resolutions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from connectome.core.pyramid import downsample, downsampled_sigma, smooth_multiscale, upsample

SHAPES = st.tuples(*[st.integers(1, 7)] * 3)
AXES = pytest.mark.parametrize("axes", [(), (0,), (1, 2), (0, 1, 2)])


def test_neighbours_are_averaged_and_an_odd_value_is_kept():
    field = np.array([[1, 3, 5, 5, 7]], np.float32)
    assert downsample(field, [1]).tolist() == [[2, 5, 7]]
    assert field.tolist() == [[1, 3, 5, 5, 7]]


def test_upsampling_interpolates_linearly():
    field = np.arange(10, dtype=np.float32)
    restored = upsample(downsample(field, [0]), [0], field.shape)
    assert restored[1:-1].tolist() == field[1:-1].tolist()


@AXES
@given(shape=SHAPES, seed=st.integers(0, 99))
def test_any_shape_is_restored_within_its_range_of_values(axes, shape, seed):
    field = np.random.default_rng(seed).random(shape, np.float32)
    half = downsample(field, axes)
    assert half.shape == tuple(-(-n // 2) if i in axes else n for i, n in enumerate(shape))
    restored = upsample(half, axes, shape)
    assert restored.shape == shape and restored.dtype == np.float32
    assert field.min() - 1e-6 <= restored.min() and restored.max() <= field.max() + 1e-6


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0, 5.0])
def test_the_variance_is_that_of_smoothing_at_full_resolution(sigma):
    position = np.arange(81)
    blurred = []
    for middle in (40, 41):
        half = downsample((position == middle).astype(np.float32), [0])
        smooth = ndimage.gaussian_filter(half, downsampled_sigma([sigma], [0]))
        blurred.append(np.sum(upsample(smooth, [0], position.shape) * (position - middle) ** 2))
    assert np.mean(blurred) == pytest.approx(sigma**2, rel=0.1)


def test_smoothing_agrees_with_full_resolution():
    noise = np.random.default_rng(0).normal(size=(32, 33, 34)).astype(np.float32)
    sigma, axes = (3.0, 3.5, 4.0), (0, 1, 2)
    half = ndimage.gaussian_filter(downsample(noise, axes), downsampled_sigma(sigma, axes))
    whole, middle = ndimage.gaussian_filter(noise, sigma), (slice(8, -8),) * 3
    np.testing.assert_allclose(upsample(half, axes, noise.shape)[middle], whole[middle], atol=0.02)


@pytest.mark.parametrize("sigma", [(2.0, 2.0), (12.0, 12.0), (40.0, 30.0)])
@pytest.mark.parametrize("shape", [(120, 97), (31, 200)])
def test_multiscale_smoothing_agrees_with_scipy(sigma, shape):
    field = np.random.default_rng(0).random(shape, dtype=np.float32)
    field[20:25, 30:35] = 9
    expected = ndimage.gaussian_filter(field, sigma)
    found = smooth_multiscale(field, sigma)
    assert found.shape == shape
    assert np.abs(found - expected).max() < 0.1 * np.ptp(expected) + 0.01


def test_multiscale_smoothing_keeps_a_constant():
    field = np.full((64, 33), 0.4, np.float32)
    np.testing.assert_allclose(smooth_multiscale(field, (20.0, 20.0)), 0.4, rtol=1e-5)
