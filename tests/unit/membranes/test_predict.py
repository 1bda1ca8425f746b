"""The neurite probability: what it depends on, and what it must not depend on."""

import json
import sys

import numpy as np
import pytest
from helpers.locations import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from connectome import preprocess
from connectome.membranes import features
from connectome.membranes.features import feature_names
from connectome.membranes.mlp import WEIGHTS_PATH, MembraneMLP, load_membrane_mlp
from connectome.membranes.predict import predict_neurite_probability
from connectome.phantom import PhantomParams, make_phantom

sys.path.insert(0, str(ROOT / "benchmarks"))

import learn_membranes

THICK, THIN = (30.0, 8.0, 8.0), (10.0, 10.0, 10.0)
SHAPES = {THICK: (4, 128, 128), THIN: (24, 72, 72)}


def full_mask(stack):
    return np.ones(stack.shape, bool)


def predict(stack, voxel_size, *damaged, **options):
    return predict_neurite_probability(
        stack, full_mask(stack), voxel_size, damaged_sections=damaged, **options
    )


def honeycomb(shape=(2, 120, 120), pitch=30, width=3):
    """Return bright squares between dark lines, and a mask of these lines."""
    lines = (np.arange(shape[1]) % pitch < width)[:, None] | (np.arange(shape[2]) % pitch < width)
    section = ndimage.gaussian_filter(np.where(lines, 0.1, 0.8), 1)
    return np.stack([section] * shape[0]).astype(np.float32), lines


@pytest.fixture(scope="module")
def phantoms():
    """Return preprocessed phantoms by voxel size, and the boundaries of their neurites."""

    def imaged(voxel_size):
        params = PhantomParams(jitter_nm=0.0, drift_nm=0.0)
        phantom = make_phantom(SHAPES[voxel_size], 3, voxel_size, params)
        em, labels = phantom.volume.data, phantom.ground_truth.labels
        sound = [z for z in range(len(em)) if z not in phantom.damaged_sections]
        even = preprocess.preprocess(em, preprocess.find_tissue(em), voxel_size)
        boundaries = learn_membranes.mark_boundaries(labels, 2)
        return even[sound], boundaries[sound]

    return {voxel_size: imaged(voxel_size) for voxel_size in SHAPES}


def separability(probability, boundaries):
    """Return how often an interior voxel has a higher probability than one on a boundary (AUC)."""
    inside = ~np.stack([ndimage.binary_dilation(section, iterations=2) for section in boundaries])
    rng = np.random.default_rng(0)
    inner, outer = (rng.choice(probability[where], 5000) for where in (inside, boundaries))
    return (inner > outer).mean()


# --- accuracy -----------------------------------------------------------------------------------


@pytest.mark.parametrize("voxel_size", SHAPES)
def test_membranes_are_distinguished_from_mitochondria_vesicles_and_noise(voxel_size, phantoms):
    even, boundaries = phantoms[voxel_size]
    probability = predict(even, voxel_size)
    assert probability.dtype == np.float32
    assert probability.min() >= 0 and probability.max() <= 1
    error = 1 - separability(probability, boundaries)
    # Brightness alone is much worse: organelles are as dark as membranes.
    assert error < 0.03 and error < 0.5 * (1 - separability(even, boundaries))


def test_dark_lines_are_membranes_and_the_area_between_them_is_not():
    stack, lines = honeycomb()
    probability = predict(stack, THICK)[0]
    middle = (slice(10, -10),) * 2
    inside = ndimage.binary_erosion(~lines, iterations=8)
    assert probability[middle][ndimage.binary_erosion(lines)[middle]].max() < 0.35
    assert probability[middle][inside[middle]].min() > 0.5


# --- dependence on the input --------------------------------------------------------------------


@pytest.mark.parametrize("voxel_size", SHAPES)
@given(gain=st.floats(0.05, 1), offset=st.floats(0, 1))
@settings(max_examples=4)
def test_brightness_and_contrast_do_not_matter(voxel_size, gain, offset, phantoms):
    even = phantoms[voxel_size][0][:12, :40, :40]
    other = (offset + gain * even).astype(np.float32)
    np.testing.assert_allclose(predict(other, voxel_size), predict(even, voxel_size), atol=0.02)


@pytest.mark.parametrize("voxel_size", SHAPES)
def test_the_contrast_of_single_sections_does_not_matter(voxel_size, phantoms):
    even = phantoms[voxel_size][0][:12, :40, :40]
    gain = np.random.default_rng(0).uniform(0.2, 1, (len(even), 1, 1)).astype(np.float32)
    np.testing.assert_allclose(
        predict(even * gain, voxel_size), predict(even, voxel_size), atol=0.02
    )


