"""Preprocessing finds tissue and blank sections, smooths, and equalises contrast."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from connectome.core.params import PreprocessParams
from connectome.preprocess import find_blank_sections, find_tissue, preprocess

VOXEL_SIZE = (30.0, 8.0, 8.0)
ROWS, COLUMNS = np.mgrid[:60, :80]

BORDERS = {
    "none": np.zeros((60, 80), bool),
    "left": COLUMNS < 10,
    "bottom": ROWS >= 50,
    "frame": (ROWS < 5) | (ROWS >= 55) | (COLUMNS < 5) | (COLUMNS >= 75),
    "wedge": ROWS + COLUMNS < 40,
    "two wedges": (ROWS + COLUMNS < 40) | (ROWS + COLUMNS > 110),
    "sliver": COLUMNS < 1,
    "corner": (ROWS < 6) & (COLUMNS >= 74),
}


def synthetic_em(shape=(3, 60, 80), seed=0):
    """Grey blobs without pure black."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), (0, 3, 3))
    return np.clip(128 + 250 * noise, 1, 255).astype(np.uint8)


def preprocess_tissue(sections, **options):
    return preprocess(sections, find_tissue(sections), VOXEL_SIZE, **options)


# --- tissue -------------------------------------------------------------------------------------


@pytest.mark.parametrize("border", BORDERS.values(), ids=BORDERS)
def test_black_regions_at_the_edge_are_background(border):
    sections = synthetic_em()
    sections[1, border] = 0
    tissue = find_tissue(sections)
    assert tissue[[0, 2]].all()
    assert not tissue[1, border].all() or not border.any()
    # Slanted edges are found to within a pixel.
    assert not tissue[1, ndimage.binary_erosion(border, iterations=2, border_value=1)].any()
    assert tissue[1, ~border].all()


def test_straight_borders_are_found_exactly():
    for name in ("left", "bottom", "frame", "sliver", "corner"):
        sections = synthetic_em()[:1]
        sections[0, BORDERS[name]] = 0
        np.testing.assert_array_equal(find_tissue(sections)[0], ~BORDERS[name], err_msg=name)


def test_black_specks_and_holes_count_as_tissue():
    sections = synthetic_em()[:1]
    sections[0, 20:30, 30:45] = 0  # a hole that does not reach the edge
    sections[0, ::7, 3::9] = 0  # specks, on the edge too
    assert find_tissue(sections).all()


def test_a_scratch_of_one_pixel_across_the_section_counts_as_tissue():
    sections = synthetic_em()[:1]
    sections[0, 30] = 0
    assert find_tissue(sections).all()


def test_a_black_section_has_no_tissue():
    sections = synthetic_em()
    sections[1] = 0
    assert find_tissue(sections).any(axis=(1, 2)).tolist() == [True, False, True]


@given(st.integers(0, 59), st.integers(0, 79))
def test_rotating_a_section_rotates_its_mask(row, column):
    sections = synthetic_em()[:1].copy()
    sections[0, :row] = 0
    sections[0, :, column:] = 0
    tissue = find_tissue(sections)
    np.testing.assert_array_equal(
        find_tissue(np.rot90(sections, axes=(1, 2))), np.rot90(tissue, axes=(1, 2))
    )


# --- blank sections -----------------------------------------------------------------------------


def list_blank(sections):
    return find_blank_sections(sections, find_tissue(sections))


def test_sections_without_content_are_blank():
    sections = synthetic_em((6, 60, 80))
    sections[1] = 0  # black
    sections[3] = 200  # grey
    sections[4, 2:] = 0  # hardly any tissue
    assert list_blank(sections) == (1, 3, 4)


def test_half_black_sections_are_not_blank():
    sections = synthetic_em((4, 60, 80))
    sections[2, :, 40:] = 0
    assert list_blank(sections) == ()


def test_faint_sections_are_blank_only_among_stronger_ones():
    faint = (128 + (synthetic_em((4, 60, 80)).astype(float) - 128) / 20).astype(np.uint8)
    assert list_blank(faint) == ()
    mixed = synthetic_em((4, 60, 80))
    mixed[2] = faint[2]
    assert list_blank(mixed) == (2,)


