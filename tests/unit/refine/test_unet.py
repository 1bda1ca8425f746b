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
from connectome.refine import data, orthoviews, selftrain, unet
from connectome.refine.data import TrainingStack

THICK, THIN = (30.0, 8.0, 8.0), (10.0, 10.0, 10.0)
SHAPE = (8, 64, 64)
THICK_START = ROOT / "connectome/weights/unet_thick.npz"
ONE_EPOCH = selftrain.UnetParams(minutes=None, epochs=1, rounds=1)


@pytest.fixture(autouse=True)
def _one_thread():
    unet.set_threads(1)


def voi(found, reference):
    return score_segmentation(found, reference)["voi"]


def material(proofread=(), voxel_size=THICK, damaged=(), to_labels=None):
    """A phantom whose evidence is as blurred and noisy as to be of little use."""
    phantom = make_phantom(SHAPE, seed=3, voxel_size=voxel_size)
    image = phantom.volume.data.astype(np.float32) / 255
    truth = phantom.ground_truth.labels
    inside = unet.mask_interiors_3d(truth, voxel_size).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.1, SHAPE)
    evidence = np.clip(ndimage.gaussian_filter(inside, (0, 4, 4)) + noise, 0.05, 0.95)
    return TrainingStack(
        image,
        np.ones(SHAPE, bool),
        voxel_size,
        damaged,
        evidence.astype(np.float32),
        truth,
        ProofreadSections(truth, tuple(proofread)) if proofread else None,
        to_labels or (lambda probability, held_back=(), voted=False: truth),
    )


def trained(stack, params=ONE_EPOCH, seed=0, weights=None, **company):
    company = selftrain.Callbacks(voi, **company)
    return selftrain.SelfTraining(stack, params, seed, weights, company).run()


# Planes


def test_thin_sections_are_seen_from_three_sides_and_thick_ones_from_one():
    assert [view.axis for view in orthoviews.orthogonal_views(SHAPE, THIN)] == [0, 1, 2]
    assert [view.axis for view in orthoviews.orthogonal_views(SHAPE, THICK)] == [0]


def test_planes_of_the_networks_own_pixel_size_are_seen_as_they_are():
    (view,) = orthoviews.orthogonal_views(SHAPE, THICK)
    plane = np.random.default_rng(0).random((64, 64), np.float32)
    assert np.array_equal(view.resample(plane, np.s_[:, :]), plane)
    assert np.array_equal(view.resample_back(plane), plane)


@pytest.mark.parametrize("pixel_nm", [4.0, 5.0, 11.0])
def test_slopes_survive_another_pixel_size_there_and_back(pixel_nm):
    (view,) = orthoviews.orthogonal_views((4, 60, 50), (40.0, pixel_nm, pixel_nm))
    slope = np.add.outer(np.arange(60), 2 * np.arange(50)).astype(np.float32)
    seen = view.resample(slope, np.s_[:, :])
    assert seen.shape == view.shape
    assert not any(n % orthoviews.SIDE_MULTIPLE for n in view.shape)
    inner = np.s_[5:-5, 5:-5]
    assert view.resample_back(seen)[inner] == pytest.approx(slope[inner], abs=0.25)


def test_a_window_shows_what_the_whole_plane_shows_there():
    (view,) = orthoviews.orthogonal_views((4, 300, 200), (40.0, 5.0, 5.0))
    plane = np.random.default_rng(0).random((300, 200), np.float32)
    window = np.s_[40:104, 24:80]
    assert view.resample(plane, window) == pytest.approx(
        view.resample(plane, np.s_[:, :])[window], abs=1e-5
    )


# The network


def test_an_untrained_network_repeats_the_evidence():
    stack = material()
    judged = unet.predict_logits(
        unet.build_network(None, 0, torch.device("cpu")), unet.prepare_input(stack)
    )
    assert judged == pytest.approx(unet.bounded_logit(stack.untrained_probability), abs=1e-4)


@pytest.mark.parametrize("turn", range(8))
def test_turning_a_plane_can_be_undone(turn):
    x = torch.arange(24).reshape(1, 1, 4, 6)
    assert torch.equal(unet.undo_reorient(unet.reorient(x, turn), turn), x)


def test_tiles_show_no_seams(monkeypatch):
    rng = np.random.default_rng(0)
    net = unet.build_network(None, 0, torch.device("cpu"))
    torch.nn.init.normal_(net.out.weight)  # so that what is far away can matter
    shape = (2, 208, 136)
    image, evidence = rng.normal(size=(2, *shape)).astype(np.float32)
    seen = unet.NetworkInput(image, evidence, orthoviews.orthogonal_views(shape, THICK))
    whole = unet.predict_logits(net, seen)
    monkeypatch.setattr(unet, "TILE", 64)
    assert unet.predict_logits(net, seen) == pytest.approx(whole, abs=1e-4)


