"""Transforms are applied to images, labels and points."""

import numpy as np
import pytest
from helpers.synthetic_stacks import image_displaced, random_transforms, synthetic_tissue
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from connectome.align import apply_transforms, simulate_shifts, transform_points
from connectome.core.volume import Transforms

SHIFTS = np.array([(0, 0), (2, 1), (-3, 2), (1, -4), (0, 3), (-2, 0), (3, 3)], float)


@pytest.fixture
def sections():
    return image_displaced(np.repeat(synthetic_tissue(8), len(SHIFTS), axis=0), SHIFTS)


def shift_all(sections, shifts, **options):
    return apply_transforms(sections, Transforms(np.array(shifts)), **options)


@given(st.integers(0, 99), st.sampled_from([0, 3]))
def test_shifts_are_applied_as_scipy_applies_them(seed, order):
    rng = np.random.default_rng(seed)
    sections, shifts = rng.uniform(size=(3, 12, 9)), rng.normal(0, 3, (3, 2))
    shifted = shift_all(sections, shifts, order=order)
    for section, shift, result in zip(sections, shifts, shifted, strict=True):
        expected = ndimage.shift(section, shift, order=order)
        np.testing.assert_allclose(result, np.clip(expected, 0, sections.max()))


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
def test_labels_keep_ids_and_type(dtype):
    labels = np.random.default_rng(0).integers(0, 100, (4, 20, 20)).astype(dtype)
    shifted = shift_all(labels, simulate_shifts(4, 3.0, 0), order=0)
    assert shifted.dtype == dtype
    assert set(np.unique(shifted)) <= {0, *np.unique(labels)}


def test_large_ids_are_not_rounded():
    labels = np.full((1, 9, 9), 2**31 - 1, np.int32)
    assert set(np.unique(shift_all(labels, [(2.4, -1.6)], order=0))) == {0, 2**31 - 1}


def test_shifts_by_whole_pixels_copy_labels_exactly():
    labels = np.random.default_rng(1).integers(1, 9, (1, 10, 12))
    shifted = shift_all(labels, [(3, -2)], order=0)
    np.testing.assert_array_equal(shifted[0, 3:, :-2], labels[0, :-3, 2:])
    assert not shifted[0, :3].any()
    assert not shifted[0, :, -2:].any()


def test_images_keep_type_and_range(sections):
    shifted = shift_all(sections, SHIFTS + 0.37)
    assert shifted.dtype == np.float32
    assert shifted.min() >= 0
    assert shifted.max() <= sections.max()
    grey = np.random.default_rng(0).integers(50, 256, (2, 30, 30), dtype=np.uint8)
    shifted = shift_all(grey, [(0.4, 0.3), (-1.2, 0.8)])
    assert shifted.dtype == np.uint8
    # Splines that overshoot 255 would wrap around to black.
    assert np.abs(shifted[:, 3:-3, 3:-3].astype(int).mean() - grey.mean()) < 5


def test_identity_matrices_give_the_same_result_as_shifts_alone(sections):
    identity = np.broadcast_to(np.eye(2), (len(sections), 2, 2))
    for order in (0, 3):
        shifted, transformed = (
            apply_transforms(sections, Transforms(SHIFTS, matrices), order=order)
            for matrices in (None, identity)
        )
        np.testing.assert_allclose(shifted, transformed, atol=1e-5)


def test_threads_do_not_change_the_result(sections):
    shifted = [shift_all(sections, SHIFTS + 0.37, threads=n) for n in (1, 2)]
    np.testing.assert_array_equal(*shifted)


# --- points -------------------------------------------------------------------------------------


@given(st.integers(0, 999))
def test_points_are_shifted_with_a_labelled_dot(seed):
    rng = np.random.default_rng(seed)
    transforms = Transforms(rng.integers(-8, 9, (5, 2)).astype(float))
    points = np.column_stack([np.arange(5), rng.integers(10, 30, (5, 2))])
    dots = np.zeros((5, 40, 40), np.int32)
    dots[tuple(points.T)] = 1
    expected = np.argwhere(apply_transforms(dots, transforms, order=0))
    np.testing.assert_allclose(transform_points(points, transforms), expected)


@given(st.integers(0, 999))
@settings(max_examples=30)
def test_points_are_rotated_with_a_labelled_square(seed):
    rng = np.random.default_rng(seed)
    maps = random_transforms(3, 5.0, 0.02, seed)
    transforms = Transforms(maps[:, :2, 2], maps[:, :2, :2])
    points = np.column_stack([np.arange(3), rng.integers(12, 30, (3, 2))])
    squares = np.zeros((3, 40, 50), np.int32)
    for z, y, x in points:
        squares[z, y - 3 : y + 4, x - 3 : x + 4] = 1
    transformed = apply_transforms(squares, transforms, order=0)
    centres = [np.argwhere(section).mean(axis=0) for section in transformed]
    expected = transform_points(points, transforms, (40, 50))[:, 1:]
    np.testing.assert_allclose(expected, centres, atol=0.6)


def test_a_point_between_sections_is_shifted_by_interpolation():
    transforms = Transforms(np.array([(0, 0), (4, -2)]))
    np.testing.assert_allclose(transform_points([(0.25, 10, 10)], transforms), [(0.25, 11, 9.5)])


def test_an_empty_list_of_points_stays_empty():
    assert transform_points(np.empty((0, 3)), Transforms(np.zeros((4, 2)))).shape == (0, 3)


def test_simulated_shifts_are_seeded_and_have_the_requested_width():
    shifts = simulate_shifts(5000, 2.0, seed=3)
    np.testing.assert_array_equal(shifts, simulate_shifts(5000, 2.0, seed=3))
    assert (shifts != simulate_shifts(5000, 2.0, seed=4)).any()
    assert shifts.std() == pytest.approx(2.0, rel=0.05)
