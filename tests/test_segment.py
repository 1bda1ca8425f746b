import numpy as np
import pytest
from scipy import ndimage

from connectome.evidence import neurite_probability
from connectome.params import SegmentParams
from connectome.segment import segment_sections

VOXEL = (30.0, 8.0, 8.0)


def honeycomb(shape=(2, 120, 120), pitch=30, width=3):
    """Bright squares between dark lines, and the number of the square of every voxel."""
    z, y, x = shape
    rows, columns = np.arange(y) // pitch, np.arange(x) // pitch
    numbers = 1 + rows[:, None] * (columns.max() + 1) + columns
    lines = (np.arange(y) % pitch < width)[:, None] | (np.arange(x) % pitch < width)
    section = ndimage.gaussian_filter(np.where(lines, 0.1, 0.8), 1)
    return np.stack([section] * z).astype(np.float32), np.stack([numbers] * z), lines


def everything(stack):
    return np.ones(stack.shape, bool)


def test_membranes_are_below_one_half_and_cytoplasm_is_above():
    stack, _, lines = honeycomb()
    probability = neurite_probability(stack, everything(stack), VOXEL)[0]
    inside = ndimage.binary_erosion(~lines, iterations=6)
    # The outermost ring has no cytoplasm beyond it, so it is no line.
    middle = (slice(10, -10),) * 2
    assert probability[middle][ndimage.binary_erosion(lines)[middle]].max() < 0.5
    assert probability[middle][inside[middle]].min() > 0.5


def test_probability_does_not_depend_on_brightness_or_contrast():
    stack, _, _ = honeycomb()
    dim = 0.3 + 0.2 * stack
    expected = neurite_probability(stack, everything(stack), VOXEL)
    np.testing.assert_allclose(
        neurite_probability(dim, everything(dim), VOXEL), expected, atol=1e-3
    )


def test_evidence_means_the_same_at_another_pixel_size():
    coarse, _, _ = honeycomb()
    fine = np.repeat(np.repeat(coarse, 2, axis=1), 2, axis=2)
    a = neurite_probability(coarse, everything(coarse), VOXEL)
    b = neurite_probability(fine, everything(fine), (30.0, 4.0, 4.0))
    agree = (a > 0.5) == (b[:, ::2, ::2] > 0.5)
    assert agree.mean() > 0.95


def test_outside_the_tissue_there_is_neither_probability_nor_piece():
    stack, _, _ = honeycomb()
    tissue = everything(stack)
    tissue[:, :40] = False
    probability = neurite_probability(stack, tissue, VOXEL)
    pieces = segment_sections(probability, tissue, VOXEL)
    assert not probability[~tissue].any()
    assert np.array_equal(pieces > 0, tissue)


def test_no_piece_spans_two_neurites_and_none_is_missed():
    stack, numbers, _ = honeycomb()
    pieces = segment_sections(
        neurite_probability(stack, everything(stack), VOXEL), everything(stack), VOXEL
    )
    for z in range(2):
        for piece in range(1, pieces[z].max() + 1):
            counts = np.bincount(numbers[z][pieces[z] == piece])
            assert counts.max() > 0.8 * counts.sum()
        assert pieces[z].max() >= numbers[z].max()


def test_a_larger_seed_distance_gives_fewer_pieces():
    stack, _, _ = honeycomb()
    probability = neurite_probability(stack, everything(stack), VOXEL)
    few, many = (
        segment_sections(probability, everything(stack), VOXEL, SegmentParams(distance)).max()
        for distance in (400.0, 40.0)
    )
    assert few < many


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 16, 17), (3, 64, 16)])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_stack_without_anything_to_see_is_one_piece_per_section(shape, value):
    stack = np.full(shape, value, np.float32)
    probability = neurite_probability(stack, everything(stack), VOXEL)
    pieces = segment_sections(probability, everything(stack), VOXEL)
    assert pieces.shape == shape and pieces.min() == 1


def test_a_section_without_tissue_stays_empty():
    stack, _, _ = honeycomb()
    tissue = everything(stack)
    tissue[1] = False
    pieces = segment_sections(neurite_probability(stack, tissue, VOXEL), tissue, VOXEL)
    assert pieces[0].any() and not pieces[1].any()


def test_tissue_cut_off_from_every_seed_has_an_owner():
    probability = np.zeros((1, 40, 40), np.float32)
    probability[:, :20, :20] = 1
    tissue = np.zeros((1, 40, 40), bool)
    tissue[:, :20, :20] = True
    tissue[:, 30:, 30:] = True
    pieces = segment_sections(probability, tissue, VOXEL)
    assert np.array_equal(pieces > 0, tissue)
    assert len(set(np.unique(pieces[:, 30:, 30:])) - set(np.unique(pieces[:, :20, :20]))) == 1


def test_threads_do_not_change_the_result():
    stack, _, _ = honeycomb((4, 90, 90))
    results = [
        segment_sections(
            neurite_probability(stack, everything(stack), VOXEL, threads=threads),
            everything(stack),
            VOXEL,
            threads=threads,
        )
        for threads in (1, 3)
    ]
    assert np.array_equal(*results)