def test_weights_of_another_network_are_refused():
    weights = unet.Trainer(None, 0, torch.device("cpu")).weights()
    weights["out.bias"] = np.zeros(2, np.float32)
    with pytest.raises(DataError, match=r"out\.bias"):
        unet.build_network(weights, 0, torch.device("cpu"))


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
def test_weights_that_are_no_finite_numbers_are_refused(name, value):
    weights = unet.Trainer(None, 0, torch.device("cpu")).weights()
    weights[name] = np.full(weights[name].shape, value)
    with pytest.raises(DataError, match=rf"damaged: {name}") as refused:
        unet.build_network(weights, 0, torch.device("cpu"))
    assert refused.value.remedy


@pytest.mark.parametrize(
    "change",
    [
        *({"trust": trust} for trust in (None, "much", True, -0.1, 1.5, [1.0])),
        {"voted": "yes"},
    ],
)
def test_models_that_do_not_say_how_far_to_believe_them_are_refused(change):
    weights = unet.Trainer(None, 0, torch.device("cpu")).weights()
    meta = {"trust": 1.0, "voted": False} | change
    with pytest.raises(DataError, match=r"trust is .* and voted") as refused:
        selftrain.apply_network(material(), (meta, weights), "cpu")
    assert refused.value.remedy
    with pytest.raises(DataError, match="trust is None"):
        selftrain.apply_network(material(), ({}, weights), "cpu")


def test_a_model_whose_judgement_is_no_number_is_refused():
    weights = unet.Trainer(None, 0, torch.device("cpu")).weights()
    weights["out.weight"][:] = np.float32(3e38)
    with pytest.raises(DataError, match="no finite number"):
        selftrain.apply_network(material(), ({"trust": 1}, weights), "cpu")


def test_a_device_that_is_not_there_is_refused():
    missing = "mps" if torch.cuda.is_available() else "cuda"
    if getattr(torch.backends, "mps", None) and torch.backends.mps.is_available():
        pytest.skip("this machine has an accelerator")
    with pytest.raises(UsageError, match=missing):
        unet.choose_device(missing)
    assert unet.choose_device("cpu").type == "cpu"


def test_judgements_take_on_the_distribution_of_the_evidence():
    rng = np.random.default_rng(0)
    evidence, logits = rng.random((2, *SHAPE)).astype(np.float32)
    tissue = rng.random(SHAPE) < 0.8
    rated = unet.correct_probability(20 * logits, evidence, tissue, 0.5)
    assert np.array_equal(np.sort(rated[tissue]), np.sort(evidence[tissue]))
    assert not rated[~tissue].any()


def test_without_trust_the_evidence_stays_as_it_is():
    stack = material()
    logits = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    assert np.array_equal(
        unet.correct_probability(logits, stack.untrained_probability, stack.mask, 0.0),
        stack.untrained_probability,
    )


# Lessons


def test_pseudo_labels_count_as_far_as_the_evidence_believes_them():
    stack = material(damaged=(5,))
    told = unet.build_training_data(stack, stack.labels, stack.untrained_probability, ())
    believed = np.where(told.target, stack.untrained_probability, 1 - stack.untrained_probability)
    sound = [z for z in range(8) if z != 5]
    assert told.weight[sound] == pytest.approx(believed[sound])
    assert not told.weight[5].any()


def test_what_a_person_said_counts_most():
    stack = material(proofread=(2, 6))
    told = unet.build_training_data(
        stack, np.ones(SHAPE, np.int32), stack.untrained_probability, (2,)
    )
    assert told.weight[2].min() > told.weight[[0, 6]].max()
    assert np.array_equal(told.target[2], unet.mask_interiors_3d(stack.labels[2:3], THICK)[0])
    assert told.target[6].all()


def test_outside_the_tissue_nothing_is_learned():
    stack = material()
    tissue = stack.mask.copy()
    tissue[:, :20] = False
    told = unet.build_training_data(
        replace(stack, mask=tissue), stack.labels, stack.untrained_probability, ()
    )
    assert not told.weight[:, :20].any()


def test_damaged_sections_are_seen_as_the_nearest_sound_one():
    seen = unet.prepare_input(material(damaged=(3, 4)))
    assert np.array_equal(seen.image[3], seen.image[2])
    assert np.array_equal(seen.image[4], seen.image[5])


