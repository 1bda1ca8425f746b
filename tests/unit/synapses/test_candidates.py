"""Synapse candidates on made-up neurites whose densities lie where they were put."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from connectome.align.estimate import apply_transforms, transform_points
from connectome.core.params import SynapseParams
from connectome.evaluate import score_synapses
from connectome.phantom.neuropil import make_phantom
from connectome.preprocess import find_tissue, preprocess
from connectome.synapses.candidates import COLUMNS, detect_synapses
from connectome.synapses.scoring import default_classifier

SIZE = (30.0, 8.0, 8.0)
SHAPE = (9, 96, 96)
Z, Y, X = np.mgrid[:9, :96, :96]
LEFT, RIGHT = 5, 9
PAIR = np.where(X < 48, LEFT, RIGHT).astype(np.int32)


def neuropil(labels=PAIR, seed=0):
    """Grainy cytoplasm and dark membranes where neurites meet."""
    image = np.random.default_rng(seed).normal(0.7, 0.1, labels.shape)
    for axis in (1, 2):
        image[np.diff(labels, axis=axis, prepend=labels.take([0], axis)) != 0] = 0.45
    return image.clip(0, 1).astype(np.float32)


def put_density(image, place, radius_nm=30, depth_nm=45, grey=0.05):
    """Darken a blob, in three sections."""
    away = [(axis - at) * size for axis, at, size in zip((Z, Y, X), place, SIZE, strict=True)]
    reach = (away[0] / depth_nm) ** 2 + (away[1] ** 2 + away[2] ** 2) / radius_nm**2
    image[reach <= 1] = grey
    return image


def find(image, labels=PAIR, **options):
    return detect_synapses(image, labels, SIZE, **options)


def at(row):
    return tuple(row[["z", "y", "x"]])


# --- one density --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "pre", "post"),
    [((4, 40, 44), LEFT, RIGHT), ((4, 60, 51), RIGHT, LEFT), ((2, 30, 44), LEFT, RIGHT)],
)
def test_a_density_at_a_membrane_is_one_synapse_of_the_neurite_that_holds_it(place, pre, post):
    table = find(put_density(neuropil(), place))
    assert len(table) == 1
    (row,) = (row for _, row in table.iterrows())
    assert np.abs(np.subtract(at(row), place)).max() <= 2
    assert (row.pre_id, row.post_id, row.post_ids, row.n_partners) == (pre, post, str(post), 1)
    assert 0.5 <= row.score <= 1


def test_a_density_over_several_sections_is_one_synapse():
    table = find(put_density(neuropil(), (4, 40, 44), depth_nm=80))
    assert len(table) == 1
    assert abs(table.z[0] - 4) <= 1


def test_densities_far_apart_are_told_apart():
    image = put_density(put_density(neuropil(), (4, 24, 44)), (4, 72, 44))
    assert sorted(find(image).y.round(-1)) == [20, 70]


def test_a_darker_density_scores_higher_and_comes_first():
    image = put_density(put_density(neuropil(), (4, 24, 44), grey=0.3), (4, 72, 44), grey=0.0)
    table = find(image)
    assert list(table.y.round(-1)) == [70, 20]
    assert table.score.is_monotonic_decreasing
    assert table.score[0] > table.score[1]


def test_a_density_inside_a_neurite_is_no_synapse():
    assert find(put_density(neuropil(), (4, 48, 20))).empty


def test_a_density_at_the_edge_of_the_tissue_is_no_synapse():
    labels = np.where(X < 48, LEFT, 0).astype(np.int32)
    assert find(put_density(neuropil(), (4, 40, 44)), labels).empty


def test_bright_blobs_are_no_synapses():
    assert find(put_density(neuropil(), (4, 40, 44), grey=1.0)).empty


def test_membranes_alone_are_no_synapses():
    assert find(neuropil()).empty


# --- several partners ---------------------------------------------------------------------------


def test_a_density_that_faces_several_neurites_has_them_all_as_partners():
    labels = np.where(X < 48, LEFT, np.where(Y < 48, 7, 8)).astype(np.int32)
    table = find(put_density(neuropil(labels), (4, 47, 46)), labels)
    assert len(table) == 1
    assert table.pre_id[0] == LEFT
    assert set(table.post_ids[0].split(";")) == {"7", "8"}
    assert table.n_partners[0] == 2


def test_the_partner_with_most_contact_comes_first():
    labels = np.where(X < 48, LEFT, np.where(Y < 47, 7, 8)).astype(np.int32)
    table = find(put_density(neuropil(labels), (4, 48, 46)), labels)
    assert (table.post_id[0], table.post_ids[0]) == (8, "8;7")


def test_there_are_no_more_partners_than_allowed():
    labels = np.where(X < 48, LEFT, np.where(Y < 48, 7, 8)).astype(np.int32)
    image = put_density(neuropil(labels), (4, 47, 46))
    table = find(image, labels, params=replace(SynapseParams(), max_partners=1))
    assert table.n_partners.tolist() == [1]


def test_a_neurite_is_no_partner_of_its_own():
    labels = np.where(X < 48, LEFT, np.where(Y < 48, 7, 8)).astype(np.int32)
    for row in find(put_density(neuropil(labels), (4, 47, 46)), labels).itertuples():
        posts = row.post_ids.split(";")
        assert str(row.pre_id) not in posts
        assert len(set(posts)) == len(posts) == row.n_partners
        assert posts[0] == str(row.post_id)


# --- nothing to find ----------------------------------------------------------------------------


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "labels", [PAIR, np.zeros_like(PAIR), np.full_like(PAIR, 3)], ids=["two", "none", "one"]
)
def test_flat_images_have_no_synapses_but_all_columns(grey, labels):
    table = find(np.full(SHAPE, grey, np.float32), labels)
    assert table.empty
    assert list(table.columns) == COLUMNS
    assert list(table.columns[:6]) == ["z", "y", "x", "pre_id", "post_id", "score"]


def test_the_tiniest_stack_is_searched_without_complaint():
    labels = np.repeat([[[1] * 8 + [2] * 8]], 16, axis=1).repeat(2, axis=0).astype(np.int32)
    image = np.random.default_rng(0).uniform(size=(2, 16, 16)).astype(np.float32)
    assert list(find(image, labels).columns) == COLUMNS


EVERY = replace(SynapseParams(), min_score=0.0)


def test_damaged_sections_are_not_searched():
    image = neuropil()
    image[4] = put_density(neuropil(), (4, 40, 44), depth_nm=10)[4]
    assert find(image, params=EVERY).z[0] == 4
    assert 4 not in find(image, damaged_sections=[4], params=EVERY).z.tolist()


def test_what_is_seen_in_one_thick_section_only_is_no_synapse():
    assert find(put_density(neuropil(), (4, 40, 44), depth_nm=10)).empty
    assert len(find(put_density(neuropil(), (4, 40, 44), depth_nm=45))) == 1


@pytest.mark.parametrize("side", [np.s_[30:50, 48:60], np.s_[30:60, 30:60]])
def test_what_a_damaged_section_shows_does_not_matter_to_its_neighbours(side):
    image = put_density(neuropil(), (3, 40, 44))
    folded, elsewhere = image.copy(), PAIR.copy()
    folded[(4, *side)] = 0
    elsewhere[(4, *side)] = LEFT
    plain, same = find(image, damaged_sections=[4]), find(folded, elsewhere, damaged_sections=[4])
    assert len(plain)
    pd.testing.assert_frame_equal(plain, same)


# --- what must not matter -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def phantom():
    return make_phantom((10, 160, 160), seed=7)


def test_float16_as_saved_gives_the_same_synapses(phantom):
    image = (phantom.volume.data / 255).astype(np.float16)
    tables = [
        find(image.astype(kind), phantom.ground_truth.labels) for kind in (np.float16, np.float32)
    ]
    pd.testing.assert_frame_equal(*tables)


def test_threads_and_repetition_do_not_change_the_result(phantom):
    image = (phantom.volume.data / 255).astype(np.float32)
    tables = [find(image, phantom.ground_truth.labels, threads=n) for n in (1, 2, 1)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])


def test_brightness_and_contrast_do_not_move_the_candidates(phantom):
    image = (phantom.volume.data / 255).astype(np.float32)
    plain, faint = (find(i, phantom.ground_truth.labels) for i in (image, 0.3 + 0.5 * image))
    pd.testing.assert_frame_equal(plain[["z", "y", "x"]], faint[["z", "y", "x"]])


def test_ids_are_those_of_the_labels(phantom):
    image = (phantom.volume.data / 255).astype(np.float32)
    plain = find(image, phantom.ground_truth.labels)
    renamed = find(image, phantom.ground_truth.labels + 1000)
    assert len(plain)
    assert (plain.pre_id + 1000).tolist() == renamed.pre_id.tolist()
    assert (plain.post_id + 1000).tolist() == renamed.post_id.tolist()


def test_progress_counts_the_sections(phantom):
    told = []
    image = (phantom.volume.data / 255).astype(np.float32)
    find(image, phantom.ground_truth.labels, progress=told.append)
    assert sum(told) == len(image)


@pytest.fixture(scope="module")
def registered():
    """A phantom whose sections lie as they truly did: how well they are aligned is not asked."""
    phantom = make_phantom((24, 192, 192), seed=7)
    size, shifts = phantom.volume.voxel_size, phantom.ground_truth.shifts
    tissue = find_tissue(phantom.volume.data)
    image = apply_transforms(preprocess(phantom.volume.data, tissue, size), shifts)
    labels = apply_transforms(phantom.ground_truth.labels, shifts, order=0)
    true = phantom.ground_truth.synapses.copy()
    true[["z", "y", "x"]] = transform_points(true[["z", "y", "x"]].to_numpy(), shifts)
    return image, labels, true, phantom.damaged_sections


def test_most_synapses_of_the_phantom_are_found_on_its_true_labels(registered):
    image, labels, true, damaged = registered
    table = find(image, labels, damaged_sections=damaged)
    score = score_synapses(table, true, SIZE, labels=labels, true_labels=labels)["200"]
    assert score["recall"] >= 0.7
    assert score["precision"] >= 0.7
    assert score["partners"] >= 0.8
    assert score["direction"] >= 0.7


def test_the_likelier_candidates_are_the_better_ones(registered):
    image, labels, true, damaged = registered
    everything = find(
        image, labels, damaged_sections=damaged, params=replace(SynapseParams(), min_score=0)
    )
    likely = everything[everything.score >= 0.5]
    precision = [
        score_synapses(table, true, SIZE)["200"]["precision"] for table in (likely, everything)
    ]
    assert precision[0] > precision[1] + 0.2
    assert len(find(image, labels, damaged_sections=damaged)) < len(everything)


# --- what is told of a candidate ----------------------------------------------------------------


def test_a_row_tells_where_a_density_is_and_how_large():
    image = put_density(neuropil(), (4, 40, 44), radius_nm=40, depth_nm=50)
    row = find(image).iloc[0]
    for axis, at in zip("zyx", (4, 40, 44), strict=True):
        assert row[f"{axis}_first"] <= at <= row[f"{axis}_last"]
        assert row[f"{axis}_first"] <= row[axis] <= row[f"{axis}_last"]
    assert row.n_sections == row.z_last - row.z_first + 1 == 3
    # An ellipsoid of 40, 40 and 50 nm has 0.000335 µm³; the core is its darkest part.
    assert 0.00005 < row.volume_um3 < 0.0005
    assert 40 < row.thickness_nm < 100
    assert 0 < row.contact_area_um2 < 0.05
    assert row.darkness > 1.2
    assert row.darkest >= row.darkness


def test_a_neurite_full_of_vesicles_shows_it():
    image = neuropil()
    rings = np.hypot((Y % 12) - 6, (X % 12) - 6)
    image[(abs(rings - 2.5) < 1) & (X < 40) & (Z == 4)] = 0.45
    row = find(put_density(image, (4, 40, 44))).iloc[0]
    assert row.pre_id == LEFT
    assert row.vesicles_pre > 1.5 * row.vesicles_post


def test_a_mitochondrion_beside_it_makes_a_candidate_less_likely():
    plain = put_density(neuropil(), (4, 40, 44), grey=0.3)
    beside = plain.copy()
    beside[3:6, 25:55, 20:38] = 0.3
    scores = [find(image, params=EVERY).score.max() for image in (plain, beside)]
    assert scores[1] < scores[0]


def test_another_judge_gives_other_scores():
    image = put_density(neuropil(), (4, 40, 44))
    doubtful = replace(default_classifier(), bias=default_classifier().bias - 200)
    assert len(find(image)) == 1
    assert find(image, classifier=doubtful).empty


def test_fine_pixels_give_the_same_place():
    image = put_density(neuropil(), (4, 40, 44))
    fine = detect_synapses(
        image.repeat(2, 1).repeat(2, 2), PAIR.repeat(2, 1).repeat(2, 2), (30.0, 4.0, 4.0)
    )
    row, plain = fine.iloc[0], find(image).iloc[0]
    assert (row.pre_id, row.post_id) == (plain.pre_id, plain.post_id)
    assert np.abs(np.subtract(at(row), at(plain) * np.array([1, 2, 2]))).max() <= 2
