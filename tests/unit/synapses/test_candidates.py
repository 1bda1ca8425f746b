"""Detection of synapse candidates on synthetic neurites with densities at known positions."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from connectome.align import apply_transforms, transform_points
from connectome.core.params import SynapseParams
from connectome.core.volume import Transforms
from connectome.evaluate import score_synapses
from connectome.phantom import make_phantom
from connectome.preprocess import find_tissue, preprocess
from connectome.synapses.candidates import COLUMNS, detect_synapses
from connectome.synapses.scoring import default_classifier

SIZE = (30.0, 8.0, 8.0)
SHAPE = (9, 96, 96)
Z, Y, X = np.mgrid[:9, :96, :96]
LEFT, RIGHT = 5, 9
PAIR = np.where(X < 48, LEFT, RIGHT).astype(np.int32)


def neuropil(labels=PAIR, seed=0):
    """Return noisy cytoplasm with dark membranes where neurites meet."""
    image = np.random.default_rng(seed).normal(0.7, 0.1, labels.shape)
    for axis in (1, 2):
        image[np.diff(labels, axis=axis, prepend=labels.take([0], axis)) != 0] = 0.45
    return image.clip(0, 1).astype(np.float32)


def put_density(image, place, radius_nm=30, depth_nm=45, grey=0.05):
    """Darken an ellipsoid that spans three sections."""
    away = [(axis - at) * size for axis, at, size in zip((Z, Y, X), place, SIZE, strict=True)]
    reach = (away[0] / depth_nm) ** 2 + (away[1] ** 2 + away[2] ** 2) / radius_nm**2
    image[reach <= 1] = grey
    return image


def detect(image, labels=PAIR, **options):
    return detect_synapses(image, labels, SIZE, **options)


def at(row):
    return tuple(row[["z", "y", "x"]])


# --- one density --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "pre", "post"),
    [((4, 40, 44), LEFT, RIGHT), ((4, 60, 51), RIGHT, LEFT), ((2, 30, 44), LEFT, RIGHT)],
)
def test_a_density_at_a_membrane_is_one_synapse_of_the_neurite_it_lies_in(place, pre, post):
    table = detect(put_density(neuropil(), place))
    assert len(table) == 1
    (row,) = (row for _, row in table.iterrows())
    assert np.abs(np.subtract(at(row), place)).max() <= 2
    assert (row.pre_id, row.post_id, row.post_ids, row.n_partners) == (pre, post, str(post), 1)
    assert 0.5 <= row.score <= 1


def test_a_density_over_several_sections_is_one_synapse():
    table = detect(put_density(neuropil(), (4, 40, 44), depth_nm=80))
    assert len(table) == 1
    assert abs(table.z[0] - 4) <= 1


def test_distant_densities_are_separate_candidates():
    image = put_density(put_density(neuropil(), (4, 24, 44)), (4, 72, 44))
    assert sorted(detect(image).y.round(-1)) == [20, 70]


def test_a_darker_density_scores_higher_and_comes_first():
    image = put_density(put_density(neuropil(), (4, 24, 44), grey=0.3), (4, 72, 44), grey=0.0)
    table = detect(image)
    assert list(table.y.round(-1)) == [70, 20]
    assert table.score.is_monotonic_decreasing
    assert table.score[0] > table.score[1]


def test_a_density_inside_a_neurite_is_not_a_candidate():
    assert detect(put_density(neuropil(), (4, 48, 20))).empty


def test_a_density_at_the_edge_of_the_tissue_is_not_a_candidate():
    labels = np.where(X < 48, LEFT, 0).astype(np.int32)
    assert detect(put_density(neuropil(), (4, 40, 44)), labels).empty


def test_bright_blobs_are_not_candidates():
    assert detect(put_density(neuropil(), (4, 40, 44), grey=1.0)).empty


def test_membranes_alone_are_not_candidates():
    assert detect(neuropil()).empty


# --- several partners ---------------------------------------------------------------------------


def test_all_neurites_that_a_density_faces_are_partners():
    labels = np.where(X < 48, LEFT, np.where(Y < 48, 7, 8)).astype(np.int32)
    table = detect(put_density(neuropil(labels), (4, 47, 46)), labels)
    assert len(table) == 1
    assert table.pre_id[0] == LEFT
    assert set(table.post_ids[0].split(";")) == {"7", "8"}
    assert table.n_partners[0] == 2


def test_the_partner_with_most_contact_comes_first():
    labels = np.where(X < 48, LEFT, np.where(Y < 47, 7, 8)).astype(np.int32)
    table = detect(put_density(neuropil(labels), (4, 48, 46)), labels)
    assert (table.post_id[0], table.post_ids[0]) == (8, "8;7")


def test_the_number_of_partners_is_limited():
    labels = np.where(X < 48, LEFT, np.where(Y < 48, 7, 8)).astype(np.int32)
    image = put_density(neuropil(labels), (4, 47, 46))
    table = detect(image, labels, params=replace(SynapseParams(), max_partners=1))
    assert table.n_partners.tolist() == [1]


def test_a_neurite_is_never_its_own_partner():
    labels = np.where(X < 48, LEFT, np.where(Y < 48, 7, 8)).astype(np.int32)
    for row in detect(put_density(neuropil(labels), (4, 47, 46)), labels).itertuples():
        posts = row.post_ids.split(";")
        assert str(row.pre_id) not in posts
        assert len(set(posts)) == len(posts) == row.n_partners
        assert posts[0] == str(row.post_id)


# --- nothing to find ----------------------------------------------------------------------------


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "labels", [PAIR, np.zeros_like(PAIR), np.full_like(PAIR, 3)], ids=["two", "none", "one"]
)
def test_flat_images_give_an_empty_table_with_all_columns(grey, labels):
    table = detect(np.full(SHAPE, grey, np.float32), labels)
    assert table.empty
    assert list(table.columns) == COLUMNS
    assert list(table.columns[:6]) == ["z", "y", "x", "pre_id", "post_id", "score"]


def test_a_tiny_stack_gives_a_valid_table():
    labels = np.repeat([[[1] * 8 + [2] * 8]], 16, axis=1).repeat(2, axis=0).astype(np.int32)
    image = np.random.default_rng(0).uniform(size=(2, 16, 16)).astype(np.float32)
    assert list(detect(image, labels).columns) == COLUMNS


ALL_CANDIDATES = replace(SynapseParams(), min_score=0.0)


def test_damaged_sections_have_no_candidates():
    image = neuropil()
    image[4] = put_density(neuropil(), (4, 40, 44), depth_nm=10)[4]
    assert detect(image, params=ALL_CANDIDATES).z[0] == 4
    assert 4 not in detect(image, damaged_sections=[4], params=ALL_CANDIDATES).z.tolist()


def test_a_density_in_only_one_thick_section_is_not_a_candidate():
    assert detect(put_density(neuropil(), (4, 40, 44), depth_nm=10)).empty
    assert len(detect(put_density(neuropil(), (4, 40, 44), depth_nm=45))) == 1


@pytest.mark.parametrize("side", [np.s_[30:50, 48:60], np.s_[30:60, 30:60]])
def test_the_content_of_a_damaged_section_does_not_affect_its_neighbours(side):
    image = put_density(neuropil(), (3, 40, 44))
    folded, elsewhere = image.copy(), PAIR.copy()
    folded[(4, *side)] = 0
    elsewhere[(4, *side)] = LEFT
    plain, same = (
        detect(image, damaged_sections=[4]),
        detect(folded, elsewhere, damaged_sections=[4]),
    )
    assert len(plain)
    pd.testing.assert_frame_equal(plain, same)


# --- invariance -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def phantom():
    return make_phantom((10, 160, 160), seed=7)


def test_float16_input_gives_the_same_candidates(phantom):
    image = (phantom.volume.data / 255).astype(np.float16)
    tables = [
        detect(image.astype(kind), phantom.ground_truth.labels) for kind in (np.float16, np.float32)
    ]
    pd.testing.assert_frame_equal(*tables)


def test_threads_and_repetition_do_not_change_the_result(phantom):
    image = (phantom.volume.data / 255).astype(np.float32)
    tables = [detect(image, phantom.ground_truth.labels, threads=n) for n in (1, 2, 1)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])


def test_brightness_and_contrast_do_not_change_the_positions(phantom):
    image = (phantom.volume.data / 255).astype(np.float32)
    plain, faint = (detect(i, phantom.ground_truth.labels) for i in (image, 0.3 + 0.5 * image))
    pd.testing.assert_frame_equal(plain[["z", "y", "x"]], faint[["z", "y", "x"]])


def test_ids_are_those_of_the_labels(phantom):
    image = (phantom.volume.data / 255).astype(np.float32)
    plain = detect(image, phantom.ground_truth.labels)
    shifted = detect(image, phantom.ground_truth.labels + 1000)
    assert len(plain)
    assert (plain.pre_id + 1000).tolist() == shifted.pre_id.tolist()
    assert (plain.post_id + 1000).tolist() == shifted.post_id.tolist()


def test_progress_adds_up_to_the_number_of_sections(phantom):
    steps = []
    image = (phantom.volume.data / 255).astype(np.float32)
    detect(image, phantom.ground_truth.labels, progress=steps.append)
    assert sum(steps) == len(image)


@pytest.fixture(scope="module")
def registered():
    """Return a phantom aligned with its true shifts, so that alignment errors play no part."""
    phantom = make_phantom((24, 192, 192), seed=7)
    size, transforms = phantom.volume.voxel_size, Transforms(phantom.ground_truth.shifts)
    tissue = find_tissue(phantom.volume.data)
    image = apply_transforms(preprocess(phantom.volume.data, tissue, size), transforms)
    labels = apply_transforms(phantom.ground_truth.labels, transforms, order=0)
    true = phantom.ground_truth.synapses.copy()
    true[["z", "y", "x"]] = transform_points(true[["z", "y", "x"]].to_numpy(), transforms)
    return image, labels, true, phantom.damaged_sections


def test_most_synapses_of_the_phantom_are_detected_on_its_true_labels(registered):
    image, labels, true, damaged = registered
    table = detect(image, labels, damaged_sections=damaged)
    score = score_synapses(table, true, SIZE, labels=labels, true_labels=labels)["200"]
    assert score["recall"] >= 0.7
    assert score["precision"] >= 0.7
    assert score["partners"] >= 0.8
    assert score["direction"] >= 0.7


def test_precision_rises_with_the_score(registered):
    image, labels, true, damaged = registered
    everything = detect(
        image, labels, damaged_sections=damaged, params=replace(SynapseParams(), min_score=0)
    )
    likely = everything[everything.score >= 0.5]
    precision = [
        score_synapses(table, true, SIZE)["200"]["precision"] for table in (likely, everything)
    ]
    assert precision[0] > precision[1] + 0.2
    assert len(detect(image, labels, damaged_sections=damaged)) < len(everything)


# --- columns ----------------------------------------------------------------


def test_a_row_has_the_position_and_size_of_its_density():
    image = put_density(neuropil(), (4, 40, 44), radius_nm=40, depth_nm=50)
    row = detect(image).iloc[0]
    for axis, at in zip("zyx", (4, 40, 44), strict=True):
        assert row[f"{axis}_first"] <= at <= row[f"{axis}_last"]
        assert row[f"{axis}_first"] <= row[axis] <= row[f"{axis}_last"]
    assert row.n_sections == row.z_last - row.z_first + 1 == 3
    # An ellipsoid with semi-axes of 40, 40 and 50 nm: 0.000335 µm³. The core is its darkest part.
    assert 0.00005 < row.volume_um3 < 0.0005
    assert 40 < row.thickness_nm < 100
    assert 0 < row.contact_area_um2 < 0.05
    assert row.darkness > 1.2
    assert row.darkest >= row.darkness


def test_vesicles_raise_the_texture_of_their_neurite():
    image = neuropil()
    rings = np.hypot((Y % 12) - 6, (X % 12) - 6)
    image[(abs(rings - 2.5) < 1) & (X < 40) & (Z == 4)] = 0.45
    row = detect(put_density(image, (4, 40, 44))).iloc[0]
    assert row.pre_id == LEFT
    assert row.vesicles_pre > 1.5 * row.vesicles_post


def test_a_mitochondrion_nearby_lowers_the_score():
    plain = put_density(neuropil(), (4, 40, 44), grey=0.3)
    beside = plain.copy()
    beside[3:6, 25:55, 20:38] = 0.3
    scores = [detect(image, params=ALL_CANDIDATES).score.max() for image in (plain, beside)]
    assert scores[1] < scores[0]


def test_scores_depend_on_the_classifier():
    image = put_density(neuropil(), (4, 40, 44))
    strict = replace(default_classifier(), bias=default_classifier().bias - 200)
    assert len(detect(image)) == 1
    assert detect(image, classifier=strict).empty


def test_fine_pixels_give_the_same_position():
    image = put_density(neuropil(), (4, 40, 44))
    fine = detect_synapses(
        image.repeat(2, 1).repeat(2, 2), PAIR.repeat(2, 1).repeat(2, 2), (30.0, 4.0, 4.0)
    )
    row, plain = fine.iloc[0], detect(image).iloc[0]
    assert (row.pre_id, row.post_id) == (plain.pre_id, plain.post_id)
    assert np.abs(np.subtract(at(row), at(plain) * np.array([1, 2, 2]))).max() <= 2
