"""Half the resolution and back: averages, straight lines, and how much it all blurs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from connectome.core.pyramid import downsample, downsampled_sigma, smooth_multiscale, upsample

SHAPES = st.tuples(*[st.integers(1, 7)] * 3)
AXES = pytest.mark.parametrize("axes", [(), (0,), (1, 2), (0, 1, 2)])


def test_two_neighbours_become_their_mean_and_an_odd_one_stays():
    field = np.array([[1, 3, 5, 5, 7]], np.float32)
    assert downsample(field, [1]).tolist() == [[2, 5, 7]]
    assert field.tolist() == [[1, 3, 5, 5, 7]]


def test_what_lies_between_is_found_on_a_straight_line():
    field = np.arange(10, dtype=np.float32)
    back = upsample(downsample(field, [0]), [0], field.shape)
    assert back[1:-1].tolist() == field[1:-1].tolist()


@AXES
@given(shape=SHAPES, seed=st.integers(0, 99))
def test_any_shape_comes_back_within_the_range_it_had(axes, shape, seed):
    field = np.random.default_rng(seed).random(shape, np.float32)
    half = downsample(field, axes)
    assert half.shape == tuple(-(-n // 2) if i in axes else n for i, n in enumerate(shape))
    back = upsample(half, axes, shape)
    assert back.shape == shape and back.dtype == np.float32
    assert field.min() - 1e-6 <= back.min() and back.max() <= field.max() + 1e-6


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0, 5.0])
def test_it_smooths_as_much_as_at_full_resolution(sigma):
    place = np.arange(81)
    blurred = []
    for middle in (40, 41):
        half = downsample((place == middle).astype(np.float32), [0])
        smooth = ndimage.gaussian_filter(half, downsampled_sigma([sigma], [0]))
        blurred.append(np.sum(upsample(smooth, [0], place.shape) * (place - middle) ** 2))
    assert np.mean(blurred) == pytest.approx(sigma**2, rel=0.1)


def test_what_is_smooth_is_as_smooth_at_full_resolution():
    noise = np.random.default_rng(0).normal(size=(32, 33, 34)).astype(np.float32)
    sigma, axes = (3.0, 3.5, 4.0), (0, 1, 2)
    half = ndimage.gaussian_filter(downsample(noise, axes), downsampled_sigma(sigma, axes))
    whole, middle = ndimage.gaussian_filter(noise, sigma), (slice(8, -8),) * 3
    np.testing.assert_allclose(upsample(half, axes, noise.shape)[middle], whole[middle], atol=0.02)


@pytest.mark.parametrize("sigma", [(2.0, 2.0), (12.0, 12.0), (40.0, 30.0)])
@pytest.mark.parametrize("shape", [(120, 97), (31, 200)])
def test_a_wide_gaussian_is_that_of_scipy(sigma, shape):
    field = np.random.default_rng(0).random(shape, dtype=np.float32)
    field[20:25, 30:35] = 9
    expected = ndimage.gaussian_filter(field, sigma)
    found = smooth_multiscale(field, sigma)
    assert found.shape == shape
    assert np.abs(found - expected).max() < 0.1 * np.ptp(expected) + 0.01


def test_a_constant_stays_one_under_a_wide_gaussian():
    field = np.full((64, 33), 0.4, np.float32)
    np.testing.assert_allclose(smooth_multiscale(field, (20.0, 20.0)), 0.4, rtol=1e-5)
