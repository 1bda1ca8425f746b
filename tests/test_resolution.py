"""Half the resolution and back: averages, straight lines, and how much it all blurs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from connectome.resolution import doubled, half_sigma, halved

SHAPES = st.tuples(*[st.integers(1, 7)] * 3)
AXES = pytest.mark.parametrize("axes", [(), (0,), (1, 2), (0, 1, 2)])


def test_two_neighbours_become_their_mean_and_an_odd_one_stays():
    field = np.array([[1, 3, 5, 5, 7]], np.float32)
    assert halved(field, [1]).tolist() == [[2, 5, 7]]
    assert field.tolist() == [[1, 3, 5, 5, 7]]


def test_what_lies_between_is_found_on_a_straight_line():
    field = np.arange(10, dtype=np.float32)
    back = doubled(halved(field, [0]), [0], field.shape)
    assert back[1:-1].tolist() == field[1:-1].tolist()


@AXES
@given(shape=SHAPES, seed=st.integers(0, 99))
def test_any_shape_comes_back_within_the_range_it_had(axes, shape, seed):
    field = np.random.default_rng(seed).random(shape, np.float32)
    half = halved(field, axes)
    assert half.shape == tuple(-(-n // 2) if i in axes else n for i, n in enumerate(shape))
    back = doubled(half, axes, shape)
    assert back.shape == shape and back.dtype == np.float32
    assert field.min() - 1e-6 <= back.min() and back.max() <= field.max() + 1e-6


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0, 5.0])
def test_it_smooths_as_much_as_at_full_resolution(sigma):
    place = np.arange(81)
    blurred = []
    for middle in (40, 41):
        half = halved((place == middle).astype(np.float32), [0])
        smooth = ndimage.gaussian_filter(half, half_sigma([sigma], [0]))
        blurred.append(np.sum(doubled(smooth, [0], place.shape) * (place - middle) ** 2))
    assert np.mean(blurred) == pytest.approx(sigma**2, rel=0.1)


def test_what_is_smooth_is_as_smooth_at_full_resolution():
    noise = np.random.default_rng(0).normal(size=(32, 33, 34)).astype(np.float32)
    sigma, axes = (3.0, 3.5, 4.0), (0, 1, 2)
    half = ndimage.gaussian_filter(halved(noise, axes), half_sigma(sigma, axes))
    whole, middle = ndimage.gaussian_filter(noise, sigma), (slice(8, -8),) * 3
    np.testing.assert_allclose(doubled(half, axes, noise.shape)[middle], whole[middle], atol=0.02)
