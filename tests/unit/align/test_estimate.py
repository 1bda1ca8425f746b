"""Alignment: the sign, known shifts on made-up and real sections, damage, labels and points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from connectome.align.affine import (
    compose_transform,
    map_points,
    register_rotation,
    rotation_matrix,
    warp_section,
)
from connectome.align.estimate import (
    MIN_DRIFT_SECTIONS,
    apply_transforms,
    estimate_alignment,
    estimate_drift,
    simulate_shifts,
    transform_points,
)
from connectome.align.translation import measure_residual, tukey_window
from connectome.core.params import AlignParams
from connectome.evaluate import alignment_rms

SIZE = (30.0, 8.0, 8.0)
MARGIN = 64


def texture(seed, n_sections=1, side=128):
    """Blobs of the size of neurites that change slowly from section to section, in [0.1, 1]."""
    noise = np.random.default_rng(seed).normal(size=(n_sections, *[side + 2 * MARGIN] * 2))
    # The smoothing wraps around so that every section has the same statistics.
    smooth = ndimage.gaussian_filter(noise, (2, 4, 4), mode="wrap")
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    return (0.1 + 0.9 * smooth).astype(np.float32)


def imaged(tissue, moves):
    """Cut sections out of a wider tissue, each displaced: nothing is lost at their edges."""
    moved = [ndimage.shift(section, move) for section, move in zip(tissue, moves, strict=True)]
    return np.stack(moved)[:, MARGIN:-MARGIN, MARGIN:-MARGIN]


def left_over(sections, moves, **options):
    """Estimate, and measure how far the sections then lie from their true places."""
    found = estimate_alignment(sections, SIZE, **options)
    return alignment_rms(found.shifts, -np.asarray(moves))


# --- the sign -----------------------------------------------------------------------------------


def test_the_shift_is_the_one_to_apply():
    (scene,) = texture(0)
    fixed, moving = imaged([scene, scene], [(0, 0), (3, -5)])
    shifts = estimate_alignment(np.stack([fixed, moving]), SIZE).shifts
    np.testing.assert_allclose(shifts[1] - shifts[0], (-3, 5), atol=0.05)
    restored = ndimage.shift(moving, shifts[1] - shifts[0])
    inside = np.s_[8:-8, 8:-8]
    assert np.abs(restored - fixed)[inside].max() < 0.1 * np.abs(moving - fixed)[inside].max()


@given(st.integers(0, 99), st.sampled_from([0, 3]))
def test_applying_is_what_scipy_does_section_by_section(seed, order):
    rng = np.random.default_rng(seed)
    sections, shifts = rng.uniform(size=(3, 12, 9)), rng.normal(0, 3, (3, 2))
    got = apply_transforms(sections, shifts, order)
    for section, shift, moved in zip(sections, shifts, got, strict=True):
        expected = ndimage.shift(section, shift, order=order)
        np.testing.assert_allclose(moved, np.clip(expected, 0, sections.max()))


# --- known shifts -------------------------------------------------------------------------------

WHOLE = [(0, 0), (4, -3), (-6, 2), (1, 7), (-2, -5), (3, 0), (0, 6), (-7, 1)]


def test_whole_pixels_are_recovered():
    scene = np.repeat(texture(1), len(WHOLE), axis=0)
    assert left_over(imaged(scene, WHOLE), WHOLE) < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_fractions_of_pixels_are_recovered(seed):
    moves = simulate_shifts(10, 2.0, seed)
    scene = np.repeat(texture(seed), len(moves), axis=0)
    assert left_over(imaged(scene, moves), moves) < 0.1


def test_sections_that_change_in_depth_are_put_back():
    moves = simulate_shifts(12, 2.0, seed=5)
    tissue = texture(2, len(moves))
    own = estimate_alignment(imaged(tissue, np.zeros_like(moves)), SIZE).shifts
    found = estimate_alignment(imaged(tissue, moves), SIZE).shifts
    assert alignment_rms(found, own - moves) < 0.25


def test_jumps_of_tens_of_pixels_are_followed():
    moves = np.array([(0, 0), (0, 0), (35, -28), (35, -28), (-20, 30), (0, 0)], float)
    scene = np.repeat(texture(3, side=192), len(moves), axis=0)
    assert left_over(imaged(scene, moves), moves) < 0.1


def test_drift_adds_up_over_the_stack():
    moves = np.cumsum(np.full((15, 2), (1.5, -0.75)), axis=0)
    scene = np.repeat(texture(4), len(moves), axis=0)
    assert left_over(imaged(scene, moves), moves) < 0.1


@pytest.mark.parametrize("model", ["translation", "affine"])
def test_a_drift_through_many_sections_stays_unless_it_is_to_be_straightened(model):
    moves = np.cumsum(np.full((MIN_DRIFT_SECTIONS + 4, 2), (0.6, -0.3)), axis=0)
    sections = imaged(np.repeat(texture(4, side=96), len(moves), axis=0), moves)
    kept, straight = (
        estimate_alignment(sections, SIZE, params=AlignParams(model=model, straighten=straighten))
        for straighten in (False, True)
    )
    assert alignment_rms(kept.shifts, 0 * moves) < 0.1
    assert alignment_rms(kept.drift, -moves) < 0.2
    assert alignment_rms(straight.shifts, -moves) < 0.2
    assert not straight.drift.any()


def test_shifts_have_zero_mean_so_that_the_stack_stays_in_view():
    moves = np.array([(9, 9), (12, 9), (8, 4)], float)
    found = estimate_alignment(imaged(np.repeat(texture(5), 3, axis=0), moves), SIZE)
    np.testing.assert_allclose(found.shifts.mean(axis=0), 0, atol=1e-9)


def test_black_that_moves_with_the_sections_is_not_registered():
    # The tissue moves and the frame of the camera stays, so the black border does too.
    moves = np.array([(0, 0), (5, 3), (-4, 6), (2, -5)], float)
    sections = imaged(np.repeat(texture(6), 4, axis=0), moves)
    sections[:, :20] = sections[:, :, -12:] = 0
    assert left_over(sections, moves) < 0.1


@pytest.mark.parametrize("moves", [np.zeros((4, 2)), np.array([(0, 0), (2, 1), (-1, 3), (4, 0)])])
def test_black_specks_do_no_harm(moves):
    sections = imaged(np.repeat(texture(6), 4, axis=0), moves)
    for section in sections[1:3]:
        section[40:43, 71] = section[41, 70:73] = 0
    found = estimate_alignment(sections, (10.0, 10.0, 10.0))
    assert found.confidence.min() > 0.9
    assert alignment_rms(found.shifts, -moves) < 0.05


def test_a_gap_of_one_pixel_does_not_hide_by_how_much_sections_miss():
    scene = texture(6)[0]
    whole, missed = imaged([scene, scene], [(0, 0), (0.2, -0.3)])
    whole, missed = (whole[:, :100], missed[:, :100])
    expected = measure_residual(whole, missed, tukey_window(whole.shape, 0.7))
    whole[50, 50] = np.nan  # its neighbours tell of a slope there, it does not
    found = measure_residual(whole, missed, tukey_window(whole.shape, 0.7))
    assert found.shift == pytest.approx(expected.shift, abs=0.01)
    assert found.fit == pytest.approx(expected.fit, abs=0.01)


def test_pixels_need_not_be_square():
    moves = simulate_shifts(5, 2.0, seed=1)
    sections = imaged(np.repeat(texture(7), 5, axis=0), moves)[:, :, 16:-16]
    found = estimate_alignment(sections, (30, 4, 12))
    assert alignment_rms(found.shifts, -moves) < 0.1


# --- real sections ------------------------------------------------------------------------------

REAL = [
    ("fib25_dev.npz", np.s_[:32]),
    ("isbi_dev.npz", np.s_[:]),
    ("vnc_dev.npz", np.s_[:, 256:768, 256:768]),
]


@pytest.fixture(scope="module")
def real(shared_data):
    """Load sections in [0, 1] and their voxel size."""

    def load(name, part=np.s_[:]):
        with np.load(shared_data / name) as arrays:
            raw = arrays["raw"][part].astype(np.float32) / 255
            return raw, tuple(arrays["voxel_size_nm_zyx"])

    return load


def mirrored(sections, moves):
    return np.stack(
        [ndimage.shift(s, m, order=3, mode="reflect") for s, m in zip(sections, moves, strict=True)]
    )


def straightened(sections, size):
    """Return the shifts that take out jitter and trend alike: what registration found."""
    found = estimate_alignment(sections, size, threads=2)
    return found.shifts + found.drift


@pytest.mark.parametrize(("name", "part"), REAL, ids=[name for name, _ in REAL])
def test_shifts_added_to_real_sections_are_found_to_a_fraction_of_a_pixel(real, name, part):
    raw, size = real(name, part)
    own = straightened(raw, size)
    for sigma, most in ((1.0, 0.1), (5.0, 0.25)):
        moves = simulate_shifts(len(raw), sigma, seed=7)
        found = straightened(mirrored(raw, moves), size)
        assert alignment_rms(found, own - moves) <= most, sigma


@pytest.mark.parametrize("part", [np.s_[:32], np.s_[61:]])
def test_a_stack_in_register_stays_where_it_is(real, part):
    raw, size = real("fib25_dev.npz", part)
    found = estimate_alignment(raw, size, threads=2)
    assert alignment_rms(found.shifts, np.zeros_like(found.shifts)) < 0.1
    # Its neurites run obliquely by much more, and go on doing so.
    assert np.ptp(found.drift, axis=0).max() > 4


def test_jitter_is_taken_from_oblique_neurites_without_straightening_them(real):
    raw, size = real("fib25_dev.npz", np.s_[:64])
    moves = simulate_shifts(len(raw), 1.0, seed=7)
    found = estimate_alignment(mirrored(raw, moves), size, threads=2)
    assert alignment_rms(found.shifts, -moves) < 0.6
    assert alignment_rms(found.shifts + found.drift, -moves) > 5


def test_damaged_real_sections_are_found_and_bridged(real):
    raw, size = real("isbi_dev.npz", np.s_[:12])
    whole = estimate_alignment(raw, size, threads=2)
    assert whole.damaged_sections == ()
    raw[4] = np.random.default_rng(0).uniform(size=raw[4].shape)
    raw[8] = 0
    found = estimate_alignment(raw, size, blank_sections=[8], threads=2)
    assert found.damaged_sections == (4, 8)
    sound = [z for z in range(12) if z not in found.damaged_sections]
    # Seen across two sections of 50 nm tissue is not quite where it is seen step by step.
    assert alignment_rms(found.shifts[sound], whole.shifts[sound]) < 2.5


@pytest.mark.parametrize("hurt", [[4], [4, 5], [4, 5, 6], [0], [0, 1], [15], [14, 15]])
def test_real_sections_that_show_another_place_are_bridged(real, hurt):
    raw, size = real("fib25_dev.npz", np.s_[:16])
    whole = estimate_alignment(raw, size, threads=2)
    raw[hurt] = raw[hurt, ::-1, ::-1]
    found = estimate_alignment(raw, size, threads=2)
    assert found.damaged_sections == tuple(hurt)
    sound = [z for z in range(16) if z not in hurt]
    assert alignment_rms(found.shifts[sound], whole.shifts[sound]) < 0.5


def test_half_a_section_of_noise_leads_nowhere(real):
    raw, size = real("fib25_dev.npz", np.s_[:16])
    whole = estimate_alignment(raw, size, threads=2)
    raw[7, :, :125] = np.random.default_rng(1).uniform(size=(250, 125))
    found = estimate_alignment(raw, size, threads=2)
    assert alignment_rms(found.shifts, whole.shifts) < 0.2
    assert found.confidence[7] < 0.9 * whole.confidence[7]


@pytest.mark.parametrize("jump", [(82, 0), (82, 82)])
def test_a_jump_over_half_the_view_is_followed(real, jump):
    # Two views of the same tissue, 168 px wide, so that what comes into view is real.
    raw, size = real("fib25_dev.npz", np.s_[:16])
    dy, dx = jump
    raw[8:, :168, :168] = raw[8:, dy : dy + 168, dx : dx + 168]
    shifts = estimate_alignment(raw[:, :168, :168], size, threads=2).shifts
    np.testing.assert_allclose(shifts[8] - shifts[7], jump, atol=2)


# --- jitter and trend ---------------------------------------------------------------------------

ALL = range(64)
LEAN = np.cumsum(np.column_stack([0.4 + 0.2 * np.sin(np.arange(64) / 9), np.full(64, -0.3)]), 0)


def miss(trend, truth=LEAN):
    return alignment_rms(trend, truth)


def test_a_smooth_path_is_all_trend():
    assert miss(estimate_drift(LEAN, ALL)) < 0.02


@pytest.mark.parametrize("seed", range(4))
def test_a_trend_is_told_from_jitter(seed):
    assert miss(estimate_drift(LEAN + simulate_shifts(64, 1.0, seed), ALL)) < 0.8


@pytest.mark.parametrize("seed", range(4))
def test_jitter_alone_is_hardly_a_trend(seed):
    assert miss(estimate_drift(simulate_shifts(64, 1.0, seed), ALL), 0 * LEAN) < 0.7


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("width", [1, 2, 32])
def test_a_jump_is_no_trend(seed, width):
    path = LEAN + simulate_shifts(64, 0.5, seed)
    path[32 : 32 + width] += (40, -25)
    assert miss(estimate_drift(path, ALL)) < 1.6


def test_damaged_sections_have_no_say_in_the_trend():
    sound = [z for z in ALL if z not in (20, 21)]
    path = LEAN.copy()
    path[[20, 21]] += 0.8
    assert miss(estimate_drift(path, sound)) < 0.1


def test_a_trend_that_jitter_hides_is_not_claimed():
    rng = np.random.default_rng(0)
    wander = np.cumsum(rng.normal(0, 7, (30, 2)), axis=0) + rng.normal(0, 3, (30, 2))
    assert not estimate_drift(wander, range(30)).any()


def test_a_short_stack_tells_no_trend():
    assert not estimate_drift(LEAN[:10], range(10)).any()


# --- damage -------------------------------------------------------------------------------------

MOVES = np.array([(0, 0), (2, 1), (-3, 2), (1, -4), (0, 3), (-2, 0), (3, 3)], float)


@pytest.fixture
def sections():
    return imaged(np.repeat(texture(8), len(MOVES), axis=0), MOVES)


def test_a_blank_section_is_bridged_and_reported(sections):
    sections[3] = 0
    found = estimate_alignment(sections, SIZE, blank_sections=[3])
    assert found.damaged_sections == (3,)
    assert found.confidence[3] == 0
    np.testing.assert_allclose(found.shifts[3], found.shifts[[2, 4]].mean(axis=0))
    sound = [0, 1, 2, 4, 5, 6]
    assert alignment_rms(found.shifts[sound], -MOVES[sound]) < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_a_section_of_noise_is_bridged_and_reported(sections, seed):
    sections[3] = np.random.default_rng(seed).uniform(size=sections[3].shape)
    found = estimate_alignment(sections, SIZE)
    assert found.damaged_sections == (3,)
    assert found.confidence[3] == 0
    np.testing.assert_allclose(found.shifts[3], found.shifts[[2, 4]].mean(axis=0))
    sound = [0, 1, 2, 4, 5, 6]
    assert alignment_rms(found.shifts[sound], -MOVES[sound]) < 0.1


@pytest.mark.parametrize("seed", [0, 1])
def test_damage_shows_though_sections_two_apart_resemble_each_other_little(seed):
    noise = np.random.default_rng(seed).normal(size=(9, 128, 128))
    # Neighbours correlate by 0.8, sections two apart by 0.4, as in serial sections of 50 nm.
    smooth = ndimage.gaussian_filter(noise, (1.1, 3, 3))
    sections = (0.1 + (smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)
    sections[4] = np.random.default_rng(1).uniform(size=(128, 128))
    assert estimate_alignment(sections, SIZE).damaged_sections == (4,)


@pytest.mark.parametrize(("end", "beside"), [(0, 1), (6, 5)])
def test_noise_at_the_end_of_a_stack_is_not_followed(sections, end, beside):
    sections[end] = np.random.default_rng(2).uniform(size=sections[end].shape)
    found = estimate_alignment(sections, SIZE)
    assert found.damaged_sections == (end,)
    np.testing.assert_allclose(found.shifts[end], found.shifts[beside])
    assert found.confidence[end] == 0


@pytest.mark.parametrize("end", [0, 6])
def test_a_blank_section_at_the_end_stays_with_its_neighbour(sections, end):
    sections[end] = 0
    found = estimate_alignment(sections, SIZE, blank_sections=[end])
    assert found.damaged_sections == (end,)
    np.testing.assert_allclose(found.shifts[end], found.shifts[abs(end - 1)])


def test_sound_sections_are_not_called_damaged(sections):
    found = estimate_alignment(sections, SIZE)
    assert found.damaged_sections == ()
    assert found.confidence.min() > 0.9


def test_unrelated_sections_are_uncertain_but_not_damaged():
    # Nothing vouches for the sections to either side, so none of them is the odd one out.
    sections = np.stack([texture(seed)[0, MARGIN:-MARGIN, MARGIN:-MARGIN] for seed in range(4)])
    found = estimate_alignment(sections, SIZE)
    assert found.damaged_sections == ()
    assert found.confidence.max() < 0.8


def test_sections_that_drift_out_of_the_first_view_are_still_in_register():
    # By half a view and more: what the first and the last show has nothing in common.
    moves = np.cumsum(np.full((20, 2), (4.0, -3.0)), axis=0)
    scene = np.pad(texture(9)[0], MARGIN, mode="wrap")
    sections = np.stack([ndimage.shift(scene, -move) for move in moves])[:, 128:256, 128:256]
    found = estimate_alignment(sections, SIZE)
    assert alignment_rms(found.shifts, moves) < 0.1
    assert found.confidence.min() > 0.9


# --- the smallest stacks ------------------------------------------------------------------------


def test_one_section_stays_where_it_is(sections):
    found = estimate_alignment(sections[:1], SIZE)
    assert found.shifts.tolist() == [[0, 0]]
    assert found.damaged_sections == ()


def test_two_sections_meet_halfway(sections):
    shifts = estimate_alignment(sections[:2], SIZE).shifts
    np.testing.assert_allclose(shifts, [(1, 0.5), (-1, -0.5)], atol=0.05)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("grey", [0.0, 0.5])
@pytest.mark.parametrize("n_sections", [1, 2, 5])
def test_sections_without_contrast_stay_where_they_are(grey, n_sections):
    found = estimate_alignment(np.full((n_sections, 32, 32), grey, np.float32), SIZE)
    assert not found.shifts.any()
    assert not found.confidence.any()


def test_a_stack_of_blank_sections_is_all_damaged():
    found = estimate_alignment(np.zeros((3, 32, 32), np.float32), SIZE, blank_sections=[0, 1, 2])
    assert not found.shifts.any()
    assert found.damaged_sections == (0, 1, 2)


@pytest.mark.filterwarnings("error")
@settings(max_examples=30)
@given(
    st.tuples(st.integers(1, 30), st.integers(16, 23), st.integers(2, 19)),
    st.integers(0, 99),
    st.data(),
)
def test_the_tiniest_sections_are_aligned_without_complaint(shape, seed, data):
    rng = np.random.default_rng(seed)
    sections = rng.uniform(size=shape).astype(np.float32)
    black = data.draw(st.sets(st.integers(0, shape[0] - 1)))
    flat = data.draw(st.sets(st.integers(0, shape[0] - 1)))
    sections[list(flat)] = 0.5
    sections[list(black)] = 0
    sections[:, : data.draw(st.integers(0, shape[1] // 2))] = 0
    found = estimate_alignment(sections, SIZE, blank_sections=sorted(black))
    assert found.shifts.shape == found.drift.shape == (shape[0], 2)
    assert np.isfinite(found.shifts).all() and np.isfinite(found.drift).all()
    np.testing.assert_allclose(found.shifts.mean(axis=0), 0, atol=1e-6)
    assert ((found.confidence >= 0) & (found.confidence <= 1 + 1e-6)).all()
    assert black <= set(found.damaged_sections)


def test_threads_do_not_change_the_result(sections):
    one, two = (estimate_alignment(sections, SIZE, threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.shifts, two.shifts)
    np.testing.assert_array_equal(one.confidence, two.confidence)
    moved = [apply_transforms(sections, one.shifts, threads=n) for n in (1, 2)]
    np.testing.assert_array_equal(*moved)


def test_progress_counts_the_pairs(sections):
    told = []
    estimate_alignment(sections, SIZE, threads=2, progress=told.append)
    assert sum(told) == len(sections) - 1


# --- what is carried along ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
def test_labels_keep_ids_and_type(dtype):
    labels = np.random.default_rng(0).integers(0, 100, (4, 20, 20)).astype(dtype)
    moved = apply_transforms(labels, simulate_shifts(4, 3.0, 0), order=0)
    assert moved.dtype == dtype
    assert set(np.unique(moved)) <= {0, *np.unique(labels)}


def test_large_ids_survive_a_move():
    labels = np.full((1, 9, 9), 2**31 - 1, np.int32)
    assert set(np.unique(apply_transforms(labels, [(2.4, -1.6)], order=0))) == {0, 2**31 - 1}


def test_whole_moves_carry_labels_without_loss():
    labels = np.random.default_rng(1).integers(1, 9, (1, 10, 12))
    moved = apply_transforms(labels, [(3, -2)], order=0)
    np.testing.assert_array_equal(moved[0, 3:, :-2], labels[0, :-3, 2:])
    assert not moved[0, :3].any()
    assert not moved[0, :, -2:].any()


def test_images_keep_type_and_range(sections):
    moved = apply_transforms(sections, MOVES + 0.37)
    assert moved.dtype == np.float32
    assert moved.min() >= 0
    assert moved.max() <= sections.max()
    grey = np.random.default_rng(0).integers(50, 256, (2, 30, 30), dtype=np.uint8)
    moved = apply_transforms(grey, [(0.4, 0.3), (-1.2, 0.8)])
    assert moved.dtype == np.uint8
    # Splines that overshoot 255 would wrap around to black.
    assert np.abs(moved[:, 3:-3, 3:-3].astype(int).mean() - grey.mean()) < 5


@given(st.integers(0, 999))
def test_points_go_where_a_labelled_dot_goes(seed):
    rng = np.random.default_rng(seed)
    shifts = rng.integers(-8, 9, (5, 2)).astype(float)
    places = np.column_stack([np.arange(5), rng.integers(10, 30, (5, 2))])
    dots = np.zeros((5, 40, 40), np.int32)
    dots[tuple(places.T)] = 1
    moved = np.argwhere(apply_transforms(dots, shifts, order=0))
    np.testing.assert_allclose(transform_points(places, shifts), moved)


def test_a_point_between_sections_moves_between_their_shifts():
    shifts = np.array([(0, 0), (4, -2)])
    np.testing.assert_allclose(transform_points([(0.25, 10, 10)], shifts), [(0.25, 11, 9.5)])


def test_no_points_are_carried_to_none():
    assert transform_points(np.empty((0, 3)), np.zeros((4, 2))).shape == (0, 3)


def test_simulated_shifts_are_seeded_and_as_wide_as_asked():
    shifts = simulate_shifts(5000, 2.0, seed=3)
    np.testing.assert_array_equal(shifts, simulate_shifts(5000, 2.0, seed=3))
    assert (shifts != simulate_shifts(5000, 2.0, seed=4)).any()
    assert shifts.std() == pytest.approx(2.0, rel=0.05)


# --- turned and stretched sections --------------------------------------------------------------

TURNS = ("rigid", 1.0, 0.0), ("rigid", 6.0, 0.0), ("affine", 1.0, 0.01)


def random_maps(n_sections, degrees, scale, seed=7):
    """Draw turns and stretches about the middle, and shifts of 1 px, as maps (Z, 3, 3)."""
    rng = np.random.default_rng(seed)
    angles, sizes = np.deg2rad(rng.normal(0, degrees, n_sections)), rng.normal(1, scale, n_sections)
    cos, sin = sizes * np.cos(angles), sizes * np.sin(angles)
    turns = np.moveaxis(np.array([[cos, -sin], [sin, cos]]), 2, 0)
    shifts = rng.normal(0, 1, (n_sections, 2))
    return np.array([compose_transform(*each) for each in zip(turns, shifts, strict=True)])


def deformed(sections, maps):
    """Take sections through maps; what comes into view is their mirror image."""
    wide = np.pad(sections, [(0, 0), (32, 32), (32, 32)], mode="reflect")
    moved = [warp_section(section, each, 3, 0.0) for section, each in zip(wide, maps, strict=True)]
    return np.stack(moved)[:, 32:-32, 32:-32]


def applied(found):
    matrices = np.eye(2)[None] if found.matrices is None else found.matrices
    matrices = np.broadcast_to(matrices, (len(found.shifts), 2, 2))
    return np.array([compose_transform(*each) for each in zip(matrices, found.shifts, strict=True)])


def apart_at_corners(maps, others, shape):
    """Measure by how much neighbouring sections miss each other at their corners, RMS px."""
    corners = np.array([(y, x) for y in (-0.5, 0.5) for x in (-0.5, 0.5)]) * shape
    miss = [
        map_points(corners, a) - map_points(corners, b) for a, b in zip(maps, others, strict=True)
    ]
    return float(np.sqrt((np.diff(miss, axis=0) ** 2).sum(axis=-1).mean()))


def aligned_by(model, sections, size):
    return estimate_alignment(sections, size, params=AlignParams(model=model), threads=2)


@pytest.mark.parametrize(("model", "degrees", "scale"), TURNS)
def test_turned_and_stretched_real_sections_are_brought_back(real, model, degrees, scale):
    raw, size = real("fib25_dev.npz", np.s_[:24])
    maps = random_maps(len(raw), degrees, scale)
    sections, shape = deformed(raw, maps), raw.shape[1:]
    true = np.broadcast_to(np.eye(3), maps.shape)
    by_shifts = apart_at_corners(
        applied(aligned_by("translation", sections, size)) @ maps, true, shape
    )
    assert by_shifts > 3
    for chosen in (model, "auto"):
        found = aligned_by(chosen, sections, size)
        assert apart_at_corners(applied(found) @ maps, true, shape) < 0.8
    # Where only rotations were added, nothing more is taken out.
    stretched = np.abs(np.linalg.det(found.matrices) - 1).max() > 1e-6
    assert stretched == (model == "affine")


def test_turned_serial_sections_are_brought_back(real):
    raw, size = real("isbi_dev.npz", np.s_[:12])
    maps = random_maps(len(raw), 1.0, 0.0)
    own = applied(aligned_by("rigid", raw, size))
    found = applied(aligned_by("rigid", deformed(raw, maps), size))
    assert apart_at_corners(found @ maps, own, raw.shape[1:]) < 2


@pytest.mark.parametrize(
    ("name", "n", "degrees"), [("fib25_dev.npz", 12, -15.0), ("isbi_dev.npz", 12, 4.0)]
)
def test_a_section_that_lies_askew_is_turned_and_not_taken_for_damaged(real, name, n, degrees):
    raw, size = real(name, np.s_[:n])
    maps = np.tile(np.eye(3), (n, 1, 1))
    maps[5, :2, :2] = rotation_matrix(np.radians(degrees))
    own, found = (aligned_by("rigid", sections, size) for sections in (raw, deformed(raw, maps)))
    assert found.damaged_sections == own.damaged_sections == ()
    left = found.matrices @ maps[:, :2, :2] @ np.linalg.inv(own.matrices)
    angles = np.degrees(np.arctan2(left[:, 1, 0], left[:, 0, 0]))
    assert np.abs(angles[[4, 6]] - angles[5]).max() < 1.0


def test_noise_is_not_turned(real):
    noise = np.random.default_rng(3).normal(0, 1, (2, 120, 120)).astype(np.float32)
    assert register_rotation(*noise).turn == 0


def test_auto_stays_with_translation_where_sections_are_only_shifted(real):
    raw, size = real("fib25_dev.npz", np.s_[:16])
    for sigma in (0.0, 1.0):
        sections = mirrored(raw, simulate_shifts(len(raw), sigma, seed=7))
        found, plain = (aligned_by(model, sections, size) for model in ("auto", "translation"))
        assert found.matrices is None
        np.testing.assert_array_equal(found.shifts, plain.shifts)


@pytest.mark.parametrize("model", ["rigid", "affine"])
def test_a_stack_in_register_is_hardly_turned(real, model):
    raw, size = real("fib25_dev.npz", np.s_[:24])
    corner = np.array(raw.shape[1:]) / 2
    found = aligned_by(model, raw, size)
    moved = (found.matrices - np.eye(2)) @ corner + found.shifts
    assert np.sqrt((moved**2).sum(axis=1).mean()) < 0.5


@pytest.mark.parametrize(
    ("name", "n", "most"), [("fib25_dev.npz", 8, 0.2), ("isbi_dev.npz", 16, 2.0)]
)
def test_a_few_sections_are_not_twisted_along_the_stack(real, name, n, most):
    raw, size = real(name, np.s_[:n])
    matrices = aligned_by("rigid", raw, size).matrices
    degrees = np.abs(np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])))
    # From section to section isbi turns by more than 20 in all; single sections lie askew by 1.8.
    assert degrees.max() < most
    assert np.median(degrees) < 0.7


def test_damaged_sections_are_turned_as_their_neighbours_are(real):
    raw, size = real("fib25_dev.npz", np.s_[:12])
    sections = deformed(raw, random_maps(12, 1.0, 0.0))
    sections[4] = sections[8] = 0
    params = AlignParams(model="rigid")
    found = estimate_alignment(sections, size, blank_sections=[4, 8], params=params)
    assert found.damaged_sections == (4, 8)
    angles = np.arctan2(found.matrices[:, 1, 0], found.matrices[:, 0, 0])
    np.testing.assert_allclose(angles[[4, 8]], (angles[[3, 7]] + angles[[5, 9]]) / 2, atol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("model", ["rigid", "affine", "auto"])
@pytest.mark.parametrize("shape", [(1, 80, 80), (2, 16, 16), (3, 64, 17), (3, 70, 90)])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_any_model_takes_small_and_flat_stacks(model, shape, noise):
    sections = (0.5 + noise * np.random.default_rng(0).uniform(-1, 1, shape)).astype(np.float32)
    found = aligned_by(model, sections, SIZE)
    assert np.isfinite(applied(found)).all()
    assert np.isfinite(found.confidence).all()
    if not noise:
        np.testing.assert_allclose(applied(found), np.broadcast_to(np.eye(3), (shape[0], 3, 3)))


def test_matrices_of_identity_move_as_shifts_alone_do(sections):
    turns = np.broadcast_to(np.eye(2), (len(sections), 2, 2))
    for order in (0, 3):
        plain, turned = (
            apply_transforms(sections, MOVES, order, matrices=matrices)
            for matrices in (None, turns)
        )
        np.testing.assert_allclose(plain, turned, atol=1e-5)


@given(st.integers(0, 999))
@settings(max_examples=30)
def test_points_go_where_a_labelled_dot_is_turned_to(seed):
    rng = np.random.default_rng(seed)
    maps = random_maps(3, 5.0, 0.02, seed)
    turns, shifts = maps[:, :2, :2], maps[:, :2, 2]
    places = np.column_stack([np.arange(3), rng.integers(12, 30, (3, 2))])
    dots = np.zeros((3, 40, 50), np.int32)
    for z, y, x in places:
        dots[z, y - 3 : y + 4, x - 3 : x + 4] = 1
    moved = apply_transforms(dots, shifts, order=0, matrices=turns)
    middles = [np.argwhere(section).mean(axis=0) for section in moved]
    expected = transform_points(places, shifts, turns, (40, 50))[:, 1:]
    np.testing.assert_allclose(expected, middles, atol=0.6)