@pytest.mark.parametrize("grey", [0, 1, 255])
def test_a_stack_without_contrast_is_all_blank(grey):
    assert list_blank(np.full((3, 16, 16), grey, np.uint8)) == (0, 1, 2)


# --- grey values --------------------------------------------------------------------------------


@given(st.integers(0, 99), st.sampled_from([(2, 16, 16), (1, 17, 40), (3, 50, 20)]))
def test_values_are_float32_from_0_to_1(seed, shape):
    got = preprocess_tissue(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))
    assert got.dtype == np.float32
    assert got.shape == shape
    assert 0 <= got.min() <= got.max() <= 1


def test_background_becomes_0_and_does_not_affect_the_tissue():
    plain, bordered = synthetic_em((1, 60, 80)), synthetic_em((1, 60, 80))
    bordered[0, :, :20] = 0
    got = preprocess_tissue(bordered)[0]
    assert not got[:, :20].any()
    # The edge of the tissue is not darker, because no black was smoothed into it.
    alone = preprocess_tissue(np.ascontiguousarray(plain[:, :, 20:]))[0]
    assert abs(got[:, 20].mean() - alone[:, 0].mean()) < 0.03


@pytest.mark.parametrize("grey", [0, 77, 255])
def test_sections_without_contrast_become_0(grey):
    sections = synthetic_em()
    sections[1] = grey
    got = preprocess_tissue(sections)
    assert not got[1].any()
    assert got[0].any()


def test_an_all_black_stack_stays_black():
    got = preprocess_tissue(np.zeros((2, 16, 16), np.uint8))
    assert got.shape == (2, 16, 16)
    assert not got.any()


def test_faint_parts_of_a_section_gain_contrast():
    scene = synthetic_em((1, 256, 256)).astype(float) - 128
    scene[..., :128] /= 3
    section = (scene + 128).astype(np.uint8)
    got = preprocess_tissue(section, params=PreprocessParams(clahe_clip=0.03))[0]
    faint, strong = got[:, 16:112].std(), got[:, 144:240].std()
    assert faint > 1.5 * strong * section[0, :, 16:112].std() / section[0, :, 144:240].std()


def test_brightness_and_contrast_of_a_section_are_normalised():
    scene = synthetic_em((1, 128, 128)) // 2  # even numbers below leave room for both changes
    scene = np.maximum(scene, 1)
    np.testing.assert_allclose(preprocess_tissue(scene), preprocess_tissue(2 * scene), atol=0.02)
    np.testing.assert_allclose(preprocess_tissue(scene), preprocess_tissue(scene + 100), atol=0.02)


def test_dark_regions_stay_darker_than_bright_ones():
    section = np.full((1, 64, 64), 180, np.uint8)
    section[0, 20:40, 20:40] = 60
    got = preprocess_tissue(section)[0]
    assert got[30, 30] < got[5, 5]


def test_smoothing_is_in_nm_along_each_axis():
    section = np.full((1, 65, 65), 100, np.uint8)
    section[0, 32, 32] = 255
    tall = preprocess(section, section > 0, (30, 4, 12), params=PreprocessParams(24.0))[0]
    # The same 24 nm are 6 rows but 2 columns.
    assert tall[32 + 6, 32] == pytest.approx(tall[32, 32 + 2], abs=0.05)
    assert tall[32 + 6, 32] > tall[32, 32 + 6] + 0.05


def test_threads_do_not_change_the_result():
    sections = synthetic_em((5, 60, 80))
    sections[2, :, :9] = 0
    np.testing.assert_array_equal(
        preprocess_tissue(sections, threads=1), preprocess_tissue(sections, threads=2)
    )


def test_progress_counts_the_sections():
    counts = []
    preprocess_tissue(synthetic_em((5, 60, 80)), progress=counts.append)
    assert sum(counts) == 5


def test_the_input_is_not_modified():
    sections = synthetic_em()
    before = sections.copy()
    preprocess_tissue(sections)
    np.testing.assert_array_equal(sections, before)