def test_variation_is_drawn_from_the_seed_and_leaves_shapes_alone():
    patches = torch.randn(2, len(unet.CHANNELS), 16, 16, generator=torch.manual_seed(0))
    first, again, other = (unet.augment(np.random.default_rng(s), patches) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == patches.shape


def test_adapting_takes_statistics_from_the_stack_and_leaves_what_was_learned():
    stack = material()
    weights = model_files.read_model(THICK_START, unet.KIND)[1]
    first, again = (
        unet.adapt_normalisation(weights, unet.prepare_input(stack), stack.mask, seed)
        for seed in (1, 1)
    )
    changed = {name for name in weights if not np.array_equal(first[name], weights[name])}
    assert {name.rsplit(".", 1)[1] for name in changed} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    assert all(np.array_equal(first[name], again[name]) for name in first)


# Training


def test_a_few_proofread_sections_teach_where_membranes_are():
    stack = material(proofread=(1, 3, 5, 6))
    params = selftrain.UnetParams(minutes=None, epochs=40, rounds=1)
    learned = trained(stack, params, weights=model_files.read_model(THICK_START, unet.KIND)[1])
    unseen = [0, 2, 4, 7]
    inside = unet.mask_interiors_3d(stack.labels, THICK)[unseen]

    def separation(probability):
        """Share of pairs of a membrane and an inside voxel that are in order."""
        ranks = np.argsort(np.argsort(probability[unseen].ravel())).reshape(inside.shape)
        n_in, n_out = inside.sum(), (~inside).sum()
        return (ranks[inside].sum() - n_in * (n_in - 1) / 2) / (n_in * n_out)

    before, after = separation(stack.untrained_probability), separation(learned.probability)
    assert before < 0.75
    assert after > 0.85


def test_the_same_seed_gives_the_same_result():
    first, again, other = (trained(material(), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.probability, again.probability)
    assert not np.array_equal(first.arrays["out.weight"], other.arrays["out.weight"])


@pytest.mark.parametrize("start", [None, THICK_START])
def test_interrupted_training_goes_on_to_the_same_result(monkeypatch, start):
    monkeypatch.setattr(selftrain, "EXAMINE_EVERY", 3)
    params = selftrain.UnetParams(minutes=None, epochs=5, rounds=2)
    weights = model_files.read_model(start, unet.KIND)[1] if start else None
    whole = trained(material(proofread=(1, 4)), params, weights=weights)
    kept = []

    def interrupted(meta, arrays):
        kept.append((meta, arrays))
        if len(kept) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(material(proofread=(1, 4)), params, weights=weights, keep=interrupted)
    assert kept[-1][0]["rounds"]  # in the second round
    said = []
    going_on = {"weights": weights, "kept": kept[-1], "say": said.append}
    resumed = trained(material(proofread=(1, 4)), params, **going_on)
    assert "going on" in said[0]
    assert np.array_equal(resumed.probability, whole.probability)
    assert [r["curve"] for r in resumed.metrics["rounds"]] == [
        r["curve"] for r in whole.metrics["rounds"]
    ]


@pytest.mark.parametrize(
    ("stack", "seed"), [({}, 1), ({"proofread": (1, 2)}, 0)], ids=["seed", "corrections"]
)
def test_a_checkpoint_of_other_flags_or_corrections_is_refused(stack, seed):
    kept = []
    trained(material(), keep=lambda *parts: kept.append(parts))
    with pytest.raises(DataError, match="checkpoint"):
        trained(material(**stack), seed=seed, kept=kept[0])


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
def test_a_checkpoint_that_is_no_longer_whole_is_refused_with_what_to_do(change):
    kept = []
    trained(material(), keep=lambda *parts: kept.append(parts))
    meta, arrays = kept[0]
    change(meta, arrays)
    with pytest.raises(DataError, match="--restart"):
        trained(material(), kept=(meta, arrays))


def test_only_sections_that_say_something_are_learned_from_and_judged_by():
    stack = material(proofread=(1, 2, 3, 5, 7), damaged=(2,))
    said = stack.proofread.labels.copy()
    said[3] = 0
    stack = replace(stack, proofread=ProofreadSections(said, stack.proofread.sections))
    assert data.usable_sections(stack.proofread, stack.damaged_sections) == [1, 5, 7]
    metrics = trained(stack).metrics
    assert metrics["learned_sections"] == [1, 7]
    assert metrics["held_out_sections"] == [5]


def test_a_round_that_harms_is_dropped_and_said_to_be():
    stack = material(proofread=(1, 4))

    def worse_each_time(probability, held_back=(), voted=False):
        return (
            stack.labels if probability is stack.untrained_probability else np.ones(SHAPE, np.int32)
        )

    said = []
    learned = trained(replace(stack, segment=worse_each_time), message=said.append)
    (record,) = learned.metrics["rounds"]
    assert not record["kept"]
    assert record["voi_after"] > record["voi_before"]
    assert "dropped" in said[-1]
    assert np.array_equal(learned.probability, stack.untrained_probability)
    assert not learned.arrays


def test_rounds_are_judged_by_sections_they_have_not_learned_from():
    held_back = []
    stack = material(proofread=(0, 2, 4, 6))

    def noted(probability, sections=(), voted=False):
        held_back.append(tuple(sections))
        return stack.labels

    learned = trained(replace(stack, segment=noted))
    assert learned.metrics["held_out_sections"] == [2]
    assert learned.metrics["learned_sections"] == [0, 4, 6]
    assert set(held_back) == {(2,)}


def test_without_a_persons_word_labels_may_not_change_much():
    stack = material()
    halves = np.repeat([[1], [2]], 32, axis=0) * np.ones((8, 1, 64), np.int32)

    def unlike(probability, held_back=(), voted=False):
        return stack.labels if probability is stack.untrained_probability else halves

    (record,) = trained(replace(stack, segment=unlike)).metrics["rounds"]
    assert record["change"] > selftrain.LARGEST_CHANGE
    assert not record["kept"]


def test_a_network_from_elsewhere_is_adapted_and_kept_only_if_it_does_no_harm():
    weights = model_files.read_model(THICK_START, unet.KIND)[1]
    untrained = selftrain.UnetParams(minutes=1, rounds=0)
    said = []
    kept = trained(material(), untrained, weights=weights, message=said.append)
    assert kept.metrics["adapted"]["kept"]
    assert kept.voted
    assert kept.meta["voted"]
    assert "adapted to this stack, kept" in said[-1]
    stack = material()
    halves = np.repeat([[1], [2]], 32, axis=0) * np.ones((8, 1, 64), np.int32)

    def unlike(probability, held_back=(), voted=False):
        return halves if voted else stack.labels

    dropped = trained(replace(stack, segment=unlike), untrained, weights=weights)
    assert not dropped.metrics["adapted"]["kept"]
    assert not dropped.voted
    assert not dropped.arrays
    assert np.array_equal(dropped.probability, stack.untrained_probability)


def test_a_vote_is_chosen_where_held_out_sections_agree_with_it_best():
    stack = material(proofread=(1, 4))
    wrong = np.ones(SHAPE, np.int32)

    def best_by_vote(probability, held_back=(), voted=False):
        return stack.labels if voted else wrong

    weights = model_files.read_model(THICK_START, unet.KIND)[1]
    untrained = selftrain.UnetParams(minutes=1, rounds=0)
    assert trained(replace(stack, segment=best_by_vote), untrained, weights=weights).voted


def test_minutes_are_used_up():
    learned = trained(material(), selftrain.UnetParams(minutes=0.02, rounds=2))
    assert sum(r["seconds"] for r in learned.metrics["rounds"]) == pytest.approx(1.2, abs=0.8)


def test_thin_sections_can_be_trained_on():
    learned = trained(material(proofread=(2, 5), voxel_size=THIN))
    assert learned.probability.shape == SHAPE
    assert learned.meta["voxel_size_nm"] == list(THIN)


@pytest.mark.parametrize("proofread", [(), (1, 4)])
def test_the_figure_tells_of_every_round_and_its_verdict(proofread):
    from connectome.figures.training import draw_unet_training

    params = selftrain.UnetParams(minutes=None, epochs=1, rounds=2)
    metrics = trained(material(proofread), params).metrics
    figure = draw_unet_training(metrics, "phantom://neuropil")
    written = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    assert all(f"round {number}" in written for number in (1, 2))
    verdicts = ["kept" if record["kept"] else "rejected" for record in metrics["rounds"]]
    assert all(written.count(verdict) >= verdicts.count(verdict) for verdict in verdicts)


def test_the_figure_of_an_applied_model_says_that_nothing_was_trained():
    from connectome.figures.training import draw_unet_training

    figure = draw_unet_training({"rounds": [], "model": {}}, "phantom://neuropil")
    assert all("no training" in axes.texts[0].get_text() for axes in figure.axes)
