from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from connectome.align import apply_shifts, estimate_alignment
from connectome.evaluate import segmentation_scores
from connectome.evidence import neurite_probability
from connectome.phantom import make_phantom
from connectome.preprocess import find_tissue, preprocess
from connectome.segment import segment_sections
from connectome.stitch import bridge_sections, stitch_sections

DATA = Path(__file__).parents[2] / "shared" / "data"


def two_neurites(sections=4):
    """Two slabs side by side with a membrane between them, each cut into two pieces."""
    pieces = np.zeros((sections, 20, 40), np.int32)
    for z in range(sections):
        # Numbers differ from section to section, as those of a watershed do.
        pieces[z, :10, :20], pieces[z, 10:, :20] = 1 + z % 2, 2 - z % 2
        pieces[z, :10, 20:], pieces[z, 10:, 20:] = 3, 4
    probability = np.ones(pieces.shape, np.float32)
    probability[:, :, 18:22] = 0
    return pieces, probability


def test_pieces_without_membrane_between_them_are_one_neurite():
    pieces, probability = two_neurites()
    labels = stitch_sections(pieces, probability)
    assert np.array_equal(np.unique(labels[:, :, :20]), [1])
    assert np.array_equal(np.unique(labels[:, :, 20:]), [2])


def test_overlap_across_sections_does_not_override_a_membrane():
    pieces, probability = two_neurites()
    # From section to section the membrane moves: each slab comes to lie over the other, too.
    for z in range(4):
        pieces[z], probability[z] = np.roll(pieces[z], z, 1), np.roll(probability[z], z, 1)
    labels = stitch_sections(pieces[:, :, 4:-4], probability[:, :, 4:-4])
    assert labels[0, 5, 4] != labels[0, 5, -4]
    assert labels[0, 5, 4] == labels[3, 5, 4]
    assert labels[0, 5, -4] == labels[3, 5, -4]


def test_a_damaged_section_is_bridged():
    pieces, probability = two_neurites(5)
    expected = stitch_sections(pieces, probability)
    pieces[2] = 1
    probability[2] = 0.7
    labels = stitch_sections(pieces, probability, damaged=[2])
    assert np.array_equal(labels, expected)


@pytest.mark.parametrize("damaged", [[0], [4], [0, 1], [1, 2], [0, 1, 2, 3]])
def test_damage_at_the_ends_and_in_a_row_is_filled(damaged):
    pieces, probability = two_neurites(5)
    labels = stitch_sections(pieces, probability, damaged)
    assert labels.min() == 1 and labels.max() == 2


def test_a_section_that_shows_nothing_is_filled_where_its_neighbours_are():
    pieces, probability = two_neurites(3)
    pieces[1] = 0
    pieces[:, :3] = 0
    labels = stitch_sections(pieces, probability, damaged=[1])
    assert np.array_equal(labels[1], labels[0])


def test_a_stack_damaged_throughout_has_no_neurites():
    pieces, probability = two_neurites()
    assert not stitch_sections(pieces, probability, damaged=range(4)).any()


def test_a_single_section_is_stitched_within():
    pieces, probability = two_neurites(1)
    assert stitch_sections(pieces, probability).max() == 2


def test_what_neighbours_disagree_upon_goes_to_the_nearest_agreed_id():
    labels = np.zeros((3, 1, 6), np.int32)
    labels[0, 0] = [1, 1, 1, 2, 2, 2]
    labels[2, 0] = [1, 1, 2, 2, 2, 2]
    bridged = bridge_sections(labels, np.ones(labels.shape, bool), [1])
    assert bridged[1, 0, :2].tolist() == [1, 1] and bridged[1, 0, 3:].tolist() == [2, 2, 2]
    assert bridged[1, 0, 2] in (1, 2)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 12), st.integers(1, 12))
def test_every_piece_gets_one_id_and_ids_have_no_gaps(seed, z, y, x):
    rng = np.random.default_rng(seed)
    pieces = rng.integers(0, 5, (z, y, x)).astype(np.int32)
    probability = rng.random((z, y, x)).astype(np.float32)
    labels = stitch_sections(pieces, probability)
    assert np.array_equal(labels > 0, pieces > 0)
    assert set(np.unique(labels)) - {0} == set(range(1, labels.max() + 1))
    for section, found in zip(pieces, labels, strict=True):
        for piece in np.unique(section[section > 0]):
            assert len(np.unique(found[section == piece])) == 1


def reconstructed(sections, truth, voxel_size):
    """Labels and truth of a stack, from the image alone."""
    tissue = find_tissue(sections)
    even = preprocess(sections, tissue, voxel_size, threads=2)
    found = estimate_alignment(even, voxel_size, threads=2)
    aligned = apply_shifts(even, found.shifts)
    tissue = apply_shifts(tissue.astype(np.uint8), found.shifts, order=0) > 0
    probability = neurite_probability(aligned, tissue, voxel_size, threads=2)
    pieces = segment_sections(probability, tissue, voxel_size, threads=2)
    labels = stitch_sections(pieces, probability, found.damaged)
    return labels, tissue, apply_shifts(truth, found.shifts, order=0)


def test_a_phantom_comes_out_nearly_right():
    phantom = make_phantom((24, 128, 128), seed=11)
    volume = phantom.volume
    labels, tissue, truth = reconstructed(volume.data, phantom.truth.labels, volume.voxel_size)
    scores = segmentation_scores(labels, truth)
    assert scores["are"] < 0.25 and scores["voi"] < 2.0
    assert np.array_equal(labels > 0, tissue)


@pytest.mark.parametrize(
    ("name", "box", "are", "voi"),
    [
        ("fib25_dev", np.s_[:32], 0.55, 3.0),
        ("isbi_dev", np.s_[:, :256], 0.35, 1.8),
    ],
)
def test_real_tissue_is_far_better_than_the_published_result(name, box, are, voi):
    path = DATA / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"needs {path.name}, which is not distributed with the project")
    with np.load(path) as file:
        sections, truth = file["raw"][box], file["labels"][box]
        voxel_size = tuple(file["voxel_size_nm_zyx"])
    labels, _, truth = reconstructed(sections, truth, voxel_size)
    scores = segmentation_scores(labels, truth)
    assert scores["are"] < are and scores["voi"] < voi
    assert scores["unassigned"] < 0.01


def test_pieces_of_one_neurite_touch():
    phantom = make_phantom((12, 96, 96), seed=5)
    labels, _, _ = reconstructed(
        phantom.volume.data, phantom.truth.labels, phantom.volume.voxel_size
    )
    structure = ndimage.generate_binary_structure(3, 3)
    apart = [i for i in range(1, labels.max() + 1) if ndimage.label(labels == i, structure)[1] > 1]
    assert not apart
