"""Who says how likely a candidate is a synapse, and how verdicts teach."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

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

USUAL = {
    **{"peak": 1.3, "darkness": 1.3, "darkest": 1.5, "rim_darkness": 0.5, "distance_nm": 0.0},
    **{"vesicles_pre": 1.5, "vesicles_post": 1.0, "filling_pre": 0.1, "filling_post": 0.1},
    **{"thickness_nm": 50.0, "contact_area_um2": 0.01, "volume_um3": 1e-3, "n_partners": 2},
    **{"z_first": 3, "z_last": 5, "n_sections": 3},
}


@dataclass(frozen=True)
class Neighbour:
    rim_share: float = 0.3
    inner_share: float = 0.3
    vesicle_texture: float = 1.0
    volume_um3: float = 0.01


def rows(**columns):
    n = max((len(values) for values in columns.values()), default=1)
    return pd.DataFrame([USUAL] * n).assign(**columns)


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
def test_what_anatomy_expects_of_a_synapse_makes_it_no_less_likely(column, better):
    scores = default_classifier().score(rows(**{column: better}))
    assert (np.diff(scores) >= 0).all()
    assert ((scores > 0) & (scores < 1)).all()


def test_the_weights_that_ship_have_the_signs_of_anatomy():
    judge = default_classifier()
    for weight, sign in zip(judge.weights, FEATURE_SIGNS.values(), strict=True):
        assert weight * sign >= 0
    assert judge.weights.any()
    assert len(judge.direction) == len(DIRECTION_FEATURES)
    assert judge.direction[0] > 0


def test_which_side_is_pre_does_not_change_the_evidence():
    table = rows(vesicles_pre=[2.0], vesicles_post=[0.5], filling_pre=[0.4], filling_post=[0.1])
    turned = rows(vesicles_pre=[0.5], vesicles_post=[2.0], filling_pre=[0.1], filling_post=[0.4])
    np.testing.assert_allclose(feature_matrix(table), feature_matrix(turned))


def test_no_candidates_have_no_scores():
    assert default_classifier().score(rows().head(0)).shape == (0,)


@pytest.mark.parametrize("scores", [[0.9, 0.8, 0.1], [0.0, 1.0], [1e-12] * 50, []])
def test_as_many_as_tissue_holds_stay_as_likely_as_they_are(scores):
    np.testing.assert_array_equal(cap_density(np.array(scores), 2.5), scores)


def test_where_there_are_too_many_all_are_less_likely_and_the_best_remain():
    scores = 1 / (1 + np.exp(-np.linspace(5, -5, 101)))
    lowered = cap_density(scores, 10.0)
    assert (lowered < scores).all()
    assert (np.diff(lowered) < 0).all()
    assert 10 < lowered.sum() < 14
    assert 5 <= (lowered >= 0.5).sum() <= 14


def test_a_clear_synapse_in_hardly_any_tissue_remains_one():
    assert cap_density(np.array([0.97]), 0.3)[0] > 0.5


@given(
    hnp.arrays(float, st.integers(1, 40), elements=st.floats(1e-13, 1 - 1e-13)),
    st.floats(1e-3, 1e3),
)
def test_density_never_makes_a_candidate_likelier_nor_changes_their_order(scores, usual):
    lowered = cap_density(scores, usual)
    assert (lowered <= scores).all()
    order = np.argsort(scores, kind="stable")
    assert (np.diff(lowered[order]) >= 0).all()


def test_the_neighbour_that_holds_the_density_is_likeliest_presynaptic():
    near = [Neighbour(0.2, 0.1), Neighbour(0.7, 0.8), Neighbour(0.1, 0.1)]
    chances = default_classifier().presynaptic_probability(near)
    assert chances.argmax() == 1
    assert chances.sum() == pytest.approx(1)
    assert default_classifier().presynaptic_probability(
        [Neighbour(), Neighbour()]
    ) == pytest.approx([0.5, 0.5])


def test_a_fit_finds_known_weights():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20_000, len(FEATURE_SIGNS)))
    true = np.array([sign * 0.5 for sign in FEATURE_SIGNS.values()])
    chances = 1 / (1 + np.exp(-(values @ true - 1)))
    verdicts = rng.random(len(values)) < chances
    free = np.full(len(FEATURE_SIGNS), 100.0), 100.0
    weights, bias = fit_logistic(values, verdicts, (np.zeros(len(FEATURE_SIGNS)), 0.0), free)
    np.testing.assert_allclose(weights, true, atol=0.1)
    assert bias == pytest.approx(-1, abs=0.1)


def test_a_fit_keeps_the_signs():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(500, len(FEATURE_SIGNS)))
    verdicts = values[:, 0] < 0  # the lighter the likelier: never
    free = np.full(len(FEATURE_SIGNS), 10.0), 10.0
    weights, _ = fit_logistic(values, verdicts, (np.zeros(len(FEATURE_SIGNS)), 0.0), free)
    assert weights[0] == pytest.approx(0, abs=1e-6)


def reviewed(n=40, seed=0):
    """Candidates that a person believes where the rim is dark, whatever the default judge says."""
    rng = np.random.default_rng(seed)
    rim = rng.uniform(0.2, 0.9, n)
    return rows(rim_darkness=rim, darkness=rng.uniform(1.1, 1.5, n)), rim > 0.55


def test_verdicts_teach_what_counts_in_this_stack():
    table, accepted = reviewed()
    judge = default_classifier()
    taught = retrain_classifier(judge, table, accepted)
    others, right = reviewed(200, seed=1)

    def order(judge):
        scores = judge.score(others)
        return (scores[right][:, None] > scores[~right]).mean()

    assert order(taught) > order(judge) + 0.05
    np.testing.assert_array_equal(taught.direction, judge.direction)


def test_verdicts_that_say_what_was_thought_change_little():
    table, _ = reviewed()
    judge = default_classifier()
    likely = judge.score(table)
    taught = retrain_classifier(judge, table, np.random.default_rng(2).random(len(table)) < likely)
    if taught is not None:
        assert np.abs(taught.score(table) - likely).mean() < 0.12


@pytest.mark.parametrize("kind", [True, False])
def test_too_few_verdicts_of_one_kind_teach_nothing(kind):
    table, _ = reviewed(30)
    verdicts = np.full(30, kind)
    verdicts[: MIN_VERDICTS - 1] = not kind
    assert retrain_classifier(default_classifier(), table, verdicts) is None


def test_rows_without_evidence_teach_nothing():
    table, accepted = reviewed()
    assert (
        retrain_classifier(default_classifier(), table.drop(columns="darkness"), accepted) is None
    )
    gaps = table.assign(darkness=np.nan)
    assert retrain_classifier(default_classifier(), gaps, accepted) is None
    some = table.astype(float)
    some.iloc[30:] = np.nan
    assert retrain_classifier(default_classifier(), some, accepted) is not None


def test_a_judge_is_not_changed_by_what_another_learns():
    judge = default_classifier()
    before = judge.weights.copy(), judge.bias
    retrain_classifier(judge, *reviewed())
    np.testing.assert_array_equal(judge.weights, before[0])
    assert judge.bias == before[1]
    assert replace(judge).weights is judge.weights
