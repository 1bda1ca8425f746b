"""Scores of candidates, and retraining on verdicts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from connectome.synapses.candidates import AdjacentNeurite
from connectome.synapses.scoring import (
    DIRECTION_FEATURES,
    FEATURE_SIGNS,
    MIN_VERDICTS,
    cap_density,
    default_classifier,
    feature_matrix,
    fit_logistic,
    retrain_classifier,
)

TYPICAL = {
    **{"peak": 1.3, "darkness": 1.3, "darkest": 1.5, "rim_darkness": 0.5, "distance_nm": 0.0},
    **{"vesicles_pre": 1.5, "vesicles_post": 1.0, "filling_pre": 0.1, "filling_post": 0.1},
    **{"thickness_nm": 50.0, "contact_area_um2": 0.01, "volume_um3": 1e-3, "n_partners": 2},
    **{"z_first": 3, "z_last": 5, "n_sections": 3},
}


def neurite(rim_share=0.3, inner_share=0.3):
    return AdjacentNeurite(
        id=1,
        rim_share=rim_share,
        inner_share=inner_share,
        volume_um3=0.01,
        vesicle_texture=1.0,
        cytoplasm_darkness=0.15,
    )


def rows(**columns):
    n = max((len(values) for values in columns.values()), default=1)
    return pd.DataFrame([TYPICAL] * n).assign(**columns)


@pytest.mark.parametrize(
    ("column", "better"),
    [
        ("darkness", [1.1, 1.3, 1.6]),
        ("distance_nm", [30.0, 10.0, 0.0]),
        ("filling_pre", [0.9, 0.5, 0.1]),
        ("n_partners", [1, 2, 3]),
        ("n_sections", [1, 2, 3]),
        ("vesicles_post", [0.5, 1.0, 1.5]),
    ],
)
def test_features_expected_of_a_synapse_never_lower_the_score(column, better):
    scores = default_classifier().score(rows(**{column: better}))
    assert (np.diff(scores) >= 0).all()
    assert ((scores > 0) & (scores < 1)).all()


def test_shipped_weights_have_the_signs_fixed_by_anatomy():
    classifier = default_classifier()
    for weight, sign in zip(classifier.weights, FEATURE_SIGNS.values(), strict=True):
        assert weight * sign >= 0
    assert classifier.weights.any()
    assert len(classifier.direction) == len(DIRECTION_FEATURES)
    assert classifier.direction[0] > 0


def test_features_do_not_depend_on_which_side_is_presynaptic():
    table = rows(vesicles_pre=[2.0], vesicles_post=[0.5], filling_pre=[0.4], filling_post=[0.1])
    reversed_ = rows(vesicles_pre=[0.5], vesicles_post=[2.0], filling_pre=[0.1], filling_post=[0.4])
    np.testing.assert_allclose(feature_matrix(table), feature_matrix(reversed_))


def test_an_empty_table_has_no_scores():
    assert default_classifier().score(rows().head(0)).shape == (0,)


@pytest.mark.parametrize("scores", [[0.9, 0.8, 0.1], [0.0, 1.0], [1e-12] * 50, []])
def test_scores_below_the_expected_density_are_unchanged(scores):
    np.testing.assert_array_equal(cap_density(np.array(scores), 2.5), scores)


def test_excess_density_lowers_all_scores_and_keeps_the_best():
    scores = 1 / (1 + np.exp(-np.linspace(5, -5, 101)))
    lowered = cap_density(scores, 10.0)
    assert (lowered < scores).all()
    assert (np.diff(lowered) < 0).all()
    assert 10 < lowered.sum() < 14
    assert 5 <= (lowered >= 0.5).sum() <= 14


def test_a_clear_synapse_in_little_tissue_is_kept():
    assert cap_density(np.array([0.97]), 0.3)[0] > 0.5


@given(
    hnp.arrays(float, st.integers(1, 40), elements=st.floats(1e-13, 1 - 1e-13)),
    st.floats(1e-3, 1e3),
)
def test_capping_never_raises_a_score_nor_changes_the_order(scores, expected):
    lowered = cap_density(scores, expected)
    assert (lowered <= scores).all()
    order = np.argsort(scores, kind="stable")
    assert (np.diff(lowered[order]) >= 0).all()


def test_the_neurite_that_contains_the_density_is_most_likely_presynaptic():
    neurites = [neurite(0.2, 0.1), neurite(0.7, 0.8), neurite(0.1, 0.1)]
    probability = default_classifier().presynaptic_probability(neurites)
    assert probability.argmax() == 1
    assert probability.sum() == pytest.approx(1)
    alike = [neurite(), neurite()]
    assert default_classifier().presynaptic_probability(alike) == pytest.approx([0.5, 0.5])


def weak_prior(sd):
    n = len(FEATURE_SIGNS)
    return {
        "prior_weights": np.zeros(n),
        "prior_bias": 0.0,
        "weight_sd": np.full(n, sd),
        "bias_sd": sd,
    }


def test_a_fit_recovers_known_weights():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20_000, len(FEATURE_SIGNS)))
    true = np.array([sign * 0.5 for sign in FEATURE_SIGNS.values()])
    probability = 1 / (1 + np.exp(-(features @ true - 1)))
    is_synapse = rng.random(len(features)) < probability
    weights, bias = fit_logistic(features, is_synapse, **weak_prior(100.0))
    np.testing.assert_allclose(weights, true, atol=0.1)
    assert bias == pytest.approx(-1, abs=0.1)


def test_a_fit_keeps_the_signs():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(500, len(FEATURE_SIGNS)))
    is_synapse = features[:, 0] < 0  # lighter densities: against the sign of the weight
    weights, _ = fit_logistic(features, is_synapse, **weak_prior(10.0))
    assert weights[0] == pytest.approx(0, abs=1e-6)


def reviewed(n=40, seed=0):
    """Return candidates of which a person accepts those with a dark rim."""
    rng = np.random.default_rng(seed)
    rim = rng.uniform(0.2, 0.9, n)
    return rows(rim_darkness=rim, darkness=rng.uniform(1.1, 1.5, n)), rim > 0.55


def test_retraining_improves_the_ranking_in_this_stack():
    table, accepted = reviewed()
    classifier = default_classifier()
    retrained = retrain_classifier(classifier, table, accepted)
    others, right = reviewed(200, seed=1)

    def ranking_quality(classifier):
        scores = classifier.score(others)
        return (scores[right][:, None] > scores[~right]).mean()

    assert ranking_quality(retrained) > ranking_quality(classifier) + 0.05
    np.testing.assert_array_equal(retrained.direction, classifier.direction)


def test_verdicts_that_agree_with_the_scores_change_little():
    table, _ = reviewed()
    classifier = default_classifier()
    likely = classifier.score(table)
    retrained = retrain_classifier(
        classifier, table, np.random.default_rng(2).random(len(table)) < likely
    )
    if retrained is not None:
        assert np.abs(retrained.score(table) - likely).mean() < 0.12


@pytest.mark.parametrize("kind", [True, False])
def test_too_few_verdicts_of_one_kind_do_not_retrain(kind):
    table, _ = reviewed(30)
    verdicts = np.full(30, kind)
    verdicts[: MIN_VERDICTS - 1] = not kind
    assert retrain_classifier(default_classifier(), table, verdicts) is None


def test_rows_with_missing_features_do_not_retrain():
    table, accepted = reviewed()
    assert (
        retrain_classifier(default_classifier(), table.drop(columns="darkness"), accepted) is None
    )
    gaps = table.assign(darkness=np.nan)
    assert retrain_classifier(default_classifier(), gaps, accepted) is None
    some = table.astype(float)
    some.iloc[30:] = np.nan
    assert retrain_classifier(default_classifier(), some, accepted) is not None


def test_retraining_leaves_the_original_classifier_unchanged():
    classifier = default_classifier()
    before = classifier.weights.copy(), classifier.bias
    retrain_classifier(classifier, *reviewed())
    np.testing.assert_array_equal(classifier.weights, before[0])
    assert classifier.bias == before[1]
    assert replace(classifier).weights is classifier.weights
