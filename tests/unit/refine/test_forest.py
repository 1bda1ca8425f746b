from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score

from connectome import preprocess
from connectome.cli.reporter import Reporter
from connectome.core.errors import DataError
from connectome.io import model_files
from connectome.io.run_folder import ProofreadSections
from connectome.membranes import predict
from connectome.phantom import PhantomParams, make_phantom
from connectome.refine import forest, trees
from connectome.refine.data import TrainingStack

QUIET = Reporter(quiet=True)
THICK, THIN = (30.0, 8.0, 8.0), (10.0, 10.0, 10.0)
PROOFREAD = (1, 4, 7)
# Imaged worse than anything that the untrained evidence has seen.
POOR = PhantomParams(shot_noise=0.15, blur_nm=9.0)
LEAST = {THICK: 0.735, THIN: 0.69}  # average precision for membranes


def material_of(seed, voxel_size, shape=(10, 96, 96)):
    phantom = make_phantom(shape, seed, voxel_size, POOR)
    tissue = preprocess.find_tissue(phantom.volume.data)
    image = preprocess.preprocess(phantom.volume.data, tissue, voxel_size)
    rated = predict.predict_neurite_probability(image, tissue, voxel_size)
    proofread = ProofreadSections(phantom.ground_truth.labels, PROOFREAD)
    return TrainingStack(
        image, tissue, voxel_size, (), rated, phantom.ground_truth.labels, proofread, None
    )


@pytest.fixture(scope="module", params=[THICK, THIN], ids=["thick", "thin"])
def material(request):
    return material_of(21, request.param)


@pytest.fixture(scope="module")
def thick():
    return material_of(21, THICK)


def config(apply=None, **more):
    params = forest.ForestParams(n_estimators=20, max_pixels=6000, apply=apply)
    return SimpleNamespace(**{"seed": 7, "threads": 2, "params": params} | more)


def reread(learned, tmp_path):
    path = tmp_path / "model.npz"
    model_files.write_model(path, learned.meta, learned.arrays)
    return model_files.read_model(path, forest.KIND)


def precision(material, probability, sections):
    """Average precision for membranes on sections."""
    everywhere = ProofreadSections(material.labels, tuple(sections))
    lesson = forest.collect_labels(replace(material, proofread=everywhere))
    membrane = ~lesson.is_neurite[lesson.is_labelled]
    return average_precision_score(membrane, -probability[list(sections)][lesson.is_labelled])


def test_sections_nobody_has_proofread_are_judged_better_than_without_learning(material):
    learned = forest.train_forest(material, config(), QUIET)
    rest = [z for z in range(len(material.image)) if z not in PROOFREAD]
    score = precision(material, learned.probability, rest)
    assert score > precision(material, material.untrained_probability, rest) + 0.005
    assert score > LEAST[material.voxel_size]


def test_held_out_sections_are_judged_by_a_forest_that_has_not_seen_them(thick):
    held_out = forest.train_forest(thick, config(), QUIET).metrics["held_out"]
    (section,) = held_out["sections"]
    assert section in PROOFREAD
    assert held_out["forest"]["average_precision"] > held_out["evidence"]["average_precision"]
    # Whatever is said of the section that is held out, the forest that is judged stays the same.
    elsewhere = np.roll(thick.labels, 40, axis=2)
    changed = thick.labels.copy()
    changed[section] = elsewhere[section]
    misled = replace(thick, proofread=ProofreadSections(changed, PROOFREAD))
    again = forest.train_forest(misled, config(), QUIET).metrics["held_out"]
    assert again["forest"]["auc"] < 0.7 < 0.9 < held_out["forest"]["auc"]


def test_one_proofread_section_is_learned_from_and_nothing_is_held_out(thick):
    one = replace(thick, proofread=ProofreadSections(thick.labels, (4,)))
    learned = forest.train_forest(one, config(), QUIET)
    assert "held_out" not in learned.metrics
    assert learned.metrics["learned_from"] == [4]
    assert precision(thick, learned.probability, [5]) > precision(
        thick, thick.untrained_probability, [5]
    )


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(thick):
    first = forest.train_forest(thick, config(), QUIET)
    again = forest.train_forest(thick, config(threads=1), QUIET)
    other = forest.train_forest(thick, config(seed=8), QUIET)
    assert first.probability.tobytes() == again.probability.tobytes()
    assert first.meta == again.meta
    assert all(first.arrays[n].tobytes() == again.arrays[n].tobytes() for n in first.arrays)
    assert not np.array_equal(first.probability, other.probability)


def test_a_saved_model_judges_as_the_one_that_was_learned(material, tmp_path):
    learned = forest.train_forest(material, config(), QUIET)
    model = reread(learned, tmp_path)
    again = forest.apply_forest(
        model, replace(material, proofread=None), config("model.npz"), QUIET
    )
    assert again.probability.tobytes() == learned.probability.tobytes()
    assert again.arrays == {}  # there is no new model to write
    importances = again.metrics["feature_importances"]
    assert list(importances) == list(learned.metrics["feature_importances"])


def test_a_model_helps_on_another_cutout_where_nothing_is_proofread(thick, tmp_path):
    model = reread(forest.train_forest(thick, config(), QUIET), tmp_path)
    other = replace(material_of(22, THICK), proofread=None)
    applied = forest.apply_forest(model, other, config("model.npz"), QUIET)
    everything = range(len(other.image))
    gained = precision(other, applied.probability, everything)
    assert gained > precision(other, other.untrained_probability, everything)