@pytest.mark.parametrize("factor", [2, 3])
def test_pixel_size_does_not_matter(factor):
    coarse, _ = honeycomb()
    fine = ndimage.zoom(coarse, (1, factor, factor), order=1, grid_mode=True, mode="nearest")
    a = predict(coarse, THICK)
    b = predict(fine, (30.0, 8.0 / factor, 8.0 / factor))[
        :, factor // 2 :: factor, factor // 2 :: factor
    ]
    assert ((a > 0.5) == (b > 0.5)).mean() > 0.95


@pytest.mark.parametrize("pixel", [2.0, 4.0, 5.0])
def test_fine_pixels_are_averaged_two_by_two(pixel):
    even, _ = honeycomb((2, 61, 64))
    noise = np.zeros(even.shape, np.float32)
    noise[:, :-1:2, ::2], noise[:, 1::2, ::2] = 0.2, -0.2  # cancels in every mean of four
    size = (30.0, pixel, pixel)
    np.testing.assert_allclose(predict(even + noise, size), predict(even, size), atol=0.05)
    assert not np.allclose(predict(even + noise, THICK), predict(even, THICK), atol=0.1)


@pytest.mark.parametrize(
    ("voxel_size", "thin"),
    [
        ((8, 8, 8), True),
        ((20, 10, 10), True),
        ((16, 8, 8), True),
        ((20, 8, 8), False),
        ((22, 20, 20), False),
        ((30, 8, 8), False),
        ((50, 4, 4), False),
    ],
)
def test_only_thin_sections_depend_on_their_neighbours(voxel_size, thin):
    stack = np.random.default_rng(0).random((5, 40, 40)).astype(np.float32)
    order = [3, 1, 4, 0, 2]
    shuffled = predict(stack[order], voxel_size)
    one_by_one = np.allclose(shuffled, predict(stack, voxel_size)[order], atol=1e-3)
    assert one_by_one is not thin


@pytest.mark.parametrize("voxel_size", SHAPES)
def test_the_probability_is_zero_outside_the_tissue(voxel_size, phantoms):
    even, _ = phantoms[voxel_size]
    mask = full_mask(even)
    mask[:, :40] = mask[1] = False
    probability = predict_neurite_probability(even, mask, voxel_size)
    assert not probability[~mask].any()
    assert probability[mask].max() > 0.9


@pytest.mark.parametrize("voxel_size", SHAPES)
def test_neither_threads_nor_blocks_change_the_result(voxel_size, phantoms, monkeypatch):
    even, _ = phantoms[voxel_size]
    at_once = predict(even, voxel_size)
    assert np.array_equal(predict(even, voxel_size, threads=3), at_once)
    # A multiple of the subsampling: the moments come from the same voxels.
    monkeypatch.setattr(features, "BLOCK_ROWS", 24)
    np.testing.assert_allclose(predict(even, voxel_size), at_once, atol=1e-3)


def test_progress_is_reported_for_every_section():
    calls = []
    predict(honeycomb((5, 30, 30))[0], THICK, progress=calls.append)
    assert sum(calls) == 5


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("damaged", [[5], [0], [23], [4, 5], [0, 1, 9]])
def test_the_content_of_damaged_thin_sections_is_not_used(damaged, phantoms):
    stack = np.concatenate([phantoms[THIN][0]] * 2)[:24, :40, :40]
    scratched = stack.copy()
    scratched[damaged] = np.random.default_rng(0).random((len(damaged), 40, 40))
    expected = predict(stack, THIN, *damaged)
    assert np.array_equal(predict(scratched, THIN, *damaged), expected)
    assert not np.allclose(predict(scratched, THIN), expected, atol=0.05)


@pytest.mark.parametrize("damaged", [[5], [5, 6], [2, 3, 4, 9]])
def test_damaged_sections_are_filled_alike_from_both_ends(damaged, phantoms):
    stack = phantoms[THIN][0][:12, :40, :40]
    found = predict(stack, THIN, *damaged)
    from_above = predict(stack[::-1], THIN, *(11 - z for z in damaged))
    np.testing.assert_allclose(from_above[::-1], found, atol=0.01)


def test_damaged_thick_sections_are_predicted_as_they_are(phantoms):
    stack, _ = phantoms[THICK]
    assert np.array_equal(predict(stack, THICK, 1), predict(stack, THICK))


