"""Cutouts are planned, fetched and mapped to 8 bits; ground truth is read."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.bossdb_server import BossServer, serve, silent_port
from hypothesis import given
from hypothesis import strategies as st

from connectome.core.errors import DataError, SourceUnreachable, UsageError
from connectome.core.params import Source
from connectome.fetch import (
    check_ground_truth,
    fetch_cutout,
    plan_cutout,
    read_ground_truth,
)
from connectome.fetch.plan import seeded_corner
from connectome.fetch.retry import RetryPolicies, RetryPolicy
from connectome.phantom import make_phantom

RNG = np.random.default_rng(0)
STACK = RNG.integers(1, 256, (20, 220, 260), dtype=np.uint8)
VOXEL_SIZE = (30, 8, 8)
RETRIES = RetryPolicies(metadata=RetryPolicy(connect_s=0.3, read_s=0.3, attempts=2, deadline_s=0.5))


@pytest.fixture
def file(tmp_path):
    np.save(tmp_path / "stack.npy", STACK)
    return Source(str(tmp_path / "stack.npy"), voxel_size=VOXEL_SIZE)


@pytest.fixture
def boss():
    return BossServer(STACK)


@pytest.fixture
def remote(boss, tmp_path):
    with serve(boss) as host:
        yield Source("bossdb://lab/worm/em", (50, 40, 9), boss_host=host, cache_dir=str(tmp_path))


def crop(data, plan):
    return data[tuple(slice(a, a + n) for a, n in zip(plan.origin, plan.shape, strict=True))]


def save_stack(tmp_path, data, **changes):
    np.save(tmp_path / "s.npy", data)
    return Source(**{"uri": str(tmp_path / "s.npy"), "voxel_size": VOXEL_SIZE, **changes})


# --- the corner ---------------------------------------------------------------------------------


def published_corner(source_shape, shape, seed):
    """Compute the corner as the proof of concept does, with its own lines."""
    (Z, Y, X), (sz, sy, sx) = source_shape, shape
    rng = np.random.default_rng(seed)
    jx = int(rng.integers(-X * 0.05, X * 0.05))
    jy = int(rng.integers(-Y * 0.05, Y * 0.05))
    jz = int(rng.integers(-Z * 0.05, Z * 0.05))
    x0 = max(0, min(X - sx, X // 2 - sx // 2 + jx))
    y0 = max(0, min(Y - sy, Y // 2 - sy // 2 + jy))
    z0 = max(0, min(Z - sz, Z // 2 - sz // 2 + jz))
    return z0, y0, x0


def test_the_corner_is_that_of_the_proof_of_concept():
    # 16h_L1 at its full size, the default cutout and seed.
    assert seeded_corner((1051, 2304, 7616), (64, 256, 256), 7) == (512, 1052, 4018)


@given(
    st.tuples(*[st.integers(20, 9000)] * 3),
    st.tuples(*[st.integers(1, 300)] * 3),
    st.integers(0, 2**31),
)
def test_any_corner_is_that_of_the_proof_of_concept(source_shape, shape, seed):
    expected = published_corner(source_shape, shape, seed)
    assert seeded_corner(source_shape, shape, seed) == expected


@given(st.tuples(*[st.integers(1, 60)] * 3), st.data())
def test_the_cutout_lies_within_even_the_thinnest_source(source_shape, data):
    shape = tuple(data.draw(st.integers(1, n)) for n in source_shape)
    corner = seeded_corner(source_shape, shape, 7)
    assert all(0 <= c <= n - s for c, s, n in zip(corner, shape, source_shape, strict=True))


def test_file_and_bossdb_give_the_same_voxels_for_the_same_request(file, remote):
    local = plan_cutout(replace(file, cutout_xyz=remote.cutout_xyz))
    distant = plan_cutout(remote)
    assert local.origin == distant.origin == seeded_corner(STACK.shape, (9, 40, 50), 7)
    np.testing.assert_array_equal(fetch_cutout(distant).volume.data, crop(STACK, local))


def test_an_explicit_origin_is_the_corner(file, remote):
    for source in (replace(file, cutout_xyz=(50, 40, 9)), remote):
        assert plan_cutout(replace(source, origin_xyz=(3, 2, 1))).origin == (1, 2, 3)


@pytest.mark.parametrize("origin", [(-1, 0, 0), (211, 0, 0), (0, 181, 0), (0, 0, 12)])
def test_an_origin_out_of_bounds_is_a_usage_error_with_the_bounds(file, remote, boss, origin):
    for source in (replace(file, cutout_xyz=(50, 40, 9)), remote):
        with pytest.raises(UsageError, match="which is 260 220 20 voxels"):
            plan_cutout(replace(source, origin_xyz=origin))
    assert boss.cutouts == []


def test_a_cutout_larger_than_a_remote_channel_is_a_usage_error(remote, boss):
    with pytest.raises(UsageError, match="260 220 20"):
        plan_cutout(replace(remote, cutout_xyz=(50, 40, 21)))
    with pytest.raises(UsageError, match="130 110 20"):  # bounds are those of the mip
        plan_cutout(replace(remote, cutout_xyz=(131, 40, 9), resolution=1))
    assert boss.cutouts == []


def test_a_cutout_larger_than_a_file_is_clipped_with_a_note(file):
    plan = plan_cutout(replace(file, cutout_xyz=(200, 999, 64)))
    assert plan.shape == (20, 220, 200)
    assert any("200 220 20 (X Y Z)" in note for note in plan.notes)


def test_a_file_is_taken_whole_unless_a_size_is_given(file):
    plan = plan_cutout(file)
    assert (plan.origin, plan.shape, plan.source_shape) == ((0, 0, 0), STACK.shape, STACK.shape)
    beyond = plan_cutout(replace(file, origin_xyz=(10, 5, 2)))
    assert (beyond.origin, beyond.shape) == ((2, 5, 10), (18, 215, 250))
    assert plan.notes == beyond.notes == ()


def test_an_empty_cutout_is_a_usage_error(file):
    with pytest.raises(UsageError, match="empty"):
        plan_cutout(replace(file, cutout_xyz=(0, 5, 5)))


# --- the plan -----------------------------------------------------------------------------------


def test_a_plan_downloads_no_voxels(remote, boss):
    plan = plan_cutout(remote)
    assert boss.requests != []
    assert boss.cutouts == []
    assert (plan.uri, plan.resolution, plan.steps) == ("bossdb://lab/worm/em/0", 0, 9)
    assert (plan.voxel_size, plan.source_shape) == ((30, 8, 8), STACK.shape)


@pytest.mark.parametrize(("uri", "resolution"), [("", 2), ("/2", None), ("/2", 2)])
def test_the_mip_is_set_by_the_uri_or_the_flag(remote, uri, resolution):
    source = replace(remote, uri=remote.uri + uri, resolution=resolution)
    plan = plan_cutout(source)
    assert plan.uri == "bossdb://lab/worm/em/2"
    assert (plan.voxel_size, plan.source_shape) == ((30, 32, 32), (20, 55, 65))


def test_progress_adds_up_to_the_steps_of_the_plan(file, remote):
    for source in (file, remote, remote):  # the second time from the cache
        plan, finished = plan_cutout(source), []
        fetch_cutout(plan, finished.append)
        assert sum(finished) == plan.steps


def test_the_volume_contains_its_source(remote):
    plan = plan_cutout(remote)
    volume = fetch_cutout(plan).volume
    assert (volume.source, volume.origin, volume.voxel_size) == (
        "bossdb://lab/worm/em/0",
        plan.origin,
        (30, 8, 8),
    )
    assert volume.data.dtype == np.uint8


def test_an_identical_request_needs_no_server(remote, boss):
    first = fetch_cutout(plan_cutout(remote))
    boss.requests.clear()
    again = fetch_cutout(plan_cutout(remote))
    np.testing.assert_array_equal(again.volume.data, first.volume.data)
    assert again.notes == first.notes
    assert boss.requests == []


def test_a_different_request_fetches_metadata_again(remote, boss):
    fetch_cutout(plan_cutout(remote))
    boss.requests.clear()
    plan_cutout(replace(remote, seed=8))
    assert len(boss.requests) == 3


def test_cached_bounds_do_not_reject_what_the_server_has_now(remote, boss):
    fetch_cutout(plan_cutout(remote))
    boss.frame["z_stop"] = 40
    boss.experiment["num_hierarchy_levels"] = 6
    assert plan_cutout(replace(remote, cutout_xyz=(50, 40, 30))).source_shape[0] == 40
    assert plan_cutout(replace(remote, cutout_xyz=(5, 4, 3), resolution=5)).resolution == 5


def test_an_unreachable_source_is_reported(tmp_path):
    with silent_port() as host, pytest.raises(SourceUnreachable, match="in time"):
        plan_cutout(Source(boss_host=host, cache_dir=str(tmp_path)), RETRIES)


@pytest.mark.parametrize("uri", ["s3://bucket/em", "boss://a/b/c", "://x"])
def test_an_unknown_scheme_is_a_usage_error_that_lists_the_supported_ones(uri):
    with pytest.raises(UsageError, match=r"bossdb://collection(?s:.*)phantom://"):
        plan_cutout(Source(uri))


def test_a_flag_that_does_not_apply_to_a_source_is_noted(file):
    assert "--resolution" in plan_cutout(replace(file, resolution=2)).notes[0]


# --- voxel size ---------------------------------------------------------------------------------


def test_a_file_without_a_voxel_size_is_a_usage_error_with_the_remedy(file):
    with pytest.raises(UsageError, match="--voxel_size Z Y X"):
        plan_cutout(replace(file, voxel_size=None))


def test_the_requested_voxel_size_takes_precedence_with_a_note(remote):
    plan = plan_cutout(replace(remote, voxel_size=(50, 8, 8)))
    assert plan.voxel_size == (50, 8, 8)
    assert any("50 8 8" in note and "30 8 8" in note for note in plan.notes)


@pytest.mark.parametrize(("pixel", "small"), [(6.0, True), (7.0, False)])
def test_a_small_field_of_view_is_noted(file, pixel, small):
    # 220 px are 1.32 µm at 6 nm and 1.54 µm at 7 nm.
    notes = plan_cutout(replace(file, voxel_size=(30, pixel, pixel))).notes
    assert any("field of view" in note for note in notes) == small


# --- grey values --------------------------------------------------------------------------------


def test_8_bit_voxels_of_bossdb_are_not_changed(remote, boss):
    boss.data = STACK // 4
    plan = plan_cutout(remote)
    fetched = fetch_cutout(plan)
    np.testing.assert_array_equal(fetched.volume.data, crop(STACK // 4, plan))
    assert not any("became" in note for note in fetched.notes)


def test_16_bit_voxels_of_bossdb_are_mapped_to_8_bits_with_a_note(tmp_path):
    deep = STACK.astype(np.uint16) * 100 + 3000
    with serve(BossServer(deep)) as host:
        source = Source(
            "bossdb://lab/worm/em", (99, 80, 9), boss_host=host, cache_dir=str(tmp_path)
        )
        fetched = fetch_cutout(plan_cutout(source))
    assert fetched.volume.data.dtype == np.uint8
    assert np.ptp(fetched.volume.data) == 254
    assert any("uint16" in note and "mapped to 1 to 255" in note for note in fetched.notes)


RAMP = np.linspace(1, 255, STACK.size).reshape(STACK.shape)


@pytest.mark.parametrize(
    "data",
    [
        (RAMP * 0.5 + 60).astype(np.uint8),
        (RAMP * 200 + 1000).astype(np.uint16),
        (RAMP * 100 - 9000).astype(np.int16),
        (RAMP / 255).astype(np.float32),
        RAMP * 1e-6 - 1,
    ],
    ids=lambda data: str(data.dtype),
)
def test_grey_values_of_a_file_are_stretched_to_8_bits_in_order(tmp_path, data):
    fetched = fetch_cutout(plan_cutout(save_stack(tmp_path, data)))
    got = fetched.volume.data
    assert (got.dtype, got.min(), got.max()) == (np.uint8, 1, 255)
    assert np.all(np.diff(got.ravel().astype(int)) >= 0)
    assert any("mapped to 1 to 255" in note for note in fetched.notes)


def test_the_mapping_has_known_values(tmp_path):
    # 0.1 and 99.9 % of 1000 … 2000 lie at 1001 and 1999.
    data = np.linspace(1000, 2000, 1001).astype(np.uint16).reshape(1, 1, 1001)
    got = fetch_cutout(plan_cutout(save_stack(tmp_path, data))).volume.data.ravel()
    assert list(got[[0, 1, 500, 999, 1000]]) == [1, 1, 128, 255, 255]


def test_8_bit_values_that_fill_the_range_are_not_changed(tmp_path):
    fetched = fetch_cutout(plan_cutout(save_stack(tmp_path, STACK)))
    np.testing.assert_array_equal(fetched.volume.data, STACK)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_black_padding_stays_black_and_is_ignored(tmp_path, dtype):
    data = np.round(RAMP * 0.5 + 60).astype(dtype)
    bare = fetch_cutout(plan_cutout(save_stack(tmp_path, data[:, 40:]))).volume.data
    data[:, :40] = 0
    padded = fetch_cutout(plan_cutout(save_stack(tmp_path, data))).volume.data
    assert not padded[:, :40].any()
    np.testing.assert_array_equal(padded[:, 40:], bare)


def test_zero_is_an_ordinary_grey_value_among_negative_ones(tmp_path):
    data = np.round(RAMP - 128).astype(np.int16)
    got = fetch_cutout(plan_cutout(save_stack(tmp_path, data))).volume.data
    assert np.all(np.abs(got[data == 0].astype(int) - 128) <= 1)


def test_voxels_that_are_not_finite_become_black_and_are_counted(tmp_path):
    data = RAMP.astype(np.float32)
    data[2, 3, 4], data[2, 3, 5], data[2, 3, 6] = np.nan, np.inf, -np.inf
    fetched = fetch_cutout(plan_cutout(save_stack(tmp_path, data)))
    assert not fetched.volume.data[2, 3, 4:7].any()
    assert any("3 voxels are not finite" in note for note in fetched.notes)


@pytest.mark.parametrize(("rows", "warned"), [(108, False), (112, True), (220, True)])
def test_a_cutout_more_than_half_black_is_warned_about(remote, boss, rows, warned):
    boss.data = STACK.copy()
    boss.data[:, :rows] = 0
    notes = fetch_cutout(plan_cutout(replace(remote, cutout_xyz=(260, 220, 20)))).notes
    assert any("black" in note for note in notes) == warned


@pytest.mark.parametrize(("levels", "warned"), [(5, True), (30, False)])
def test_a_nearly_constant_cutout_is_warned_about(remote, boss, levels, warned):
    boss.data = 100 + STACK % levels
    notes = fetch_cutout(plan_cutout(remote)).notes
    assert any("nearly constant" in note for note in notes) == warned


# --- ground truth -------------------------------------------------------------------------------


@pytest.fixture
def plan(file):
    return plan_cutout(replace(file, cutout_xyz=(50, 40, 9)))


def read_labels(tmp_path, labels, plan):
    np.savez(tmp_path / "truth.npz", raw=STACK, labels=labels)
    return read_ground_truth(str(tmp_path / "truth.npz"), plan)


LABELS = RNG.integers(0, 9, STACK.shape, dtype=np.uint16)


def test_labels_of_the_whole_source_are_cropped_with_it(tmp_path, plan):
    got = read_labels(tmp_path, LABELS, plan)
    np.testing.assert_array_equal(got, crop(LABELS, plan))
    assert got.dtype == np.int32


def test_labels_of_the_cutout_are_not_changed(tmp_path, plan):
    np.testing.assert_array_equal(
        read_labels(tmp_path, crop(LABELS, plan), plan), crop(LABELS, plan)
    )


def test_labels_of_another_shape_are_a_data_error_with_all_shapes(tmp_path, plan):
    with pytest.raises(DataError, match=r"\(20, 220, 259\).*\(20, 220, 260\).*\(9, 40, 50\)"):
        read_labels(tmp_path, LABELS[..., :-1], plan)


@pytest.mark.parametrize("lowest", [0, 1])
def test_ids_beyond_32_bits_are_renumbered_and_0_stays_0(tmp_path, plan, lowest):
    ids = np.array([lowest, 7, 2**31, 2**40, 2**63 + 5], np.uint64)
    index = RNG.integers(0, 5, plan.shape)
    got = read_labels(tmp_path, ids[index], plan)
    np.testing.assert_array_equal(got, index + lowest)
    assert got.dtype == np.int32


@pytest.mark.parametrize("labels", [LABELS.astype(float), LABELS > 3, LABELS.astype(int) - 1])
def test_labels_that_are_not_ids_are_a_data_error(tmp_path, plan, labels):
    with pytest.raises(DataError):
        read_labels(tmp_path, labels, plan)


# --- the phantom and real data ------------------------------------------------------------------


def test_the_phantom_has_ground_truth_and_ignores_flags_of_other_sources():
    source = Source("phantom://neuropil?seed=3", (96, 80, 8), (1, 2, 3), resolution=2)
    plan = plan_cutout(source)
    fetched = fetch_cutout(plan)
    assert plan.uri == fetched.volume.source == "phantom://neuropil?seed=3&section_nm=30&pixel_nm=8"
    np.testing.assert_array_equal(
        fetch_cutout(plan_cutout(Source(plan.uri, (96, 80, 8)))).volume.data, fetched.volume.data
    )
    assert fetched.volume.shape == plan.shape == plan.source_shape == (8, 80, 96)
    assert fetched.ground_truth.labels.shape == plan.shape
    assert [note.split()[0] for note in plan.notes[:2]] == ["--resolution", "--origin"]


def test_the_plan_has_the_uri_of_the_phantom():
    plan = plan_cutout(Source("phantom://neuropil", (64, 48, 4), voxel_size=(40, 5, 5), seed=9))
    assert plan.uri == make_phantom((4, 48, 64), 9, (40, 5, 5)).volume.source


def test_the_phantom_has_the_requested_voxel_size():
    plan = plan_cutout(Source("phantom://neuropil", (192, 192, 8), voxel_size=(40, 10, 10)))
    assert plan.voxel_size == fetch_cutout(plan).volume.voxel_size == (40, 10, 10)
    assert plan.notes == ()


def test_a_real_volume_has_its_voxel_size_and_labels(shared_data):
    path = str(shared_data / "isbi_dev.npz")
    plan = plan_cutout(Source(path, (200, 180, 20)))
    assert (plan.uri, plan.voxel_size) == (f"{path}:raw", (50, 4, 4))
    with np.load(path) as arrays:
        raw, labels = crop(arrays["raw"], plan), crop(arrays["labels"], plan)
    np.testing.assert_array_equal(read_ground_truth(path, plan), labels)
    got = fetch_cutout(plan).volume.data
    assert np.corrcoef(got.ravel(), raw.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("size", [(0.05, 0.004, 0.004), (30.0, 8.0, 0.1), (5000.0, 400.0, 400.0)])
def test_voxel_sizes_outside_electron_microscopy_are_rejected(tmp_path, size):
    np.save(tmp_path / "em.npy", np.zeros((3, 20, 20), np.uint8))
    with pytest.raises(UsageError, match="not those of electron microscopy"):
        plan_cutout(Source(str(tmp_path / "em.npy"), voxel_size=size))


def test_ground_truth_of_another_shape_is_rejected_before_anything_is_fetched(tmp_path):
    plan = plan_cutout(Source("phantom://neuropil", cutout_xyz=(32, 32, 4)))
    np.save(tmp_path / "labels.npy", np.ones((4, 32, 31), np.int32))
    with pytest.raises(DataError, match=r"\(4, 32, 31\).*\(4, 32, 32\)"):
        check_ground_truth(str(tmp_path / "labels.npy"), plan)


def test_ground_truth_without_labels_is_rejected(tmp_path):
    plan = plan_cutout(Source("phantom://neuropil", cutout_xyz=(32, 32, 4)))
    np.save(tmp_path / "labels.npy", np.zeros((4, 32, 32), np.int32))
    with pytest.raises(DataError, match="0 everywhere"):
        read_ground_truth(str(tmp_path / "labels.npy"), plan)


def test_a_phantom_that_is_too_small_is_rejected_in_the_plan():
    with pytest.raises(UsageError, match="too small"):
        plan_cutout(Source("phantom://neuropil", cutout_xyz=(8, 8, 1)))
