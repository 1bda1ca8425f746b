"""The U-Net: planes, network, targets, self-training and checkpoints."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.locations import ROOT

pytest.importorskip("torch", reason="the U-Net needs PyTorch, which is not installed")

import torch
from scipy import ndimage

from connectome.core.errors import DataError, UsageError
from connectome.evaluate import score_segmentation
from connectome.io import model_files
from connectome.io.run_folder import ProofreadSections
from connectome.phantom import make_phantom
from connectome.refine.data import TrainingStack, usable_sections
from connectome.refine.unet import (
    data,
    network,
    orthoviews,
    prediction,
    selftraining,
    trainer,
    training,
)

THICK, THIN = (30.0, 8.0, 8.0), (10.0, 10.0, 10.0)
SHAPE = (8, 64, 64)
THICK_START = ROOT / "connectome/weights/unet_thick.npz"
CPU = torch.device("cpu")
ONE_EPOCH = selftraining.UnetParams(minutes=None, epochs=1, rounds=1)


@pytest.fixture(autouse=True)
def _one_thread():
    network.set_threads(1)


def voi(found, reference):
    return score_segmentation(found, reference)["voi"]


def make_stack(proofread=(), voxel_size=THICK, damaged_sections=()):
    """Return a phantom with a blurred and noisy untrained probability, nearly useless."""
    phantom = make_phantom(SHAPE, seed=3, voxel_size=voxel_size)
    image = phantom.volume.data.astype(np.float32) / 255
    truth = phantom.ground_truth.labels
    interior = data.mask_interiors_3d(truth, voxel_size).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.1, SHAPE)
    probability = np.clip(ndimage.gaussian_filter(interior, (0, 4, 4)) + noise, 0.05, 0.95)
    return TrainingStack(
        em=image,
        mask=np.ones(SHAPE, bool),
        voxel_size=voxel_size,
        damaged_sections=damaged_sections,
        untrained_probability=probability.astype(np.float32),
        labels=truth,
        proofread=ProofreadSections(truth, tuple(proofread)) if proofread else None,
        segment=lambda probability, excluded_sections=(), voted=False: truth,
    )


def train(stack, params=ONE_EPOCH, seed=0, weights=None, saved=None, **callbacks):
    callbacks = selftraining.Callbacks(voi, **callbacks)
    return selftraining.SelfTraining(stack, params, seed, weights, callbacks, saved).run()


def random_weights():
    return trainer.Trainer(None, 0, CPU).weights()


def thick_weights():
    return model_files.read_model(THICK_START, network.KIND)[1]


# --- planes -------------------------------------------------------------------------------------


def test_thin_sections_have_three_views_and_thick_ones_one():
    assert [view.axis for view in orthoviews.orthogonal_views(SHAPE, THIN)] == [0, 1, 2]
    assert [view.axis for view in orthoviews.orthogonal_views(SHAPE, THICK)] == [0]


def test_planes_of_the_network_pixel_size_are_not_changed():
    (view,) = orthoviews.orthogonal_views(SHAPE, THICK)
    plane = np.random.default_rng(0).random((64, 64), np.float32)
    assert np.array_equal(view.resample(plane, np.s_[:, :]), plane)
    assert np.array_equal(view.resample_back(plane), plane)


@pytest.mark.parametrize("pixel_nm", [4.0, 5.0, 11.0])
def test_gradients_are_preserved_by_resampling_and_back(pixel_nm):
    (view,) = orthoviews.orthogonal_views((4, 60, 50), (40.0, pixel_nm, pixel_nm))
    slope = np.add.outer(np.arange(60), 2 * np.arange(50)).astype(np.float32)
    resampled = view.resample(slope, np.s_[:, :])
    assert resampled.shape == view.shape
    assert not any(n % orthoviews.SIDE_MULTIPLE for n in view.shape)
    inner = np.s_[5:-5, 5:-5]
    assert view.resample_back(resampled)[inner] == pytest.approx(slope[inner], abs=0.25)


def test_a_window_shows_what_the_whole_plane_shows_there():
    (view,) = orthoviews.orthogonal_views((4, 300, 200), (40.0, 5.0, 5.0))
    plane = np.random.default_rng(0).random((300, 200), np.float32)
    window = np.s_[40:104, 24:80]
    assert view.resample(plane, window) == pytest.approx(
        view.resample(plane, np.s_[:, :])[window], abs=1e-5
    )


# --- network ------------------------------------------------------------------------------------


def test_a_new_network_returns_the_untrained_logit():
    stack = make_stack()
    unet = network.build_network(None, 0, CPU)
    logits = prediction.predict_logits(unet, data.prepare_input(stack))
    assert logits == pytest.approx(data.clipped_logit(stack.untrained_probability), abs=1e-4)


@pytest.mark.parametrize("orientation", range(8))
def test_an_orientation_can_be_undone(orientation):
    x = torch.arange(24).reshape(1, 1, 4, 6)
    turned = network.reorient(x, orientation)
    assert torch.equal(network.undo_reorient(turned, orientation), x)


def test_tiles_leave_no_seams(monkeypatch):
    rng = np.random.default_rng(0)
    unet = network.build_network(None, 0, CPU)
    torch.nn.init.normal_(unet.out.weight)  # so that distant pixels have an influence
    shape = (2, 208, 136)
    em, untrained = rng.normal(size=(2, *shape)).astype(np.float32)
    views = orthoviews.orthogonal_views(shape, THICK)
    network_input = data.NetworkInput(em, untrained, views)
    whole = prediction.predict_logits(unet, network_input)
    monkeypatch.setattr(prediction, "TILE", 64)
    assert prediction.predict_logits(unet, network_input) == pytest.approx(whole, abs=1e-4)


def test_weights_of_another_network_are_refused():
    weights = random_weights()
    weights["out.bias"] = np.zeros(2, np.float32)
    with pytest.raises(DataError, match=r"out\.bias"):
        network.build_network(weights, 0, CPU)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("out.bias", np.nan),
        ("out.weight", np.inf),
        ("down.0.1.running_var", -1),
        ("down.0.1.running_mean", np.float64(1e300)),
        ("down.0.1.num_batches_tracked", "three"),
    ],
)
def test_weights_that_are_not_finite_are_refused(name, value):
    weights = random_weights()
    weights[name] = np.full(weights[name].shape, value)
    with pytest.raises(DataError, match=rf"damaged: {name}") as refused:
        network.build_network(weights, 0, CPU)
    assert refused.value.remedy


@pytest.mark.parametrize(
    "change",
    [
        *({"trust": trust} for trust in (None, "much", True, -0.1, 1.5, [1.0])),
        {"voted": "yes"},
    ],
)
def test_models_without_a_valid_trust_are_refused(change):
    weights = random_weights()
    meta = {"trust": 1.0, "voted": False} | change
    with pytest.raises(DataError, match=r"trust .* and voted") as refused:
        training.apply_unet(make_stack(), (meta, weights), device="cpu")
    assert refused.value.remedy
    with pytest.raises(DataError, match="trust None"):
        training.apply_unet(make_stack(), ({}, weights), device="cpu")


def test_a_model_whose_prediction_is_not_finite_is_refused():
    weights = random_weights()
    weights["out.weight"][:] = np.float32(3e38)
    with pytest.raises(DataError, match="not finite"):
        training.apply_unet(make_stack(), ({"trust": 1}, weights), device="cpu")


def test_a_device_that_is_not_available_is_refused():
    missing = "mps" if torch.cuda.is_available() else "cuda"
    if getattr(torch.backends, "mps", None) and torch.backends.mps.is_available():
        pytest.skip("this machine has an accelerator")
    with pytest.raises(UsageError, match=missing):
        network.choose_device(missing)
    assert network.choose_device("cpu").type == "cpu"


def test_the_corrected_probability_has_the_distribution_of_the_untrained_one():
    rng = np.random.default_rng(0)
    untrained, logits = rng.random((2, *SHAPE)).astype(np.float32)
    mask = rng.random(SHAPE) < 0.8
    corrected = prediction.correct_probability(20 * logits, untrained, mask, 0.5)
    assert np.array_equal(np.sort(corrected[mask]), np.sort(untrained[mask]))
    assert not corrected[~mask].any()


def test_without_trust_the_untrained_probability_is_not_changed():
    stack = make_stack()
    logits = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    assert np.array_equal(
        prediction.correct_probability(logits, stack.untrained_probability, stack.mask, 0.0),
        stack.untrained_probability,
    )


# --- targets ------------------------------------------------------------------------------------


def test_pseudo_labels_are_weighted_by_their_agreement_with_the_probability():
    stack = make_stack(damaged_sections=(5,))
    targets = data.build_training_data(stack, stack.labels, stack.untrained_probability, ())
    agreement = np.where(
        targets.target, stack.untrained_probability, 1 - stack.untrained_probability
    )
    sound = [z for z in range(8) if z != 5]
    assert targets.weight[sound] == pytest.approx(agreement[sound])
    assert not targets.weight[5].any()


def test_proofread_sections_have_the_largest_weight():
    stack = make_stack(proofread=(2, 6))
    targets = data.build_training_data(
        stack, np.ones(SHAPE, np.int32), stack.untrained_probability, (2,)
    )
    assert targets.weight[2].min() > targets.weight[[0, 6]].max()
    assert np.array_equal(targets.target[2], data.mask_interiors_3d(stack.labels[2:3], THICK)[0])
    assert targets.target[6].all()


def test_voxels_outside_the_tissue_have_no_weight():
    stack = make_stack()
    mask = stack.mask.copy()
    mask[:, :20] = False
    targets = data.build_training_data(
        replace(stack, mask=mask), stack.labels, stack.untrained_probability, ()
    )
    assert not targets.weight[:, :20].any()


def test_damaged_sections_are_replaced_by_the_nearest_sound_one():
    em = data.prepare_input(make_stack(damaged_sections=(3, 4))).em
    assert np.array_equal(em[3], em[2])
    assert np.array_equal(em[4], em[5])


def test_augmentation_depends_on_the_seed_and_keeps_shapes():
    patches = torch.randn(2, len(network.CHANNELS), 16, 16, generator=torch.manual_seed(0))
    first, again, other = (data.augment(np.random.default_rng(s), patches) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == patches.shape


def test_adaptation_changes_only_the_statistics_of_normalisation():
    stack = make_stack()
    weights = thick_weights()
    first, again = (
        trainer.adapt_normalisation(weights, data.prepare_input(stack), stack.mask, seed)
        for seed in (1, 1)
    )
    changed = {name for name in weights if not np.array_equal(first[name], weights[name])}
    assert {name.rsplit(".", 1)[1] for name in changed} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    assert all(np.array_equal(first[name], again[name]) for name in first)


# --- self-training ------------------------------------------------------------------------------


def test_a_few_proofread_sections_improve_the_others():
    stack = make_stack(proofread=(1, 3, 5, 6))
    params = selftraining.UnetParams(minutes=None, epochs=40, rounds=1)
    result = train(stack, params, weights=thick_weights())
    others = [0, 2, 4, 7]
    interior = data.mask_interiors_3d(stack.labels, THICK)[others]

    def auc(probability):
        """Return the fraction of pairs of an interior and a membrane voxel in the right order."""
        ranks = np.argsort(np.argsort(probability[others].ravel())).reshape(interior.shape)
        n_in, n_out = interior.sum(), (~interior).sum()
        return (ranks[interior].sum() - n_in * (n_in - 1) / 2) / (n_in * n_out)

    before, after = auc(stack.untrained_probability), auc(result.probability)
    assert before < 0.75
    assert after > 0.85


def test_the_same_seed_gives_the_same_result():
    first, again, other = (train(make_stack(), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.probability, again.probability)
    assert not np.array_equal(first.arrays["out.weight"], other.arrays["out.weight"])


@pytest.mark.parametrize("start", [False, True], ids=["random", "shipped"])
def test_interrupted_training_resumes_to_the_same_result(monkeypatch, start):
    monkeypatch.setattr(selftraining, "VALIDATION_INTERVAL", 3)
    params = selftraining.UnetParams(minutes=None, epochs=5, rounds=2)
    weights = thick_weights() if start else None
    whole = train(make_stack(proofread=(1, 4)), params, weights=weights)
    saved = []

    def interrupt(values, arrays):
        saved.append((values, arrays))
        if len(saved) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(make_stack(proofread=(1, 4)), params, weights=weights, save_checkpoint=interrupt)
    assert saved[-1][0]["rounds"]  # in the second round
    messages = []
    resumed = train(
        make_stack(proofread=(1, 4)),
        params,
        weights=weights,
        saved=saved[-1],
        message=messages.append,
    )
    assert "resuming" in messages[0]
    assert np.array_equal(resumed.probability, whole.probability)
    assert [r["curve"] for r in resumed.metrics["rounds"]] == [
        r["curve"] for r in whole.metrics["rounds"]
    ]


@pytest.mark.parametrize(
    ("stack", "seed"), [({}, 1), ({"proofread": (1, 2)}, 0)], ids=["seed", "corrections"]
)
def test_a_checkpoint_of_other_flags_or_corrections_is_refused(stack, seed):
    saved = []
    train(make_stack(), save_checkpoint=lambda *parts: saved.append(parts))
    with pytest.raises(DataError, match="checkpoint"):
        train(make_stack(**stack), seed=seed, saved=saved[0])


def without(name):
    return lambda meta, arrays: meta.pop(name)


@pytest.mark.parametrize(
    "change",
    [
        *(without(name) for name in ("of", "begun", "rounds", "step", "curve")),
        lambda meta, arrays: meta.update(curve=[[0, 1]]),
        lambda meta, arrays: meta.update(rounds=[3]),
        lambda meta, arrays: arrays.clear(),
        lambda meta, arrays: arrays.update(weights=np.zeros(3)),
        lambda meta, arrays: arrays["best out.bias"].fill(np.nan),
    ],
)
def test_a_damaged_checkpoint_is_refused_with_a_remedy(change):
    saved = []
    train(make_stack(), save_checkpoint=lambda *parts: saved.append(parts))
    meta, arrays = saved[0]
    change(meta, arrays)
    with pytest.raises(DataError, match="--restart"):
        train(make_stack(), saved=(meta, arrays))


def test_only_usable_sections_are_trained_and_tested_on():
    stack = make_stack(proofread=(1, 2, 3, 5, 7), damaged_sections=(2,))
    labels = stack.proofread.labels.copy()
    labels[3] = 0
    stack = replace(stack, proofread=ProofreadSections(labels, stack.proofread.sections))
    assert usable_sections(stack.proofread, stack.damaged_sections) == [1, 5, 7]
    metrics = train(stack).metrics
    assert metrics["learned_sections"] == [1, 7]
    assert metrics["held_out_sections"] == [5]


def test_a_round_that_does_harm_is_discarded_and_reported():
    stack = make_stack(proofread=(1, 4))

    def segment_worse(probability, excluded_sections=(), voted=False):
        return (
            stack.labels if probability is stack.untrained_probability else np.ones(SHAPE, np.int32)
        )

    messages = []
    result = train(replace(stack, segment=segment_worse), message=messages.append)
    (record,) = result.metrics["rounds"]
    assert not record["kept"]
    assert record["voi_after"] > record["voi_before"]
    assert "discarded" in messages[-1]
    assert np.array_equal(result.probability, stack.untrained_probability)
    assert not result.arrays


def test_rounds_are_tested_on_sections_that_were_not_trained_on():
    excluded = []
    stack = make_stack(proofread=(0, 2, 4, 6))

    def record_excluded(probability, excluded_sections=(), voted=False):
        excluded.append(tuple(excluded_sections))
        return stack.labels

    result = train(replace(stack, segment=record_excluded))
    assert result.metrics["held_out_sections"] == [2]
    assert result.metrics["learned_sections"] == [0, 4, 6]
    assert set(excluded) == {(2,)}


def test_without_proofread_sections_labels_may_not_change_much():
    stack = make_stack()
    halves = np.repeat([[1], [2]], 32, axis=0) * np.ones((8, 1, 64), np.int32)

    def segment_differently(probability, excluded_sections=(), voted=False):
        return stack.labels if probability is stack.untrained_probability else halves

    (record,) = train(replace(stack, segment=segment_differently)).metrics["rounds"]
    assert record["change"] > selftraining.MAX_CHANGE
    assert not record["kept"]


def test_the_start_network_is_adapted_and_kept_only_if_it_does_no_harm():
    weights = thick_weights()
    untrained = selftraining.UnetParams(minutes=1, rounds=0)
    messages = []
    kept = train(make_stack(), untrained, weights=weights, message=messages.append)
    assert kept.metrics["adapted"]["kept"]
    assert kept.voted
    assert kept.meta["voted"]
    assert "adapted to this stack, kept" in messages[-1]
    stack = make_stack()
    halves = np.repeat([[1], [2]], 32, axis=0) * np.ones((8, 1, 64), np.int32)

    def segment_differently(probability, excluded_sections=(), voted=False):
        return halves if voted else stack.labels

    discarded = train(replace(stack, segment=segment_differently), untrained, weights=weights)
    assert not discarded.metrics["adapted"]["kept"]
    assert not discarded.voted
    assert not discarded.arrays
    assert np.array_equal(discarded.probability, stack.untrained_probability)


def test_voting_is_chosen_where_held_out_sections_agree_with_it_best():
    stack = make_stack(proofread=(1, 4))
    wrong = np.ones(SHAPE, np.int32)

    def segment_best_by_vote(probability, excluded_sections=(), voted=False):
        return stack.labels if voted else wrong

    weights = thick_weights()
    untrained = selftraining.UnetParams(minutes=1, rounds=0)
    assert train(replace(stack, segment=segment_best_by_vote), untrained, weights=weights).voted


def test_training_takes_the_given_minutes():
    result = train(make_stack(), selftraining.UnetParams(minutes=0.02, rounds=2))
    assert sum(r["seconds"] for r in result.metrics["rounds"]) == pytest.approx(1.2, abs=0.8)


def test_thin_sections_can_be_trained_on():
    result = train(make_stack(proofread=(2, 5), voxel_size=THIN))
    assert result.probability.shape == SHAPE
    assert result.meta["voxel_size_nm"] == list(THIN)


@pytest.mark.parametrize("proofread", [(), (1, 4)])
def test_the_figure_shows_every_round_and_its_outcome(proofread):
    from connectome.figures.training import draw_unet_training

    params = selftraining.UnetParams(minutes=None, epochs=1, rounds=2)
    metrics = train(make_stack(proofread), params).metrics
    figure = draw_unet_training(metrics, "phantom://neuropil")
    written = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    assert all(f"round {number}" in written for number in (1, 2))
    verdicts = ["kept" if record["kept"] else "rejected" for record in metrics["rounds"]]
    assert all(written.count(verdict) >= verdicts.count(verdict) for verdict in verdicts)


def test_the_figure_of_an_applied_model_states_that_nothing_was_trained():
    from connectome.figures.training import draw_unet_training

    figure = draw_unet_training({"rounds": [], "model": {}}, "phantom://neuropil")
    assert all("no training" in axes.texts[0].get_text() for axes in figure.axes)