@pytest.mark.parametrize("voxel_size", SHAPES)
def test_a_stack_of_damaged_sections_is_predicted_as_it_is(voxel_size):
    stack = np.random.default_rng(0).random((3, 24, 24)).astype(np.float32)
    assert np.array_equal(predict(stack, voxel_size, 0, 1, 2), predict(stack, voxel_size))


# --- the networks -------------------------------------------------------------------------------


def test_a_network_has_a_layer_of_rectified_units_and_a_logistic_output():
    hidden = np.array([[1.0, -2.0], [0.5, 0.5]], np.float32)
    network = MembraneMLP(hidden, np.array([0.0, -1.0]), np.array([2.0, -3.0]), 0.25)
    features = np.array([[1.0, 3.0, -1.0], [1.0, -1.0, 0.0]], np.float32)
    expected = []
    for a, b in features.T:
        units = max(a - 2 * b, 0), max(0.5 * a + 0.5 * b - 1, 0)
        expected.append(1 / (1 + np.exp(-(2 * units[0] - 3 * units[1] + 0.25))))
    np.testing.assert_allclose(network.predict_membrane(features), expected, rtol=1e-5)


def test_a_rescaled_network_takes_features_that_are_not_standardised():
    rng = np.random.default_rng(0)
    network = MembraneMLP(rng.normal(size=(5, 3)), rng.normal(size=5), rng.normal(size=5), 0.5)
    features = rng.normal([[3.0], [-1.0], [0.0]], [[2.0], [0.1], [5.0]], (3, 40))
    mean, std = features.mean(axis=1), features.std(axis=1)
    expected = network.predict_membrane((features - mean[:, None]) / std[:, None])
    np.testing.assert_allclose(
        network.rescale_inputs(mean, std).predict_membrane(features), expected
    )


@pytest.fixture
def stored_networks(tmp_path, monkeypatch):
    """Replace the networks that ship."""

    def store(networks):
        path = tmp_path / "networks.json"
        path.write_text(json.dumps(networks))
        monkeypatch.setattr("connectome.membranes.mlp.WEIGHTS_PATH", path)
        load_membrane_mlp.cache_clear()

    yield store
    load_membrane_mlp.cache_clear()


@pytest.mark.parametrize("n_axes", [2, 3])
def test_the_networks_that_ship_were_trained_on_the_present_features(n_axes):
    stored = json.loads(WEIGHTS_PATH.read_text())[str(n_axes)]
    assert stored["features"] == feature_names(n_axes)
    network = load_membrane_mlp(n_axes)
    units = learn_membranes.STARTS * learn_membranes.UNITS
    assert network.hidden.shape == (units, len(feature_names(n_axes)))
    assert network.hidden_bias.shape == network.output.shape == (units,)
    assert all(np.isfinite(part).all() for part in vars(network).values())


def test_a_network_trained_on_other_features_is_refused(stored_networks):
    networks = json.loads(WEIGHTS_PATH.read_text())
    networks["3"]["features"].reverse()
    stored_networks(networks)
    load_membrane_mlp(2)
    with pytest.raises(ValueError, match="other features"):
        load_membrane_mlp(3)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # training is short
def test_a_network_can_be_trained_on_a_phantom(stored_networks, phantoms, monkeypatch):
    pytest.importorskip("sklearn", reason="only training needs scikit-learn")
    monkeypatch.setattr(learn_membranes, "VOXEL_SIZES", {2: [THICK]})
    monkeypatch.setattr(learn_membranes, "SECTIONS", {2: 4})
    monkeypatch.setattr(learn_membranes, "WIDTH_NM", 900)
    monkeypatch.setattr(learn_membranes, "SAMPLES", 4000)
    networks = {"2": learn_membranes.train_network(2)}
    assert networks["2"]["features"] == feature_names(2)
    stored_networks(networks)
    even, boundaries = phantoms[THICK]
    assert separability(predict(even, THICK), boundaries) > 0.85


def test_boundaries_are_where_two_neurites_touch():
    labels = np.ones((2, 6, 8), np.int32)
    labels[:, :, 4:] = 2
    labels[1, :, 4:] = 3
    within, in_3d = (learn_membranes.mark_boundaries(labels, n_axes) for n_axes in (2, 3))
    assert np.array_equal(np.flatnonzero(within.any(axis=(0, 1))), [3, 4])
    assert in_3d[:, :, 3:].all() and not in_3d[:, :, :3].any()
