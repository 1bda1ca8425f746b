"""The random forest: training, application, and trees as arrays."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score

from connectome import preprocess
from connectome.core.errors import DataError
from connectome.io import model_files
from connectome.io.run_folder import ProofreadSections
from connectome.membranes import predict_neurite_probability
from connectome.phantom import PhantomParams, make_phantom
from connectome.refine import forest, forest_data, trees
from connectome.refine.data import TrainingStack

THICK, THIN = (30.0, 8.0, 8.0), (10.0, 10.0, 10.0)
PROOFREAD = (1, 4, 7)
# Imaged worse than anything that the untrained network was trained on.
POOR = PhantomParams(shot_noise=0.15, blur_nm=9.0)
PARAMS = forest.ForestParams(n_estimators=20, max_pixels=6000)
MIN_PRECISION = {THICK: 0.735, THIN: 0.69}  # average precision for membranes


def make_stack(seed, voxel_size, shape=(10, 96, 96)):
    phantom = make_phantom(shape, seed, voxel_size, POOR)
    tissue = preprocess.find_tissue(phantom.volume.data)
    image = preprocess.preprocess(phantom.volume.data, tissue, voxel_size)
    return TrainingStack(
        em=image,
        mask=tissue,
        voxel_size=voxel_size,
        damaged_sections=(),
        untrained_probability=predict_neurite_probability(image, tissue, voxel_size),
        labels=phantom.ground_truth.labels,
        proofread=ProofreadSections(phantom.ground_truth.labels, PROOFREAD),
        segment=None,
    )


def drawn_stack(labels):
    """Return a stack of one proofread section with these labels."""
    blank = np.zeros(labels.shape, np.float32)
    return TrainingStack(
        em=blank,
        mask=np.ones(labels.shape, bool),
        voxel_size=THICK,
        damaged_sections=(),
        untrained_probability=blank,
        labels=labels,
        proofread=ProofreadSections(labels, (0,)),
        segment=None,
    )


@pytest.fixture(scope="module", params=[THICK, THIN], ids=["thick", "thin"])
def stack(request):
    return make_stack(21, request.param)


@pytest.fixture(scope="module")
def thick():
    return make_stack(21, THICK)


def ignore(text):
    """Ignore a message."""


def train(stack, params=PARAMS, seed=7, threads=2):
    return forest.train_forest(stack, params, seed=seed, threads=threads, message=ignore)


def apply(model, stack):
    return forest.apply_forest(stack, model, model_name="model.npz", threads=2, message=ignore)


def save_and_read(result, tmp_path):
    path = tmp_path / "model.npz"
    model_files.write_model(path, result.meta, result.arrays)
    return model_files.read_model(path, forest.KIND)


def precision(stack, probability, sections):
    """Return the average precision of membranes in some sections."""
    proofread = ProofreadSections(stack.labels, tuple(sections))
    labelled = forest_data.collect_labels(replace(stack, proofread=proofread))
    membrane = ~labelled.is_neurite[labelled.is_labelled]
    return average_precision_score(membrane, -probability[list(sections)][labelled.is_labelled])


def test_sections_that_were_not_proofread_are_predicted_better_than_without_training(stack):
    result = train(stack)
    rest = [z for z in range(len(stack.em)) if z not in PROOFREAD]
    score = precision(stack, result.probability, rest)
    assert score > precision(stack, stack.untrained_probability, rest) + 0.005
    assert score > MIN_PRECISION[stack.voxel_size]


def test_held_out_sections_are_scored_by_a_forest_not_trained_on_them(thick):
    held_out = train(thick).metrics["held_out"]
    (section,) = held_out["sections"]
    assert section in PROOFREAD
    assert held_out["forest"]["average_precision"] > held_out["evidence"]["average_precision"]
    # The labels of the held-out section do not change the forest that is scored.
    elsewhere = np.roll(thick.labels, 40, axis=2)
    changed = thick.labels.copy()
    changed[section] = elsewhere[section]
    misled = replace(thick, proofread=ProofreadSections(changed, PROOFREAD))
    again = train(misled).metrics["held_out"]
    assert again["forest"]["auc"] < 0.7 < 0.9 < held_out["forest"]["auc"]


def test_a_single_proofread_section_is_trained_on_and_none_is_held_out(thick):
    one = replace(thick, proofread=ProofreadSections(thick.labels, (4,)))
    result = train(one)
    assert "held_out" not in result.metrics
    assert result.metrics["learned_from"] == [4]
    assert precision(thick, result.probability, [5]) > precision(
        thick, thick.untrained_probability, [5]
    )


def test_the_same_seed_gives_the_same_result_with_any_number_of_threads(thick):
    first = train(thick)
    again = train(thick, threads=1)
    other = train(thick, seed=8)
    assert first.probability.tobytes() == again.probability.tobytes()
    assert first.meta == again.meta
    assert all(first.arrays[n].tobytes() == again.arrays[n].tobytes() for n in first.arrays)
    assert not np.array_equal(first.probability, other.probability)


def test_a_saved_model_predicts_as_the_one_that_was_trained(stack, tmp_path):
    result = train(stack)
    model = save_and_read(result, tmp_path)
    again = apply(model, replace(stack, proofread=None))
    assert again.probability.tobytes() == result.probability.tobytes()
    assert again.arrays == {}  # there is no new model to save
    importances = again.metrics["feature_importances"]
    assert list(importances) == list(result.metrics["feature_importances"])


def test_a_model_improves_another_cutout_without_proofread_sections(thick, tmp_path):
    model = save_and_read(train(thick), tmp_path)
    other = replace(make_stack(22, THICK), proofread=None)
    applied = apply(model, other)
    everything = range(len(other.em))
    gained = precision(other, applied.probability, everything)
    assert gained > precision(other, other.untrained_probability, everything)


def test_an_applied_model_is_not_scored_on_its_training_sections(thick, tmp_path):
    model = save_and_read(train(thick), tmp_path)
    assert "held_out" not in apply(model, thick).metrics
    more = replace(thick, proofread=ProofreadSections(thick.labels, (*PROOFREAD, 8)))
    assert apply(model, more).metrics["held_out"]["sections"] == [8]


def test_models_of_other_features_or_voxel_sizes_are_refused(thick, tmp_path):
    meta, arrays = save_and_read(train(thick), tmp_path)
    with pytest.raises(DataError, match="other features"):
        apply((meta, arrays), make_stack(21, THIN))
    coarse = replace(thick, voxel_size=(60.0, 16.0, 16.0))
    with pytest.raises(DataError, match="30 x 8 x 8 nm per voxel"):
        apply((meta, arrays), coarse)


@pytest.mark.parametrize("change", [{"learned_from": None}, {"feature_importances": 3}])
def test_models_that_do_not_name_their_training_sections_are_refused(thick, change):
    result = train(thick)
    with pytest.raises(DataError, match="training sections"):
        apply((result.meta | change, result.arrays), thick)


def test_without_a_proofread_section_the_error_names_a_remedy(thick):
    with pytest.raises(DataError, match=r"no section has been proofread(?s:.*)napari_proofread"):
        train(replace(thick, proofread=None))


@pytest.mark.parametrize("neurite", [0, 5])
def test_sections_without_a_boundary_are_refused(thick, neurite):
    same = replace(thick, proofread=ProofreadSections(np.full_like(thick.labels, neurite), (2, 3)))
    with pytest.raises(DataError, match="contain no boundary"):
        train(same)


def test_damaged_sections_are_not_trained_on(thick):
    result = train(replace(thick, damaged_sections=(4,)))
    assert result.metrics["learned_from"] == [1, 7]
    with pytest.raises(DataError, match="damaged"):
        train(replace(thick, damaged_sections=PROOFREAD))


def test_the_width_of_unlabelled_membranes_does_not_matter():
    labels = np.ones((1, 40, 40), np.int32)
    labels[:, :, 20:] = 2
    gap = labels.copy()
    gap[:, :, 18:22] = 0
    narrow, wide = (forest_data.collect_labels(drawn_stack(drawn)) for drawn in (labels, gap))
    assert np.array_equal(narrow.is_neurite, wide.is_neurite)
    assert not narrow.is_neurite[0, 0, 19:21].any()


def test_a_wide_gap_is_not_labelled():
    labels = np.zeros((1, 40, 40), np.int32)
    labels[:, :, :5] = 1
    labelled = forest_data.collect_labels(drawn_stack(labels))
    last = 4 + int(forest_data.MAX_MEMBRANE_DISTANCE_NM / THICK[2])
    assert labelled.is_labelled[0, 0, : last + 1].all()
    assert not labelled.is_labelled[0, 0, last + 1 :].any()


def test_combining_keeps_ranks_and_distribution_and_weighs_by_sections():
    rng = np.random.default_rng(0)
    predicted, untrained = (rng.random(5000).astype(np.float32) for _ in range(2))
    untrained = untrained**3
    few, many = (forest.combine_probabilities(predicted, untrained, n) for n in (1, 10**6))
    assert np.diff(many[np.argsort(predicted)]).min() > -1e-4
    np.testing.assert_allclose(np.sort(many), np.sort(untrained), atol=0.01)
    assert np.abs(few - untrained).mean() < np.abs(many - untrained).mean()


def test_an_uninformative_forest_leaves_the_untrained_probability(thick):
    params = forest.ForestParams(n_estimators=1, max_pixels=1)
    result = train(thick, params)
    assert len(result.arrays["left"]) == 1  # a tree of one leaf
    np.testing.assert_allclose(
        result.probability[thick.mask], thick.untrained_probability[thick.mask], atol=0.02
    )


# Trees --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(400, 5)).astype(np.float32)
    classifier = RandomForestClassifier(9, min_samples_leaf=3, random_state=0)
    return classifier.fit(values, values[:, 0] + values[:, 2] ** 2 > 0.5), values


def test_trees_predict_as_the_library_does(fitted):
    classifier, values = fitted
    predicted = trees.DecisionTrees.from_classifier(classifier).predict(values.T)
    np.testing.assert_allclose(predicted, classifier.predict_proba(values)[:, 1], atol=1e-6)


def damage(name, place, value):
    def change(arrays):
        arrays[name] = arrays[name].copy()
        arrays[name][place] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        damage("left", 0, 0),  # a path that never ends
        damage("right", 0, 10**6),  # or leaves the array
        damage("left", 0, -2),
        damage("feature", 0, 5),
        damage("feature", 0, -1),
        damage("neurite", 3, np.nan),
        damage("threshold", np.s_[:], np.nan),
        damage("threshold", 0, np.inf),
        damage("roots", 1, 0),
        damage("roots", -1, 10**6),
        lambda arrays: arrays.update(left=arrays["left"][:-1]),
        lambda arrays: arrays.update(left=arrays["left"].astype(float)),
        lambda arrays: arrays.update(roots=arrays["roots"][:0]),
        lambda arrays: arrays.pop("right"),
        lambda arrays: arrays.update(more=arrays["left"]),
    ],
)
def test_damaged_trees_are_refused_before_they_are_used(fitted, change):
    arrays = trees.DecisionTrees.from_classifier(fitted[0]).to_arrays()
    change(arrays)
    with pytest.raises(DataError):
        trees.DecisionTrees.from_arrays(arrays, 5)
