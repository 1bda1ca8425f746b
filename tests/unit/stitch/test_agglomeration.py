"""Agglomeration: what is joined, what stays apart, and that any stack has a result."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label

from connectome.align import apply_transforms, estimate_alignment
from connectome.core.params import StitchParams
from connectome.core.volume import Transforms
from connectome.evaluate import score_segmentation
from connectome.membranes.predict import predict_neurite_probability
from connectome.phantom import PhantomParams, make_phantom
from connectome.preprocess import find_blank_sections, find_tissue, preprocess
from connectome.segment.supervoxels import segment_supervoxels
from connectome.stitch.agglomeration import agglomerate
from connectome.stitch.damaged_sections import fill_damaged_labels
from connectome.workflows.neurites import predict_aligned_probability, segment_neurites

pytestmark = pytest.mark.slow

THICK, THIN = (30.0, 8.0, 8.0), (10.0, 10.0, 10.0)
BOTH = pytest.mark.parametrize("voxel_size", [THICK, THIN])


def min_probability(params, voxel_size):
    """Return the threshold that applies at a voxel size."""
    return params.min_probability_thin if voxel_size == THIN else params.min_probability_thick


def slabs(sections=4):
    """Two slabs side by side with a membrane between them, two supervoxels each per section."""
    supervoxels = np.zeros((sections, 20, 40), np.int32)
    for z in range(sections):
        # Numbers differ from section to section, and from slab to slab.
        supervoxels[z, :10, :20], supervoxels[z, 10:, :20] = 4 * z + np.array([1, 2])
        supervoxels[z, :10, 20:], supervoxels[z, 10:, 20:] = 4 * z + np.array([3, 4])
    probability = np.ones(supervoxels.shape, np.float32)
    probability[:, :, 18:22] = 0
    return supervoxels, probability


def segment_and_agglomerate(probability, mask, voxel_size, damaged_sections=()):
    """Segment a probability map into neurites."""
    supervoxels = segment_supervoxels(probability, mask, voxel_size)
    return agglomerate(
        supervoxels, probability, voxel_size=voxel_size, damaged_sections=damaged_sections
    ).labels


def full_mask(stack):
    return np.ones(stack.shape, bool)


def count_extra_components(labels):
    """Count the connected components beyond one per id; corners connect."""
    return label(labels, connectivity=3).max() - len(np.unique(labels[labels > 0]))


def is_in_order_of_appearance(labels):
    ids, first = np.unique(labels, return_index=True)
    ids, first = ids[ids > 0], first[ids > 0]
    return np.array_equal(ids, 1 + np.arange(ids.size)) and (np.diff(first) > 0).all()


# --- slabs --------------------------------------------------------------------------------------


@BOTH
def test_supervoxels_without_a_membrane_between_them_are_one_neurite(voxel_size):
    labels = agglomerate(*slabs(), voxel_size=voxel_size).labels
    assert np.array_equal(np.unique(labels[:, :, :20]), [1])
    assert np.array_equal(np.unique(labels[:, :, 20:]), [2])


@BOTH
def test_two_slabs_stay_two_from_probability_to_neurites(voxel_size):
    probability = slabs(12)[1]
    labels = segment_and_agglomerate(probability, full_mask(probability), voxel_size)
    assert np.unique(labels[:, :, :18]).tolist() == [1]
    assert np.unique(labels[:, :, 22:]).tolist() == [2]


def test_overlap_across_sections_does_not_override_a_membrane():
    supervoxels, probability = slabs()
    # The membrane moves from section to section, so that each slab overlaps the other as well.
    for z in range(4):
        supervoxels[z], probability[z] = (
            np.roll(supervoxels[z], z, 1),
            np.roll(probability[z], z, 1),
        )
    labels = agglomerate(supervoxels[:, :, 4:-4], probability[:, :, 4:-4], voxel_size=THICK).labels
    assert labels[0, 5, 4] != labels[0, 5, -4]
    assert labels[0, 5, 4] == labels[3, 5, 4]
    assert labels[0, 5, -4] == labels[3, 5, -4]


@BOTH
def test_an_oblique_neurite_has_one_id(voxel_size):
    # A tube of 20 pixels that leans 3 pixels per section, in a membrane of 3, between neighbours.
    z, y, x = np.indices((12, 48, 72))
    distance = np.hypot(y - 24, x - 16 - 3 * z)
    membrane = ((distance >= 10) & (distance < 13)) | ((abs(y - 24) < 2) & (distance >= 13))
    probability = (~membrane).astype(np.float32)
    labels = segment_and_agglomerate(probability, full_mask(probability), voxel_size)
    inside, outside = labels[distance < 9], labels[(distance > 14) & (abs(y - 24) > 3)]
    assert len(np.unique(inside)) == 1
    assert not set(np.unique(inside)) & set(np.unique(outside))
    assert len(np.unique(outside)) == 2


@pytest.mark.parametrize(("shift", "n_neurites"), [(0, 1), (18, 2)])
def test_profiles_are_joined_if_they_overlap_enough(shift, n_neurites):
    supervoxels = np.zeros((2, 20, 40), np.int32)
    supervoxels[0, :, :20], supervoxels[1, :, shift : shift + 20] = 1, 2
    probability = np.full(supervoxels.shape, 0.5, np.float32)
    assert agglomerate(supervoxels, probability, voxel_size=THICK).labels.max() == n_neurites


@BOTH
@pytest.mark.parametrize(("width", "n_neurites"), [(20, 1), (1, 2)])
def test_a_narrow_contact_separates_and_a_wide_one_joins(voxel_size, width, n_neurites):
    supervoxels = np.ones((3 if voxel_size == THIN else 1, 20, 41), np.int32)
    supervoxels[:, :, 20:] = 2
    supervoxels[:, width:, 20] = 0
    params = StitchParams()
    needed = min_probability(params, voxel_size) + params.narrow_contact_penalty / 2
    probability = np.full(supervoxels.shape, needed, np.float32)
    assert agglomerate(supervoxels, probability, voxel_size=voxel_size).labels.max() == n_neurites


@BOTH
def test_a_single_section_is_agglomerated(voxel_size):
    assert agglomerate(*slabs(1), voxel_size=voxel_size).labels.max() == 2


def with_organelle(place, voxel_size):
    """Return slabs with a bright ball that has a membrane of its own; it lies at x = place."""
    supervoxels, probability = slabs(15)
    z, y, x = np.indices(supervoxels.shape)
    off = np.multiply(voxel_size, np.stack([z - 7, y - 9.5, x - place], axis=-1)) / 10
    distance = np.hypot.reduce(off, axis=-1)
    changed = np.where(distance < 4, 1 + supervoxels.max(), 1 + x // 20).astype(np.int32)
    return changed, np.where(abs(distance - 4) < 1.5, 0, probability).astype(np.float32)


@BOTH
@pytest.mark.parametrize(("place", "n_neurites"), [(9, 2), (19.5, 3)])
def test_an_organelle_is_part_of_the_neurite_around_it(place, n_neurites, voxel_size):
    # Within the left slab, or across the border of both.
    labels = agglomerate(*with_organelle(place, voxel_size), voxel_size=voxel_size).labels
    assert labels.max() == n_neurites


def test_an_organelle_cut_by_a_damaged_section_is_not_taken_for_an_axon():
    supervoxels, probability = with_organelle(9, THICK)
    supervoxels[7] = 0
    assert (
        agglomerate(supervoxels, probability, voxel_size=THICK, damaged_sections=[7]).labels.max()
        == 2
    )


@pytest.mark.parametrize(("voxel_size", "height"), [(THICK, 12), (THICK, 48), (THIN, 64)])
def test_an_axon_wrapped_by_another_neurite_keeps_its_own_id(voxel_size, height):
    z, y, x = np.indices((height, 40, 40))
    off = np.hypot(y - 19.5, x - 19.5)
    supervoxels = np.where(off < 10, 1 + 2 * z, 2 + 2 * z).astype(np.int32)
    if voxel_size == THIN:
        supervoxels = 1 + supervoxels % 2
    probability = np.where(abs(off - 10) < 1.5, 0, 0.9).astype(np.float32)
    assert agglomerate(supervoxels, probability, voxel_size=voxel_size).labels.max() == 2


# --- damage -------------------------------------------------------------------------------------


def with_gap(height, gap, voxel_size):
    """Return the neurites of two slabs with blank sections in the middle, and these sections."""
    probability = np.full((2 * height + gap, 20, 40), 0.8, np.float32)
    probability[:, :, 18:22] = 0
    blank = list(range(height, height + gap))
    probability[blank] = 0
    mask = full_mask(probability)
    mask[blank] = False
    return segment_and_agglomerate(probability, mask, voxel_size, blank), blank


@BOTH
@pytest.mark.parametrize("gap", [1, 2, 3])
def test_neurites_continue_across_blank_sections(voxel_size, gap):
    labels, blank = with_gap(6, gap, voxel_size)
    assert labels.max() == 2
    assert (labels[blank] == labels[0]).all() and (labels[-1] == labels[0]).all()


@BOTH
def test_neurites_continue_across_a_blank_section_of_a_high_stack(voxel_size):
    assert with_gap(40, 1, voxel_size)[0].max() == 2


def test_a_damaged_thick_section_is_filled_from_its_neighbours():
    supervoxels, probability = slabs(5)
    expected = agglomerate(supervoxels, probability, voxel_size=THICK).labels
    supervoxels[2], probability[2] = 9, 0.7
    labels = agglomerate(supervoxels, probability, voxel_size=THICK, damaged_sections=[2]).labels
    assert np.array_equal(labels, expected)


def test_a_damaged_thin_section_is_used():
    supervoxels, probability = slabs(5)
    result = agglomerate(supervoxels, probability, voxel_size=THIN, damaged_sections=[2])
    assert np.array_equal(
        result.labels, agglomerate(supervoxels, probability, voxel_size=THIN).labels
    )
    assert (result.neurite_of[9:13] > 0).all()


@pytest.mark.parametrize("damaged", [[0], [4], [0, 1], [1, 2], [0, 1, 2, 3]])
def test_damaged_sections_at_the_ends_and_in_runs_are_filled(damaged):
    supervoxels, probability = slabs(5)
    labels = agglomerate(
        supervoxels, probability, voxel_size=THICK, damaged_sections=damaged
    ).labels
    assert labels.min() == 1 and labels.max() == 2
    assert (labels == labels[0]).all()


@BOTH
def test_a_blank_section_is_filled_where_its_neighbours_have_ids(voxel_size):
    supervoxels, probability = slabs(3)
    supervoxels[1] = 0
    supervoxels[:, :3] = 0
    labels = agglomerate(
        supervoxels, probability, voxel_size=voxel_size, damaged_sections=[1]
    ).labels
    assert np.array_equal(labels[1], labels[0])


def test_a_stack_of_damaged_sections_is_used_as_it_is():
    expected = agglomerate(*slabs(), voxel_size=THICK).labels
    assert np.array_equal(
        agglomerate(*slabs(), voxel_size=THICK, damaged_sections=range(4)).labels, expected
    )


def test_voxels_whose_neighbours_disagree_take_the_nearest_shared_id():
    labels = np.zeros((3, 1, 7), np.int32)
    labels[0, 0] = [1, 1, 1, 3, 2, 2, 2]
    labels[2, 0] = [1, 1, 2, 2, 2, 2, 2]
    bridged = fill_damaged_labels(labels, full_mask(labels), [1])
    assert bridged[1, 0].tolist() in ([1, 1, 1, 2, 2, 2, 2], [1, 1, 1, 1, 2, 2, 2])


def test_a_partly_blank_section_does_not_split_a_neurite():
    supervoxels, probability = slabs(5)
    # The imaged part of the section lies in the second slab; the first continues behind it.
    supervoxels[2, :, :24] = 0
    labels = agglomerate(supervoxels, probability, voxel_size=THICK, damaged_sections=[2]).labels
    assert labels[0, 0, 0] == labels[4, 0, 0]
    assert count_extra_components(labels) == 0


# --- the graph and the joins -----------------------------------------------------------------


@pytest.fixture(scope="module")
def noise_supervoxels():
    """Return random supervoxels and their probability, by voxel size."""
    noise = ndimage.gaussian_filter(np.random.default_rng(3).random((6, 50, 50)), 1)
    probability = ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)
    return {
        voxel_size: (segment_supervoxels(probability, full_mask(noise), voxel_size), probability)
        for voxel_size in (THICK, THIN)
    }


# --- two maps -----------------------------------------------------------------------------------


@BOTH
def test_a_second_map_equal_to_the_first_changes_nothing(voxel_size):
    supervoxels, probability = slabs()
    alone = agglomerate(supervoxels, probability, voxel_size=voxel_size).labels
    assert np.array_equal(
        agglomerate(
            supervoxels, probability, voxel_size=voxel_size, second_probability=probability
        ).labels,
        alone,
    )


@BOTH
def test_a_membrane_clear_only_in_the_second_map_separates(voxel_size):
    supervoxels, probability = slabs()
    faint = probability.copy()
    faint[:, :, 18:22] = 0.4
    assert agglomerate(supervoxels, faint, voxel_size=voxel_size).labels.max() == 1
    assert (
        agglomerate(
            supervoxels, faint, voxel_size=voxel_size, second_probability=probability
        ).labels.max()
        == 2
    )


@BOTH
def test_a_membrane_clear_in_the_first_map_separates(voxel_size):
    supervoxels, probability = slabs()
    faint = probability.copy()
    faint[:, :, 18:22] = 0.4
    assert (
        agglomerate(
            supervoxels, probability, voxel_size=voxel_size, second_probability=faint
        ).labels.max()
        == 2
    )


@BOTH
def test_constraints_outweigh_both_maps(voxel_size):
    supervoxels, probability = slabs()
    constraints = np.zeros(supervoxels.max() + 1, int)
    constraints[[1, 3]] = 5  # one neurite, in spite of the membrane
    constraints[[2]] = 6
    neurite_of = agglomerate(
        supervoxels,
        probability,
        voxel_size=voxel_size,
        constraints=constraints,
        second_probability=probability,
    ).neurite_of
    assert neurite_of[1] == neurite_of[3] != neurite_of[2]


@BOTH
def test_constraints_relax_the_threshold_of_all_contacts(voxel_size):
    supervoxels, probability = slabs()
    params = StitchParams()
    probability[:, :, 18:22] = (
        min_probability(params, voxel_size) - params.constraint_relaxation / 2
    )
    supervoxels[:, :, 36:], probability[:, :, 35:37] = supervoxels.max() + 1, 0  # far away
    constraints = np.zeros(supervoxels.max() + 1, int)
    without = agglomerate(
        supervoxels, probability, voxel_size=voxel_size, constraints=constraints
    ).neurite_of
    assert without[1] != without[3]
    constraints[-1] = 5
    relaxed = agglomerate(
        supervoxels, probability, voxel_size=voxel_size, constraints=constraints
    ).neurite_of
    assert relaxed[1] == relaxed[3] != relaxed[-1]


@BOTH
def test_join_steps_and_weights_agree_with_the_neurites(voxel_size, noise_supervoxels):
    supervoxels, probability = noise_supervoxels[voxel_size]
    contacts = agglomerate(supervoxels, probability, voxel_size=voxel_size).contacts
    median = float(np.median(contacts.probability))
    params = StitchParams(min_probability_thick=median, min_probability_thin=median)
    result = agglomerate(supervoxels, probability, voxel_size=voxel_size, params=params)
    contacts, step = result.contacts, result.join_step
    together = result.neurite_of[contacts.first] == result.neurite_of[contacts.second]
    assert np.array_equal(step >= 0, together) and together.any() and not together.all()
    assert result.edge_weight.shape == result.is_overlap.shape == step.shape
    # A join has the weight of all contacts between its two sides, or 0 for an enclosed segment.
    for join, weight in enumerate(result.join_weight):
        assert (step == join).any()
        if weight:
            assert result.edge_weight[step == join].sum() == pytest.approx(weight, abs=1e-6)
    assert (result.join_weight >= 0).all() and result.join_weight.any()


@BOTH
def test_neurites_consist_of_whole_supervoxels(voxel_size, noise_supervoxels):
    supervoxels, probability = noise_supervoxels[voxel_size]
    result = agglomerate(supervoxels, probability, voxel_size=voxel_size)
    assert np.array_equal(result.neurite_of[supervoxels], result.labels)
    assert result.labels.dtype == result.neurite_of.dtype == np.int32
    # Every join reduces the number of segments by one.
    assert result.labels.max() == supervoxels.max() - result.join_weight.size


@BOTH
def test_only_thick_sections_are_joined_by_overlap(voxel_size, noise_supervoxels):
    supervoxels, probability = noise_supervoxels[voxel_size]
    result = agglomerate(supervoxels, probability, voxel_size=voxel_size)
    across = result.contacts.position[:, 0] % 1 == 0.5
    assert result.is_overlap.any() == (voxel_size == THICK)
    assert across[result.is_overlap].all()


@BOTH
def test_a_lower_threshold_joins_more(voxel_size, noise_supervoxels):
    few, many = (
        agglomerate(
            *noise_supervoxels[voxel_size],
            voxel_size=voxel_size,
            params=StitchParams(min_probability_thick=p, min_probability_thin=p),
        ).labels.max()
        for p in (0.2, 0.6)
    )
    assert few < many


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 5), st.integers(1, 12), st.integers(1, 12)),
    st.sampled_from([THICK, THIN]),
)
def test_every_supervoxel_has_one_id(seed, shape, voxel_size):
    rng = np.random.default_rng(seed)
    supervoxels = rng.integers(0, 5, shape).astype(np.int32)
    probability = rng.random(shape).astype(np.float32)
    labels = agglomerate(supervoxels, probability, voxel_size=voxel_size).labels
    assert np.array_equal(labels > 0, supervoxels > 0)
    assert set(np.unique(labels)) - {0} == set(range(1, labels.max() + 1))
    pairs = set(zip(supervoxels.ravel().tolist(), labels.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(supervoxels))


def test_ids_are_in_order_of_appearance_however_supervoxels_are_numbered():
    # The neurite that appears first has the highest and the lowest supervoxel id.
    supervoxels = np.array([[[3, 3, 2, 2, 1, 1], [3, 3, 3, 1, 1, 1]]], np.int32)
    probability = (supervoxels != 2).astype(np.float32)
    labels = agglomerate(supervoxels, probability, voxel_size=THICK).labels
    assert labels.max() == 2
    assert is_in_order_of_appearance(labels)


# --- from the image -----------------------------------------------------------------------------


def reconstruct(sections, truth, voxel_size, threads=2):
    """Return labels, mask and ground truth of a stack, from the image alone."""
    mask = find_tissue(sections)
    blank = find_blank_sections(sections, mask)
    even = preprocess(sections, mask, voxel_size, threads=threads)
    found = estimate_alignment(even, voxel_size, blank_sections=blank, threads=threads)
    aligned = apply_transforms(even, found.transforms)
    mask = apply_transforms(mask.astype(np.uint8), found.transforms, order=0) > 0
    shared = {
        "tissue": mask,
        "voxel_size": voxel_size,
        "damaged_sections": found.damaged_sections,
    }
    probability = predict_aligned_probability(
        even, aligned, transforms=found.transforms, threads=threads, **shared
    )
    labels = segment_neurites(probability, aligned, **shared).labels
    return labels, mask, apply_transforms(truth, found.transforms, order=0)


@pytest.mark.parametrize(
    ("shape", "voxel_size", "seed", "are", "voi"),
    [((24, 128, 128), THICK, 11, 0.10, 0.80), ((24, 96, 96), THIN, 7, 0.12, 0.95)],
)
def test_a_phantom_is_segmented_well(shape, voxel_size, seed, are, voi):
    phantom = make_phantom(shape, seed, voxel_size)
    labels, mask, truth = reconstruct(phantom.volume.data, phantom.ground_truth.labels, voxel_size)
    scores = score_segmentation(labels, truth)
    assert scores["are"] < are and scores["voi"] < voi
    assert np.array_equal(labels > 0, mask)
    assert count_extra_components(labels) == 0


def test_moving_thick_sections_by_half_pixels_does_not_blur_boundaries():
    phantom = make_phantom((12, 128, 128), 11, THICK, PhantomParams(jitter_nm=0, drift_nm=0))
    even = preprocess(phantom.volume.data, full_mask(phantom.volume.data), THICK)
    damaged = estimate_alignment(even, THICK).damaged_sections

    def voi(shift):
        shifts = np.full((len(even), 2), shift) * (-1) ** np.arange(len(even))[:, None]
        transforms = Transforms(shifts)
        mask = apply_transforms(np.ones(even.shape, np.uint8), transforms, order=0) > 0
        aligned = apply_transforms(even, transforms)
        shared = {"tissue": mask, "voxel_size": THICK, "damaged_sections": damaged}
        found = predict_aligned_probability(even, aligned, transforms=transforms, **shared)
        truth = apply_transforms(phantom.ground_truth.labels, transforms, order=0)
        labels = segment_neurites(found, aligned, **shared).labels
        return score_segmentation(labels, truth)["voi"]

    assert voi(0.45) < 1.1 * voi(0.0)


@pytest.mark.parametrize(
    ("name", "box", "are", "voi"),
    [
        ("fib25_dev", np.s_[:48, :160, :160], 0.20, 1.5),
        ("isbi_dev", np.s_[:12, :256, :256], 0.05, 0.50),
    ],
)
def test_real_tissue_is_segmented_far_better_than_published(shared_data, name, box, are, voi):
    path = shared_data / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"needs {path.name}, which is not distributed with the project")
    with np.load(path) as file:
        sections, truth = file["raw"][box], file["labels"][box]
        voxel_size = tuple(file["voxel_size_nm_zyx"])
    labels, mask, truth = reconstruct(sections, truth, voxel_size)
    scores = score_segmentation(labels, truth)
    assert scores["are"] < are and scores["voi"] < voi
    assert scores["unassigned"] < 0.01
    assert np.array_equal(labels > 0, mask)
    assert count_extra_components(labels) == 0


@BOTH
def test_threads_do_not_change_the_neurites(voxel_size):
    phantom = make_phantom((6, 64, 64), 5, voxel_size)
    one, three = (
        reconstruct(phantom.volume.data, phantom.ground_truth.labels, voxel_size, threads)[0]
        for threads in (1, 3)
    )
    assert np.array_equal(one, three)


# --- bad input ----------------------------------------------------------------------------------


def stack_of(kind, shape, rng):
    """Return unusable EM of a kind, as floats in [0, 1]."""
    noise = rng.random(shape, np.float32)
    y, x = np.indices(shape[1:])
    if kind == "noise":
        return noise
    if kind == "black":
        return np.zeros(shape, np.float32)
    if kind == "grey":
        return np.full(shape, rng.random(), np.float32)
    if kind == "one white pixel":
        stack = np.zeros(shape, np.float32)
        stack[tuple(rng.integers(0, shape))] = 1
        return stack
    if kind == "one giant":
        return 0.9 + 0.001 * noise
    if kind == "board":
        return np.broadcast_to((y // 2 + x // 2) % 2, shape).astype(np.float32)
    if kind == "cut in two":
        return np.where(x < shape[2] // 2, noise * 0.1, 1 - noise * 0.1).astype(np.float32)
    raise ValueError(kind)


@st.composite
def bad_stacks(draw):
    """Return EM, mask, voxel size and damaged sections."""
    shape = draw(st.tuples(st.integers(1, 7), st.integers(16, 41), st.integers(16, 41)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = ("noise", "black", "grey", "one white pixel", "one giant", "board", "cut in two")
    sections = stack_of(draw(st.sampled_from(kinds)), shape, rng)
    mask = full_mask(sections)
    border = draw(st.sampled_from([0, 0, 1, 5, 8]))
    if border:
        mask[:] = False
        mask[:, border:-border, border:-border] = True
    each = st.integers(0, shape[0] - 1)
    blank = draw(st.lists(each, max_size=3))
    mask[blank] = False
    damaged = sorted({*blank, *draw(st.lists(each, max_size=2))})
    pixel = draw(st.floats(2, 20))
    voxel_size = (pixel * draw(st.floats(1, 20)), pixel, pixel * draw(st.floats(0.8, 1.25)))
    return np.where(mask, sections, 0), mask, voxel_size, damaged


@given(bad_stacks())
@settings(max_examples=120)
def test_every_stack_has_a_result(case):
    sections, mask, voxel_size, damaged = case
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probability = predict_neurite_probability(
            sections, mask, voxel_size, damaged_sections=damaged
        )
        labels = segment_and_agglomerate(probability, mask, voxel_size, damaged)
    assert np.isfinite(probability).all()
    sound = [z for z in range(len(mask)) if z not in damaged]
    assert np.array_equal(labels[sound] > 0, mask[sound])
    if mask[sound].any():
        assert labels[mask].all()
        assert set(np.unique(labels)) - {0} == set(range(1, labels.max() + 1))
    if not damaged:
        assert count_extra_components(labels) == 0


@BOTH
def test_forty_thousand_neurites_stay_apart(voxel_size):
    # Squares of two pixels in a membrane of one, three sections high.
    y, x = np.indices((600, 600))
    numbers = (1 + y // 3 * 200 + x // 3).astype(np.int32)
    supervoxels = np.stack([numbers] * 3)
    if voxel_size == THICK:
        supervoxels += 40_000 * np.arange(3, dtype=np.int32)[:, None, None]
    probability = np.stack([(y % 3 > 0) & (x % 3 > 0)] * 3).astype(np.float32)
    labels = agglomerate(supervoxels, probability, voxel_size=voxel_size).labels
    assert np.array_equal(labels, np.stack([numbers] * 3))


@BOTH
def test_one_giant_neurite_is_one(voxel_size):
    probability = np.ones((5, 300, 300), np.float32)
    assert (segment_and_agglomerate(probability, full_mask(probability), voxel_size) == 1).all()