def test_an_applied_model_is_not_judged_on_what_it_has_learned_from(thick, tmp_path):
    model = reread(forest.train_forest(thick, config(), QUIET), tmp_path)
    apply = config("model.npz")
    assert "held_out" not in forest.apply_forest(model, thick, apply, QUIET).metrics
    more = replace(thick, proofread=ProofreadSections(thick.labels, (*PROOFREAD, 8)))
    assert forest.apply_forest(model, more, apply, QUIET).metrics["held_out"]["sections"] == [8]


def test_models_of_other_features_or_voxel_sizes_are_refused(thick, tmp_path):
    meta, arrays = reread(forest.train_forest(thick, config(), QUIET), tmp_path)
    with pytest.raises(DataError, match="other features"):
        forest.apply_forest((meta, arrays), material_of(21, THIN), config("model.npz"), QUIET)
    coarse = replace(thick, voxel_size=(60.0, 16.0, 16.0))
    with pytest.raises(DataError, match="30 x 8 x 8 nm per voxel"):
        forest.apply_forest((meta, arrays), coarse, config("model.npz"), QUIET)


@pytest.mark.parametrize("change", [{"learned_from": None}, {"feature_importances": 3}])
def test_models_that_hide_what_they_have_learned_from_are_refused(thick, change):
    learned = forest.train_forest(thick, config(), QUIET)
    with pytest.raises(DataError, match="learned from"):
        forest.apply_forest(
            (learned.meta | change, learned.arrays), thick, config("model.npz"), QUIET
        )


def test_without_a_proofread_section_it_is_said_what_to_do(thick):
    with pytest.raises(DataError, match=r"no section has been proofread(?s:.*)napari_proofread"):
        forest.train_forest(replace(thick, proofread=None), config(), QUIET)


@pytest.mark.parametrize("neurite", [0, 5])
def test_sections_without_a_boundary_teach_nothing(thick, neurite):
    same = replace(thick, proofread=ProofreadSections(np.full_like(thick.labels, neurite), (2, 3)))
    with pytest.raises(DataError, match="hold no boundary"):
        forest.train_forest(same, config(), QUIET)


def test_damaged_sections_are_not_learned_from(thick):
    learned = forest.train_forest(replace(thick, damaged_sections=(4,)), config(), QUIET)
    assert learned.metrics["learned_from"] == [1, 7]
    with pytest.raises(DataError, match="damaged"):
        forest.train_forest(replace(thick, damaged_sections=PROOFREAD), config(), QUIET)


def test_membranes_teach_the_same_however_wide_a_person_leaves_them():
    labels = np.ones((1, 40, 40), np.int32)
    labels[:, :, 20:] = 2
    gap = labels.copy()
    gap[:, :, 18:22] = 0
    blank = np.zeros((1, 40, 40), np.float32)
    inside = np.ones((1, 40, 40), bool)
    lessons = [
        forest.collect_labels(
            TrainingStack(
                blank, inside, THICK, (), blank, drawn, ProofreadSections(drawn, (0,)), None
            )
        )
        for drawn in (labels, gap)
    ]
    assert np.array_equal(lessons[0].is_neurite, lessons[1].is_neurite)
    assert not lessons[0].is_neurite[0, 0, 19:21].any()


def test_a_wide_gap_is_not_learned_from():
    labels = np.zeros((1, 40, 40), np.int32)
    labels[:, :, :5] = 1
    blank = np.zeros((1, 40, 40), np.float32)
    inside = np.ones((1, 40, 40), bool)
    lesson = forest.collect_labels(
        TrainingStack(
            blank, inside, THICK, (), blank, labels, ProofreadSections(labels, (0,)), None
        )
    )
    reach = 4 + int(forest.MAX_MEMBRANE_DISTANCE_NM / THICK[2])
    assert lesson.is_labelled[0, 0, : reach + 1].all()
    assert not lesson.is_labelled[0, 0, reach + 1 :].any()


def test_on_the_evidences_scale_ranks_stay_and_the_word_of_many_sections_weighs_more():
    rng = np.random.default_rng(0)
    said, scale = (rng.random(5000).astype(np.float32) for _ in range(2))
    few, many = (forest.combine_probabilities(said, scale**3, n) for n in (1, 10**6))
    assert np.diff(many[np.argsort(said)]).min() > -1e-4
    np.testing.assert_allclose(np.sort(many), np.sort(scale**3), atol=0.01)
    assert np.abs(few - scale**3).mean() < np.abs(many - scale**3).mean()


def test_a_forest_that_cannot_tell_leaves_the_word_to_the_evidence(thick):
    params = forest.ForestParams(n_estimators=1, max_pixels=1)
    learned = forest.train_forest(thick, config(params=params), QUIET)
    assert len(learned.arrays["left"]) == 1  # a tree of one leaf
    inside = thick.mask
    np.testing.assert_allclose(
        learned.probability[inside], thick.untrained_probability[inside], atol=0.02
    )


# Trees --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grown():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(400, 5)).astype(np.float32)
    classifier = RandomForestClassifier(9, min_samples_leaf=3, random_state=0)
    return classifier.fit(values, values[:, 0] + values[:, 2] ** 2 > 0.5), values


def test_trees_say_what_the_library_says(grown):
    classifier, values = grown
    said = trees.DecisionTrees.from_classifier(classifier).predict(values.T)
    np.testing.assert_allclose(said, classifier.predict_proba(values)[:, 1], atol=1e-6)


def damage(name, place, value):
    def change(arrays):
        arrays[name] = arrays[name].copy()
        arrays[name][place] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        damage("left", 0, 0),  # a walk that never ends
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
def test_damaged_trees_are_refused_before_anything_walks_them(grown, change):
    arrays = trees.DecisionTrees.from_classifier(grown[0]).to_arrays()
    change(arrays)
    with pytest.raises(DataError):
        trees.DecisionTrees.from_arrays(arrays, 5)
