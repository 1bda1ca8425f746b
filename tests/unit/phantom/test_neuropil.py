"""The phantom is reproducible, complete and realistic."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label as connected_components
from skimage.segmentation import find_boundaries

from connectome.core.errors import UsageError
from connectome.phantom import PhantomParams, make_phantom, parse_phantom_uri

pytestmark = pytest.mark.slow

SMALL = (10, 96, 112)
EM_SHA256 = "b7412930a376aeaa7fb2fa4ec3bfd951ff1cc8c6732926788f0cedc692046566"
LABELS_SHA256 = "0aea90c95cc45882977e4b290ad1772eb646380708a083407f6f53497333655f"


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def small():
    return make_phantom(SMALL)


@pytest.fixture(scope="module")
def safe8gb():
    return make_phantom((48, 192, 192))


def count_components(labels):
    return connected_components(labels, background=0, connectivity=1).max()


def ids_within(labels, voxel_size, point, radius_nm):
    """Return the ids within a distance of a point (z, y, x) in voxels."""
    grid = np.ogrid[tuple(slice(0, n) for n in labels.shape)]
    square = sum(((g - p) * v) ** 2 for g, p, v in zip(grid, point, voxel_size, strict=True))
    return set(np.unique(labels[square < radius_nm**2]).tolist())


def test_a_seed_always_gives_the_same_bytes(small):
    assert sha256(small.ground_truth.labels.astype("<i4")) == LABELS_SHA256
    assert sha256(small.volume.data) == EM_SHA256


def test_the_bytes_do_not_depend_on_the_processor():
    extensions = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
    if not extensions:
        pytest.skip("numpy uses no optional processor extensions here, so none can be left out")
    program = (
        "import hashlib, connectome.phantom as p;"
        f"em = p.make_phantom({SMALL}).volume.data;"
        "print(hashlib.sha256(em.tobytes()).hexdigest())"
    )
    plain = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(extensions)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert plain.stdout.strip() == EM_SHA256


def test_another_seed_gives_other_tissue(small):
    other = make_phantom(SMALL, seed=8)
    assert (other.volume.data != small.volume.data).mean() > 0.5
    assert (
        len(np.unique(other.ground_truth.labels)) != len(np.unique(small.ground_truth.labels))
        or (other.ground_truth.labels != small.ground_truth.labels).any()
    )


def test_the_source_uri_reproduces_the_phantom():
    first = make_phantom((3, 40, 48), seed=11, voxel_size=(45, 4, 4))
    seed, voxel_size = parse_phantom_uri(first.volume.source, default_seed=7)
    again = make_phantom((3, 40, 48), seed, voxel_size)
    assert again.volume.source == first.volume.source
    np.testing.assert_array_equal(again.volume.data, first.volume.data)


@settings(max_examples=15)
@given(
    shape=st.tuples(st.integers(2, 9), st.integers(16, 50), st.integers(16, 50)),
    pixel_nm=st.sampled_from([2.0, 5.0, 8.0, 16.0, 40.0]),
    anisotropy=st.sampled_from([1.0, 2.5, 8.0, 20.0]),
    seed=st.integers(0, 2**32),
)
def test_every_shape_and_anisotropy_has_complete_ground_truth(shape, pixel_nm, anisotropy, seed):
    voxel_size = (min(100.0, anisotropy * pixel_nm), pixel_nm, pixel_nm)
    phantom = make_phantom(shape, seed, voxel_size)
    labels, truth = phantom.ground_truth.labels, phantom.ground_truth
    assert phantom.volume.data.dtype == np.uint8 and phantom.volume.shape == shape
    assert phantom.volume.voxel_size == voxel_size
    assert labels.dtype == np.int32 and labels.shape == shape
    assert np.unique(labels).tolist() == list(range(1, labels.max() + 1))
    assert count_components(labels) == labels.max()
    assert truth.shifts.shape == (shape[0], 2)
    np.testing.assert_allclose(truth.shifts.mean(axis=0), 0, atol=1e-9)
    assert set(truth.synapses.pre_id) <= set(range(1, labels.max() + 1))


def test_tissue_of_isotropic_voxels_runs_along_z():
    still = PhantomParams(jitter_nm=0, drift_nm=0)
    labels = make_phantom((64, 64, 64), 1, (8, 8, 8), still).ground_truth.labels
    assert len(np.unique(labels)) > 10
    # Neurites mostly run along z: they change less from section to section than from row to row.
    assert (labels[1:] != labels[:-1]).mean() < (labels[:, 1:] != labels[:, :-1]).mean()


def test_every_id_is_one_component_and_most_neurites_cross_the_volume(safe8gb):
    labels = safe8gb.ground_truth.labels
    assert count_components(labels) == labels.max()
    through = np.intersect1d(labels[0], labels[-1])
    assert np.isin(labels, through).mean() > 0.6


def test_profiles_have_the_calibres_of_worm_neuropil(safe8gb):
    areas = np.concatenate(
        [np.bincount(section.ravel())[1:] * 64.0 for section in safe8gb.ground_truth.labels[::8]]
    )
    diameters = 2 * np.sqrt(areas[areas > 0] / np.pi)
    assert 100 < np.median(diameters) < 250
    assert np.percentile(diameters, 5) < 80
    assert diameters.max() > 350


def test_membranes_are_darker_than_cytoplasm(safe8gb):
    em, labels = safe8gb.volume.data, safe8gb.ground_truth.labels
    for z in (0, 12, 47):
        midline = find_boundaries(labels[z], mode="inner")
        interior = ndimage.distance_transform_edt(~midline) > 4
        assert np.median(em[z][interior]) - np.median(em[z][midline]) > 50


def test_shifts_align_the_labels(safe8gb):
    labels, shifts = safe8gb.ground_truth.labels, safe8gb.ground_truth.shifts

    def agreement(sign):
        moved = np.stack(
            [
                ndimage.shift(section, sign * shift, order=0, mode="nearest")
                for section, shift in zip(labels, shifts, strict=True)
            ]
        )[:, 8:-8, 8:-8]
        return (moved[1:] == moved[:-1]).mean()

    assert 0.5 < np.diff(shifts, axis=0).std() < 3
    assert agreement(1) > agreement(0) + 0.02
    assert agreement(0) > agreement(-1)


def test_shifts_align_the_image():
    phantom = make_phantom((6, 128, 128), seed=4, voxel_size=(8, 8, 8))
    em, shifts = phantom.volume.data.astype(float), phantom.ground_truth.shifts
    restored = np.stack(
        [
            ndimage.shift(s, shift, order=1, mode="nearest")
            for s, shift in zip(em, shifts, strict=True)
        ]
    )

    def difference(stack):
        return np.abs(np.diff(stack[:, 8:-8, 8:-8], axis=0)).mean()

    assert difference(restored) < difference(em)


def test_synapses_lie_where_their_neurites_are_in_contact(safe8gb):
    labels, synapses = safe8gb.ground_truth.labels, safe8gb.ground_truth.synapses
    voxel_size = safe8gb.volume.voxel_size
    assert 8 <= len(synapses) <= 20
    assert list(synapses.columns[:5]) == ["z", "y", "x", "pre_id", "post_ids"]
    for row in synapses.itertuples():
        point = (row.z, row.y, row.x)
        posts = [int(post) for post in row.post_ids.split(";")]
        assert 1 <= len(posts) <= 3 and len(set(posts)) == len(posts)
        assert row.pre_id not in posts
        assert row.pre_id in ids_within(labels, voxel_size, point, 30)
        assert set(posts) <= ids_within(labels, voxel_size, point, 170)
        assert 2 <= row.n_sections <= 6


def test_most_synapses_are_polyadic(safe8gb):
    partners = safe8gb.ground_truth.synapses.post_ids.str.split(";").str.len()
    assert (partners >= 2).mean() > 0.5


def test_densities_are_dark(safe8gb):
    em = safe8gb.volume.data
    for row in safe8gb.ground_truth.synapses.itertuples():
        z, y, x = (round(v) for v in (row.z, row.y, row.x))
        if z not in safe8gb.damaged_sections:
            around = em[z, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            assert np.median(around) < np.percentile(em[z], 20)


def test_one_section_of_a_long_stack_is_damaged_and_reported(safe8gb):
    (damaged,) = safe8gb.damaged_sections
    low, high = np.percentile(safe8gb.volume.data, (25, 75), axis=(1, 2))
    assert np.argmin(high - low) == damaged
    assert 0 < damaged < 47
    assert make_phantom((7, 32, 32)).damaged_sections == ()


def test_brightness_changes_from_section_to_section(safe8gb):
    medians = np.median(safe8gb.volume.data, axis=(1, 2))
    assert 1 < medians.std() < 25


def test_a_uri_has_seed_and_voxel_size():
    uri = "phantom://neuropil?seed=3&section_nm=50&pixel_nm=4"
    assert parse_phantom_uri(uri, 7) == (3, (50, 4, 4))
    assert parse_phantom_uri("phantom://neuropil", 9) == (9, (30, 8, 8))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("phantom://brain", "neuropil"),
        ("phantom://neuropil/deeper", "neuropil"),
        ("phantom://neuropil?sed=3", "did you mean seed"),
        ("phantom://neuropil?pixel=3", "did you mean pixel_nm"),
        ("phantom://neuropil?seed=3.5", "whole number"),
        ("phantom://neuropil?seed=-1", "whole number"),
        ("phantom://neuropil?seed=", "whole number"),
        ("phantom://neuropil?pixel_nm=wide", "pixel_nm=wide"),
        ("phantom://neuropil?section_nm=0", "between 1 and 100"),
        ("phantom://neuropil?section_nm=nan", "between 1 and 100"),
    ],
)
def test_an_invalid_uri_is_rejected_with_a_suggestion(uri, message):
    with pytest.raises(UsageError, match=message):
        parse_phantom_uri(uri, 7)


@pytest.mark.parametrize(
    ("shape", "voxel_size"),
    [
        ((1, 64, 64), (30, 8, 8)),
        ((4, 8, 64), (30, 8, 8)),
        ((4, 64), (30, 8, 8)),
        ((4, 64, 64), (30, 8, 9)),
        ((4, 64, 64), (30, 0, 0)),
    ],
)
def test_an_unsupported_shape_or_voxel_size_is_rejected(shape, voxel_size):
    with pytest.raises(UsageError):
        make_phantom(shape, voxel_size=voxel_size)
