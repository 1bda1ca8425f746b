"""Darkness relative to membranes, and the dark cores found in it."""

from dataclasses import replace

import numpy as np
import pytest

from connectome.core.params import SynapseParams
from connectome.synapses.densities import compute_density_maps, find_densities

SIZE = (30.0, 8.0, 8.0)
SHAPE = (9, 96, 96)
Z, Y, X = np.mgrid[:9, :96, :96]
PAIR = np.where(X < 48, 5, 9).astype(np.int32)


def neuropil(seed=0, membrane=0.45, cytoplasm=0.7):
    """Return an image of two neurites with a membrane of 16 nm between them."""
    image = np.random.default_rng(seed).normal(cytoplasm, 0.03, SHAPE)
    image[:, :, 47:49] = membrane
    return image.clip(0, 1).astype(np.float32)


def put(image, place, radius_nm=30, depth_nm=30, grey=0.05):
    away = [(axis - at) * size for axis, at, size in zip((Z, Y, X), place, SIZE, strict=True)]
    image[(away[0] / depth_nm) ** 2 + (away[1] ** 2 + away[2] ** 2) / radius_nm**2 <= 1] = grey
    return image


def maps_of(image, labels=PAIR, size=SIZE, **options):
    return compute_density_maps(image, labels, size, **options)


def test_cytoplasm_is_0_and_membrane_is_1_however_they_are_stained():
    for membrane, cytoplasm in ((0.45, 0.7), (0.2, 0.9), (0.6, 0.65)):
        maps = maps_of(neuropil(membrane=membrane, cytoplasm=cytoplasm))
        assert np.median(maps.darkness[:, :, :30]) == pytest.approx(0, abs=0.1)
        # Smoothing lightens a membrane two pixels wide, by the same factor everywhere.
        assert np.median(maps.darkness[:, :, 47:49]) == pytest.approx(0.68, abs=0.1)


def test_darkness_is_relative_to_nearby_membranes():
    # The contrast of the membrane fades along the section to two fifths.
    fading = np.linspace(0, 0.15, 96)[None, :, None]
    image = np.where(PAIR[0] > 0, neuropil(), 0)
    image[:, :, 47:49] += fading
    maps = maps_of(image)
    upper, lower = (maps.darkness[:, rows, 47:49].mean() for rows in (slice(20), slice(76, 96)))
    assert 0.55 < lower / upper < 0.9


def test_a_synapse_does_not_change_its_own_reference():
    plain, dark = maps_of(neuropil()), maps_of(put(neuropil(), (4, 40, 44), depth_nm=200))
    away = np.s_[4, 80:, 47:49]
    assert dark.darkness[away] == pytest.approx(plain.darkness[away], abs=0.05)
    assert dark.darkness[4, 40, 44] > 1.3


def test_flat_sections_have_no_dark_places():
    assert not maps_of(np.full(SHAPE, 0.5, np.float32)).smoothed_darkness.any()


def test_darkness_away_from_boundaries_is_excluded():
    maps = maps_of(put(neuropil(), (4, 48, 20)))
    assert not maps.smoothed_darkness[:, :, :38].any()
    assert maps.boundary_distance[4, 48, 20] > 200


def test_damaged_sections_are_excluded():
    image = put(neuropil(), (4, 40, 44), depth_nm=10)
    maps = maps_of(image, damaged_sections=[4])
    assert not maps.smoothed_darkness[4].any()
    assert not maps.labels[4].any()
    assert not [d for d in find_densities(maps) if d.peak_darkness > 1.3]


@pytest.mark.parametrize("fine", [4.0, 2.0])
def test_fine_pixels_are_binned_and_positions_stay(fine):
    times = int(8 / fine)
    image = put(neuropil(), (4, 40, 44), radius_nm=40).repeat(times, 1).repeat(times, 2)
    labels = PAIR.repeat(times, 1).repeat(times, 2)
    maps = maps_of(image, labels, (30.0, fine, fine))
    assert maps.binning == times
    assert maps.voxel_size == SIZE
    assert maps.smoothed_darkness.shape == SHAPE
    best = find_densities(maps)[0]
    assert np.abs(best.central_voxel - (4, 40, 44)).max() <= 2


def test_cores_are_disjoint_and_no_lighter_than_a_fraction_of_their_peak():
    params = SynapseParams()
    maps = maps_of(put(put(neuropil(), (3, 24, 44), depth_nm=70), (5, 72, 50)))
    densities = find_densities(maps, params)
    assert len(densities) == 2
    taken = np.zeros(SHAPE, int)
    for density in densities:
        at = tuple(density.voxels.T)
        taken[at] += 1
        assert maps.smoothed_darkness[at].min() >= params.core_fraction * density.peak_darkness
        assert maps.smoothed_darkness[at].max() == pytest.approx(density.peak_darkness)
    assert taken.max() == 1


def test_peaks_within_one_core_are_one_density():
    # Two peaks 160 nm apart, with a dark bridge.
    image = put(neuropil(), (4, 38, 46), radius_nm=35)
    image = put(image, (4, 58, 46), radius_nm=35)
    image[4, 36:60, 44:49] = 0.05
    assert len(find_densities(maps_of(image))) == 1
    apart = put(put(neuropil(), (4, 24, 44)), (4, 72, 44))
    assert len(find_densities(maps_of(apart))) == 2


def test_no_density_exceeds_the_largest_extent():
    image = neuropil()
    image[:, :, 44:49] = 0.05  # a dark band along the whole boundary
    image[:, ::8, 44:49] = 0.3
    params = replace(SynapseParams(), max_extent_nm=200)
    for density in find_densities(maps_of(image), params):
        extent = (np.ptp(density.voxels, axis=0) + 1) * SIZE
        assert (extent[1:] <= 200 + 3 * 8).all()


def test_densities_are_sorted_by_falling_peak_darkness():
    image = put(put(neuropil(), (4, 24, 44), grey=0.2), (4, 72, 44), grey=0.0)
    heights = [density.peak_darkness for density in find_densities(maps_of(image))]
    assert len(heights) == 2
    assert heights == sorted(heights, reverse=True)
