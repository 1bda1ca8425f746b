"""What a person says of some sections holds, and helps in all the others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label

from connectome.evaluate import score_segmentation
from connectome.io.draft import ProofreadSections
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
def test_neurites_that_a_person_tells_apart_are_never_joined(voxel_size):
    truth, probability = two_neurites()
    everywhere = np.ones(truth.shape, bool)
    alone = segment_neurites(
        probability, probability, tissue=everywhere, voxel_size=voxel_size
    ).labels
    assert alone.max() == 1
    labels = segment_neurites(
        probability,
        probability,
        tissue=everywhere,
        voxel_size=voxel_size,
        proofread=proofread(truth, 4),
    ).labels
    assert np.array_equal(labels[4], truth[4])


@BOTH
def test_proofread_sections_stay_as_they_are_and_ids_hold_throughout(voxel_size):
    rng = np.random.default_rng(3)
    truth = np.zeros((8, 30, 30), np.int32)
    truth[:, :14, :14], truth[:, 16:, :14], truth[:, :, 16:] = 500, 7, 2**31 - 1
    probability = np.where(truth > 0, 0.95, 0.02).astype(np.float32)
    probability += rng.uniform(-0.02, 0.02, truth.shape).astype(np.float32)
    everywhere = np.ones(truth.shape, bool)
    labels = segment_neurites(
        probability,
        probability,
        tissue=everywhere,
        voxel_size=voxel_size,
        proofread=proofread(truth, 1, 5),
    ).labels
    assert np.array_equal(labels[[1, 5]], truth[[1, 5]])
    assert score_segmentation(labels, truth)["are"] < 0.01
    for neurite in (500, 7, 2**31 - 1):
        assert (labels[truth == neurite] == neurite).mean() > 0.95


@BOTH
def test_pieces_of_one_neurite_are_joined_wherever_they_are(voxel_size):
    corrected = np.zeros((9, 20, 40), np.int32)
    corrected[:, :, :10], corrected[:, :, 30:] = 6, 6
    probability = np.where(corrected > 0, 0.9, 0.0).astype(np.float32)
    tissue = corrected > 0
    labels = segment_neurites(
        probability,
        probability,
        tissue=tissue,
        voxel_size=voxel_size,
        proofread=proofread(corrected, 4),
    ).labels
    assert set(np.unique(labels)) == {0, 6}


def test_a_damaged_section_that_was_proofread_is_not_bridged():
    truth, probability = two_neurites()
    truth[4, :12] = 3
    everywhere = np.ones(truth.shape, bool)
    labels = segment_neurites(
        probability,
        probability,
        tissue=everywhere,
        voxel_size=THICK,
        damaged_sections=(4,),
        proofread=proofread(truth, 4),
    ).labels
    assert np.array_equal(labels[4], truth[4])


@given(
    st.integers(1, 5), st.integers(2, 7), st.sampled_from([THICK, THIN]), st.integers(0, 2**32 - 1)
)
@settings(max_examples=40)
def test_every_piece_is_connected_and_keeps_to_its_side(sections, size, voxel_size, seed):
    rng = np.random.default_rng(seed)
    pieces = label(rng.integers(0, 3, (sections, size, size)), connectivity=1).astype(np.int32)
    corrected = rng.integers(0, 4, pieces.shape)
    chosen = sorted(rng.choice(sections, rng.integers(0, sections + 1), replace=False).tolist())
    found, known = constrain_supervoxels(pieces, corrected, chosen, voxel_size)
    assert known.size == found.max() + 1
    for z in range(sections):
        if z in chosen:
            assert np.array_equal(known[found[z]], corrected[z])
        else:
            assert np.array_equal(found[z] > 0, pieces[z] > 0)
            assert not known[found[z]].any()
    if voxel_size == THIN:
        apart = label(found, connectivity=1).max()
        assert apart == len(np.unique(found[found > 0]))


def test_names_of_others_do_not_collide_with_a_persons():
    labels = np.array([[[1, 2, 3]], [[1, 2, 4]]], np.int32)
    corrected = np.array([[[2, 1, 9]], [[0, 0, 0]]], np.int32)
    named = restore_proofread_ids(labels, corrected, [0])
    assert named[0].tolist() == corrected[0].tolist()
    assert named[1].tolist() == [[2, 1, 3]]
