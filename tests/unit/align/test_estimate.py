"""Alignment by translation of synthetic and real sections, with damage and drift."""

import numpy as np
import pytest
from helpers.synthetic_stacks import (
    MARGIN,
    VOXEL_SIZE,
    displace_mirrored,
    image_displaced,
    synthetic_tissue,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from connectome.align import estimate_alignment, simulate_shifts
from connectome.align.drift import MIN_DRIFT_SECTIONS
from connectome.align.translation import measure_residual, tukey_window
from connectome.core.params import AlignParams
from connectome.evaluate import alignment_rms


def residual_rms(sections, displacements, **options):
    """Align sections, and return the RMS distance in pixels from their true positions."""
    found = estimate_alignment(sections, VOXEL_SIZE, **options)
    return alignment_rms(found.transforms.shifts, -np.asarray(displacements))


# --- the sign of shifts -------------------------------------------------------------------------


def test_the_shift_is_the_one_to_apply():
    (scene,) = synthetic_tissue(0)
    fixed, moving = image_displaced([scene, scene], [(0, 0), (3, -5)])
    shifts = estimate_alignment(np.stack([fixed, moving]), VOXEL_SIZE).transforms.shifts
    np.testing.assert_allclose(shifts[1] - shifts[0], (-3, 5), atol=0.05)
    restored = ndimage.shift(moving, shifts[1] - shifts[0])
    inside = np.s_[8:-8, 8:-8]
    assert np.abs(restored - fixed)[inside].max() < 0.1 * np.abs(moving - fixed)[inside].max()


# --- known shifts -------------------------------------------------------------------------------

WHOLE_PIXELS = [(0, 0), (4, -3), (-6, 2), (1, 7), (-2, -5), (3, 0), (0, 6), (-7, 1)]


def test_whole_pixels_are_recovered():
    scene = np.repeat(synthetic_tissue(1), len(WHOLE_PIXELS), axis=0)
    assert residual_rms(image_displaced(scene, WHOLE_PIXELS), WHOLE_PIXELS) < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_fractions_of_pixels_are_recovered(seed):
    displacements = simulate_shifts(10, 2.0, seed)
    scene = np.repeat(synthetic_tissue(seed), len(displacements), axis=0)
    assert residual_rms(image_displaced(scene, displacements), displacements) < 0.1


def test_tissue_that_changes_in_depth_is_aligned():
    displacements = simulate_shifts(12, 2.0, seed=5)
    tissue = synthetic_tissue(2, len(displacements))
    original = estimate_alignment(
        image_displaced(tissue, np.zeros_like(displacements)), VOXEL_SIZE
    ).transforms.shifts
    found = estimate_alignment(image_displaced(tissue, displacements), VOXEL_SIZE).transforms.shifts
    assert alignment_rms(found, original - displacements) < 0.25


def test_jumps_of_tens_of_pixels_are_recovered():
    displacements = np.array([(0, 0), (0, 0), (35, -28), (35, -28), (-20, 30), (0, 0)], float)
    scene = np.repeat(synthetic_tissue(3, side=192), len(displacements), axis=0)
    assert residual_rms(image_displaced(scene, displacements), displacements) < 0.1


def test_steps_accumulate_over_the_stack():
    displacements = np.cumsum(np.full((15, 2), (1.5, -0.75)), axis=0)
    scene = np.repeat(synthetic_tissue(4), len(displacements), axis=0)
    assert residual_rms(image_displaced(scene, displacements), displacements) < 0.1


@pytest.mark.parametrize("model", ["translation", "affine"])
def test_drift_through_many_sections_is_kept_unless_it_is_to_be_removed(model):
    displacements = np.cumsum(np.full((MIN_DRIFT_SECTIONS + 4, 2), (0.6, -0.3)), axis=0)
    sections = image_displaced(
        np.repeat(synthetic_tissue(4, side=96), len(displacements), axis=0), displacements
    )
    kept, straight = (
        estimate_alignment(
            sections, VOXEL_SIZE, params=AlignParams(model=model, straighten=straighten)
        )
        for straighten in (False, True)
    )
    assert alignment_rms(kept.transforms.shifts, 0 * displacements) < 0.1
    assert alignment_rms(kept.drift, -displacements) < 0.2
    assert alignment_rms(straight.transforms.shifts, -displacements) < 0.2
    assert not straight.drift.any()


def test_shifts_have_mean_zero():
    displacements = np.array([(9, 9), (12, 9), (8, 4)], float)
    found = estimate_alignment(
        image_displaced(np.repeat(synthetic_tissue(5), 3, axis=0), displacements), VOXEL_SIZE
    )
    np.testing.assert_allclose(found.transforms.shifts.mean(axis=0), 0, atol=1e-9)


def test_a_black_border_is_not_registered():
    # The border is fixed in the image while the tissue moves.
    displacements = np.array([(0, 0), (5, 3), (-4, 6), (2, -5)], float)
    sections = image_displaced(np.repeat(synthetic_tissue(6), 4, axis=0), displacements)
    sections[:, :20] = sections[:, :, -12:] = 0
    assert residual_rms(sections, displacements) < 0.1


@pytest.mark.parametrize(
    "displacements", [np.zeros((4, 2)), np.array([(0, 0), (2, 1), (-1, 3), (4, 0)])]
)
def test_black_specks_do_not_affect_alignment(displacements):
    sections = image_displaced(np.repeat(synthetic_tissue(6), 4, axis=0), displacements)
    for section in sections[1:3]:
        section[40:43, 71] = section[41, 70:73] = 0
    found = estimate_alignment(sections, (10.0, 10.0, 10.0))
    assert found.confidence.min() > 0.9
    assert alignment_rms(found.transforms.shifts, -displacements) < 0.05


def test_a_gap_of_one_pixel_does_not_affect_the_residual():
    scene = synthetic_tissue(6)[0]
    fixed, moving = image_displaced([scene, scene], [(0, 0), (0.2, -0.3)])
    fixed, moving = fixed[:, :100], moving[:, :100]
    expected = measure_residual(fixed, moving, tukey_window(fixed.shape, 0.7))
    fixed[50, 50] = np.nan  # the central difference there is finite, the value is not
    found = measure_residual(fixed, moving, tukey_window(fixed.shape, 0.7))
    assert found.shift == pytest.approx(expected.shift, abs=0.01)
    assert found.correlation == pytest.approx(expected.correlation, abs=0.01)


def test_pixels_need_not_be_square():
    displacements = simulate_shifts(5, 2.0, seed=1)
    sections = image_displaced(np.repeat(synthetic_tissue(7), 5, axis=0), displacements)[
        :, :, 16:-16
    ]
    found = estimate_alignment(sections, (30, 4, 12))
    assert alignment_rms(found.transforms.shifts, -displacements) < 0.1


# --- real sections ------------------------------------------------------------------------------

REAL = [
    ("fib25_dev.npz", np.s_[:32]),
    ("isbi_dev.npz", np.s_[:]),
    ("vnc_dev.npz", np.s_[:, 256:768, 256:768]),
]


def total_shifts(sections, size):
    """Return the shifts that remove both jitter and drift."""
    found = estimate_alignment(sections, size, threads=2)
    return found.transforms.shifts + found.drift


@pytest.mark.parametrize(("name", "part"), REAL, ids=[name for name, _ in REAL])
def test_shifts_of_real_sections_are_recovered_to_a_fraction_of_a_pixel(real, name, part):
    raw, size = real(name, part)
    original = total_shifts(raw, size)
    for sigma, most in ((1.0, 0.1), (5.0, 0.25)):
        displacements = simulate_shifts(len(raw), sigma, seed=7)
        found = total_shifts(displace_mirrored(raw, displacements), size)
        assert alignment_rms(found, original - displacements) <= most, sigma


@pytest.mark.parametrize("part", [np.s_[:32], np.s_[61:]])
def test_an_aligned_stack_is_not_moved(real, part):
    raw, size = real("fib25_dev.npz", part)
    found = estimate_alignment(raw, size, threads=2)
    assert alignment_rms(found.transforms.shifts, np.zeros_like(found.transforms.shifts)) < 0.1
    # Its neurites are oblique by more than that, and remain so.
    assert np.ptp(found.drift, axis=0).max() > 4


def test_jitter_is_removed_without_straightening_oblique_neurites(real):
    raw, size = real("fib25_dev.npz", np.s_[:64])
    displacements = simulate_shifts(len(raw), 1.0, seed=7)
    found = estimate_alignment(displace_mirrored(raw, displacements), size, threads=2)
    assert alignment_rms(found.transforms.shifts, -displacements) < 0.6
    assert alignment_rms(found.transforms.shifts + found.drift, -displacements) > 5


def test_damaged_real_sections_are_found_and_bridged(real):
    raw, size = real("isbi_dev.npz", np.s_[:12])
    whole = estimate_alignment(raw, size, threads=2)
    assert whole.damaged_sections == ()
    raw[4] = np.random.default_rng(0).uniform(size=raw[4].shape)
    raw[8] = 0
    found = estimate_alignment(raw, size, blank_sections=[8], threads=2)
    assert found.damaged_sections == (4, 8)
    sound = [z for z in range(12) if z not in found.damaged_sections]
    # Registration across a gap of 100 nm differs a little from that step by step.
    assert alignment_rms(found.transforms.shifts[sound], whole.transforms.shifts[sound]) < 2.5


@pytest.mark.parametrize("damaged", [[4], [4, 5], [4, 5, 6], [0], [0, 1], [15], [14, 15]])
def test_real_sections_of_another_location_are_bridged(real, damaged):
    raw, size = real("fib25_dev.npz", np.s_[:16])
    whole = estimate_alignment(raw, size, threads=2)
    raw[damaged] = raw[damaged, ::-1, ::-1]
    found = estimate_alignment(raw, size, threads=2)
    assert found.damaged_sections == tuple(damaged)
    sound = [z for z in range(16) if z not in damaged]
    assert alignment_rms(found.transforms.shifts[sound], whole.transforms.shifts[sound]) < 0.5


def test_a_section_that_is_half_noise_does_not_affect_alignment(real):
    raw, size = real("fib25_dev.npz", np.s_[:16])
    whole = estimate_alignment(raw, size, threads=2)
    raw[7, :, :125] = np.random.default_rng(1).uniform(size=(250, 125))
    found = estimate_alignment(raw, size, threads=2)
    assert alignment_rms(found.transforms.shifts, whole.transforms.shifts) < 0.2
    assert found.confidence[7] < 0.9 * whole.confidence[7]


@pytest.mark.parametrize("jump", [(82, 0), (82, 82)])
def test_a_jump_of_half_the_image_is_recovered(real, jump):
    # Both halves are cut from the same larger image, so that every pixel is real.
    raw, size = real("fib25_dev.npz", np.s_[:16])
    dy, dx = jump
    raw[8:, :168, :168] = raw[8:, dy : dy + 168, dx : dx + 168]
    shifts = estimate_alignment(raw[:, :168, :168], size, threads=2).transforms.shifts
    np.testing.assert_allclose(shifts[8] - shifts[7], jump, atol=2)


# --- damage -------------------------------------------------------------------------------------

DISPLACEMENTS = np.array([(0, 0), (2, 1), (-3, 2), (1, -4), (0, 3), (-2, 0), (3, 3)], float)


@pytest.fixture
def sections():
    return image_displaced(
        np.repeat(synthetic_tissue(8), len(DISPLACEMENTS), axis=0), DISPLACEMENTS
    )


def test_a_blank_section_is_bridged_and_reported(sections):
    sections[3] = 0
    found = estimate_alignment(sections, VOXEL_SIZE, blank_sections=[3])
    assert found.damaged_sections == (3,)
    assert found.confidence[3] == 0
    np.testing.assert_allclose(
        found.transforms.shifts[3], found.transforms.shifts[[2, 4]].mean(axis=0)
    )
    sound = [0, 1, 2, 4, 5, 6]
    assert alignment_rms(found.transforms.shifts[sound], -DISPLACEMENTS[sound]) < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_a_section_of_noise_is_bridged_and_reported(sections, seed):
    sections[3] = np.random.default_rng(seed).uniform(size=sections[3].shape)
    found = estimate_alignment(sections, VOXEL_SIZE)
    assert found.damaged_sections == (3,)
    assert found.confidence[3] == 0
    np.testing.assert_allclose(
        found.transforms.shifts[3], found.transforms.shifts[[2, 4]].mean(axis=0)
    )
    sound = [0, 1, 2, 4, 5, 6]
    assert alignment_rms(found.transforms.shifts[sound], -DISPLACEMENTS[sound]) < 0.1


@pytest.mark.parametrize("seed", [0, 1])
def test_damage_is_detected_where_correlation_falls_quickly_with_distance(seed):
    noise = np.random.default_rng(seed).normal(size=(9, 128, 128))
    # Neighbours correlate by 0.8, sections two apart by 0.4, as in serial sections of 50 nm.
    smooth = ndimage.gaussian_filter(noise, (1.1, 3, 3))
    sections = (0.1 + (smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)
    sections[4] = np.random.default_rng(1).uniform(size=(128, 128))
    assert estimate_alignment(sections, VOXEL_SIZE).damaged_sections == (4,)


@pytest.mark.parametrize(("end", "beside"), [(0, 1), (6, 5)])
def test_noise_at_the_end_of_a_stack_is_damage(sections, end, beside):
    sections[end] = np.random.default_rng(2).uniform(size=sections[end].shape)
    found = estimate_alignment(sections, VOXEL_SIZE)
    assert found.damaged_sections == (end,)
    np.testing.assert_allclose(found.transforms.shifts[end], found.transforms.shifts[beside])
    assert found.confidence[end] == 0


@pytest.mark.parametrize("end", [0, 6])
def test_a_blank_section_at_the_end_moves_with_its_neighbour(sections, end):
    sections[end] = 0
    found = estimate_alignment(sections, VOXEL_SIZE, blank_sections=[end])
    assert found.damaged_sections == (end,)
    np.testing.assert_allclose(found.transforms.shifts[end], found.transforms.shifts[abs(end - 1)])


def test_sound_sections_are_not_reported_as_damaged(sections):
    found = estimate_alignment(sections, VOXEL_SIZE)
    assert found.damaged_sections == ()
    assert found.confidence.min() > 0.9


def test_unrelated_sections_have_low_confidence_but_are_not_damaged():
    # No two sections around another correlate, so none can be singled out.
    sections = np.stack(
        [synthetic_tissue(seed)[0, MARGIN:-MARGIN, MARGIN:-MARGIN] for seed in range(4)]
    )
    found = estimate_alignment(sections, VOXEL_SIZE)
    assert found.damaged_sections == ()
    assert found.confidence.max() < 0.8


def test_sections_that_drift_out_of_the_first_image_are_aligned():
    # By more than half an image: the first and the last section do not overlap.
    displacements = np.cumsum(np.full((20, 2), (4.0, -3.0)), axis=0)
    scene = np.pad(synthetic_tissue(9)[0], MARGIN, mode="wrap")
    sections = np.stack([ndimage.shift(scene, -move) for move in displacements])[
        :, 128:256, 128:256
    ]
    found = estimate_alignment(sections, VOXEL_SIZE)
    assert alignment_rms(found.transforms.shifts, displacements) < 0.1
    assert found.confidence.min() > 0.9


# --- small stacks ------------------------------------------------------------------------


def test_a_single_section_is_not_moved(sections):
    found = estimate_alignment(sections[:1], VOXEL_SIZE)
    assert found.transforms.shifts.tolist() == [[0, 0]]
    assert found.damaged_sections == ()


def test_two_sections_move_by_half_the_distance_each(sections):
    shifts = estimate_alignment(sections[:2], VOXEL_SIZE).transforms.shifts
    np.testing.assert_allclose(shifts, [(1, 0.5), (-1, -0.5)], atol=0.05)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("grey", [0.0, 0.5])
@pytest.mark.parametrize("n_sections", [1, 2, 5])
def test_sections_without_contrast_are_not_moved(grey, n_sections):
    found = estimate_alignment(np.full((n_sections, 32, 32), grey, np.float32), VOXEL_SIZE)
    assert not found.transforms.shifts.any()
    assert not found.confidence.any()


def test_a_stack_of_blank_sections_is_all_damaged():
    found = estimate_alignment(
        np.zeros((3, 32, 32), np.float32), VOXEL_SIZE, blank_sections=[0, 1, 2]
    )
    assert not found.transforms.shifts.any()
    assert found.damaged_sections == (0, 1, 2)


@pytest.mark.filterwarnings("error")
@settings(max_examples=30)
@given(
    st.tuples(st.integers(1, 30), st.integers(16, 23), st.integers(2, 19)),
    st.integers(0, 99),
    st.data(),
)
def test_tiny_sections_are_aligned_without_warnings(shape, seed, data):
    rng = np.random.default_rng(seed)
    sections = rng.uniform(size=shape).astype(np.float32)
    black = data.draw(st.sets(st.integers(0, shape[0] - 1)))
    flat = data.draw(st.sets(st.integers(0, shape[0] - 1)))
    sections[list(flat)] = 0.5
    sections[list(black)] = 0
    sections[:, : data.draw(st.integers(0, shape[1] // 2))] = 0
    found = estimate_alignment(sections, VOXEL_SIZE, blank_sections=sorted(black))
    assert found.transforms.shifts.shape == found.drift.shape == (shape[0], 2)
    assert np.isfinite(found.transforms.shifts).all() and np.isfinite(found.drift).all()
    np.testing.assert_allclose(found.transforms.shifts.mean(axis=0), 0, atol=1e-6)
    assert ((found.confidence >= 0) & (found.confidence <= 1 + 1e-6)).all()
    assert black <= set(found.damaged_sections)


def test_threads_do_not_change_the_result(sections):
    one, two = (estimate_alignment(sections, VOXEL_SIZE, threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.transforms.shifts, two.transforms.shifts)
    np.testing.assert_array_equal(one.confidence, two.confidence)


def test_progress_counts_the_pairs(sections):
    counts = []
    estimate_alignment(sections, VOXEL_SIZE, threads=2, progress=counts.append)
    assert sum(counts) == len(sections) - 1
