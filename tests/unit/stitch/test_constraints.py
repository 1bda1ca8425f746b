"""Constraints from proofread sections hold, and improve all other sections."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label

from connectome.evaluate import score_segmentation
from connectome.io.run_folder import ProofreadSections
from connectome.stitch.constraints import constrain_supervoxels, restore_proofread_ids
from connectome.workflows.neurites import segment_neurites

THICK, THIN = (30.0, 8.0, 8.0), (10.0, 10.0, 10.0)
BOTH = pytest.mark.parametrize("voxel_size", [THICK, THIN])


def two_neurites(sections=9):
    """Two neurites side by side, and a membrane between them that cannot be seen."""
    truth = np.ones((sections, 24, 40), np.int32)
    truth[:, :, 20:] = 2
    probability = np.full(truth.shape, 0.9, np.float32)
    return truth, probability


def proofread(labels, *sections):
    return ProofreadSections(labels, sections)


@BOTH
def test_neurites_with_two_proofread_ids_are_never_joined(voxel_size):
    truth, probability = two_neurites()
    mask = np.ones(truth.shape, bool)
    alone = segment_neurites(probability, probability, tissue=mask, voxel_size=voxel_size).labels
    assert alone.max() == 1
    labels = segment_neurites(
        probability,
        probability,
        tissue=mask,
        voxel_size=voxel_size,
        proofread=proofread(truth, 4),
    ).labels
    assert np.array_equal(labels[4], truth[4])


@BOTH
def test_proofread_sections_are_kept_and_their_ids_hold_in_the_whole_stack(voxel_size):
    rng = np.random.default_rng(3)
    truth = np.zeros((8, 30, 30), np.int32)
    truth[:, :14, :14], truth[:, 16:, :14], truth[:, :, 16:] = 500, 7, 2**31 - 1
    probability = np.where(truth > 0, 0.95, 0.02).astype(np.float32)
    probability += rng.uniform(-0.02, 0.02, truth.shape).astype(np.float32)
    mask = np.ones(truth.shape, bool)
    labels = segment_neurites(
        probability,
        probability,
        tissue=mask,
        voxel_size=voxel_size,
        proofread=proofread(truth, 1, 5),
    ).labels
    assert np.array_equal(labels[[1, 5]], truth[[1, 5]])
    assert score_segmentation(labels, truth)["are"] < 0.01
    for neurite in (500, 7, 2**31 - 1):
        assert (labels[truth == neurite] == neurite).mean() > 0.95


@BOTH
def test_supervoxels_of_one_proofread_id_are_joined_wherever_they_are(voxel_size):
    proofread_labels = np.zeros((9, 20, 40), np.int32)
    proofread_labels[:, :, :10], proofread_labels[:, :, 30:] = 6, 6
    probability = np.where(proofread_labels > 0, 0.9, 0.0).astype(np.float32)
    mask = proofread_labels > 0
    labels = segment_neurites(
        probability,
        probability,
        tissue=mask,
        voxel_size=voxel_size,
        proofread=proofread(proofread_labels, 4),
    ).labels
    assert set(np.unique(labels)) == {0, 6}


def test_a_damaged_section_that_was_proofread_is_not_filled():
    truth, probability = two_neurites()
    truth[4, :12] = 3
    mask = np.ones(truth.shape, bool)
    labels = segment_neurites(
        probability,
        probability,
        tissue=mask,
        voxel_size=THICK,
        damaged_sections=(4,),
        proofread=proofread(truth, 4),
    ).labels
    assert np.array_equal(labels[4], truth[4])


@given(
    st.integers(1, 5), st.integers(2, 7), st.sampled_from([THICK, THIN]), st.integers(0, 2**32 - 1)
)
@settings(max_examples=40)
def test_every_supervoxel_is_connected_and_on_one_side_of_a_proofread_section(
    sections, size, voxel_size, seed
):
    rng = np.random.default_rng(seed)
    supervoxels = label(rng.integers(0, 3, (sections, size, size)), connectivity=1).astype(np.int32)
    proofread_labels = rng.integers(0, 4, supervoxels.shape)
    chosen = sorted(rng.choice(sections, rng.integers(0, sections + 1), replace=False).tolist())
    found, constraints = constrain_supervoxels(supervoxels, proofread_labels, chosen, voxel_size)
    assert constraints.size == found.max() + 1
    for z in range(sections):
        if z in chosen:
            assert np.array_equal(constraints[found[z]], proofread_labels[z])
        else:
            assert np.array_equal(found[z] > 0, supervoxels[z] > 0)
            assert not constraints[found[z]].any()
    if voxel_size == THIN:
        apart = label(found, connectivity=1).max()
        assert apart == len(np.unique(found[found > 0]))


def test_other_neurites_do_not_take_proofread_ids():
    labels = np.array([[[1, 2, 3]], [[1, 2, 4]]], np.int32)
    proofread_labels = np.array([[[2, 1, 9]], [[0, 0, 0]]], np.int32)
    restored = restore_proofread_ids(labels, proofread_labels, [0])
    assert restored[0].tolist() == proofread_labels[0].tolist()
    assert restored[1].tolist() == [[2, 1, 3]]
