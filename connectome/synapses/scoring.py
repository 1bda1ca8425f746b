"""Score candidates: the probability of being a synapse, and which neurite is presynaptic.

Both are logistic models of a few measured features. The models that ship were trained on phantoms
alone (``benchmarks/learn_synapses.py``), with the sign of every weight fixed by anatomy: a darker
density among more vesicles is never less likely to be a synapse, and one beside a mitochondrion
never more likely. A person's verdicts retrain the first model, starting from its shipped weights.
The presynaptic side remains a heuristic.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd

from connectome.weights import weights_path

WEIGHTS = weights_path("synapse_weights.json")
# Features by name, and the sign that their weight may have.
FEATURE_SIGNS = {
    "peak": 1,
    "darkness": 1,
    "darkest": 1,
    "rim": 1,
    "distance": -1,
    "partners": 1,
    "thickness": 1,
    "volume": 1,
    "depth": 1,
    "alone": -1,
    "contact": 1,
    "more vesicles": 1,
    "fewer vesicles": 1,
    "more filling": -1,
    "less filling": -1,
}
DIRECTION_FEATURES = ("share", "deep", "vesicles", "volume")
DARKNESS_COLUMNS = ["peak", "darkness", "darkest", "rim_darkness"]
# Smallest values before a logarithm is taken.
MIN_SHARE, MIN_TEXTURE, MIN_UM3, MIN_UM2 = 0.02, 0.05, 1e-4, 1e-4
MAX_LOG_ODDS = 30.0  # beyond this a probability is numerically 0 or 1
# Standard deviations of the prior of a retrained model: of a weight, for features scaled to unit
# variance, and of the log-odds of a typical candidate, wide enough to make up for `cap_density`.
WEIGHT_SD, BIAS_SD = 0.6, 1.0
MIN_VERDICTS = 5  # of either kind, to retrain
# Standard deviation of the logarithm of the density of synapses between tissues, and of the shift
# of all log-odds in a stack unlike the training data.
LOG_DENSITY_SD, SHIFT_SD = 0.3, 5.0


@dataclass(frozen=True, eq=False)
class AdjacentNeurite:
    """Measurements of one neurite beside a density.

    Parameters
    ----------
    id : int
        Neurite id.
    rim_share : float
        Share of the darkness of the density and its rim that lies in this neurite.
    inner_share : float
        Share of the dark material further inside than a membrane reaches.
    volume_um3 : float
        Volume of the neurite around the density, in µm³.
    vesicle_texture : float
        Texture of its cytoplasm; 1 is the median of the stack.
    cytoplasm_darkness : float
        Darkness of its cytoplasm, which mitochondria raise.
    """

    id: int
    rim_share: float
    inner_share: float
    volume_um3: float
    vesicle_texture: float
    cytoplasm_darkness: float


@dataclass(frozen=True, eq=False)
class SynapseClassifier:
    """Two logistic models: of a candidate being a synapse, and of its presynaptic side.

    Parameters
    ----------
    weights : ndarray of float, shape (F,)
        Of the features in `FEATURE_SIGNS`, in their own units.
    bias : float
        Log-odds where all features are 0.
    centre, spread : ndarray of float, shape (F,)
        Features of a typical training candidate, neither clearly a synapse nor clearly none, and
        the standard deviation of each feature.
    direction : ndarray of float, shape (D,)
        Weights of `DIRECTION_FEATURES`.
    retrained : bool
        Whether it was retrained on verdicts on candidates of the stack itself.
    """

    weights: np.ndarray
    bias: float
    centre: np.ndarray
    spread: np.ndarray
    direction: np.ndarray
    retrained: bool = False

    def score(self, candidates: pd.DataFrame) -> np.ndarray:
        """Return the probability of each candidate being a synapse; shape (N,)."""
        odds = feature_matrix(candidates) @ self.weights + self.bias
        return 1 / (1 + np.exp(-np.clip(odds, -MAX_LOG_ODDS, MAX_LOG_ODDS)))

    def presynaptic_probability(self, neurites: Sequence[AdjacentNeurite]) -> np.ndarray:
        """Return the probability of each neurite being the presynaptic one; shape (N,).

        A conditional logit (McFadden 1974), since exactly one of them is. It is a heuristic.

        Parameters
        ----------
        neurites : sequence of AdjacentNeurite
            Those around one density.
        """
        utility = presynaptic_features(neurites) @ self.direction
        odds = np.exp(utility - utility.max())
        return odds / odds.sum()


@cache
def default_classifier() -> SynapseClassifier:
    """Return the models that ship, trained on phantoms alone."""
    stored = json.loads(WEIGHTS.read_text())
    if stored["evidence"] != list(FEATURE_SIGNS) or stored["directions"] != list(
        DIRECTION_FEATURES
    ):
        raise ValueError(f"{WEIGHTS.name} was trained on other features: {stored['evidence']}")
    return SynapseClassifier(
        weights=np.array(stored["weights"], float),
        bias=stored["bias"],
        centre=np.array(stored["centre"], float),
        spread=np.array(stored["spread"], float),
        direction=np.array(stored["direction"], float),
    )


def cap_density(scores: np.ndarray, expected: float) -> np.ndarray:
    """Lower the odds of all candidates alike if they add up to more synapses than expected.

    The darkness of synapses differs between stacks more than their number per µm³ does. The shift
    of all log-odds is the most likely one if it is normally distributed about 0 (`SHIFT_SD`), and
    the logarithm of the ratio of the sum of the scores to the expected number is, too
    (`LOG_DENSITY_SD`, plus counting noise). Scores that add up to fewer are left as they are: not
    all tissue has synapses.

    Parameters
    ----------
    scores : ndarray of float, shape (N,)
        Probabilities of being a synapse.
    expected : float
        Number of synapses in this volume of neuropil.

    Returns
    -------
    ndarray of float, shape (N,)
        In the same order.
    """
    from scipy.optimize import minimize_scalar

    if not 0 < expected < scores.sum():
        return scores
    odds = log_odds(scores)
    variance = LOG_DENSITY_SD**2 + 1 / expected

    def shifted(shift):
        return 1 / (1 + np.exp(-(odds + shift)))

    def cost(shift):
        excess = max(np.log(shifted(shift).sum() / expected), 0.0)
        return (shift / SHIFT_SD) ** 2 + excess**2 / variance

    return shifted(minimize_scalar(cost, bounds=(-4 * SHIFT_SD, 0), method="bounded").x)


def feature_matrix(candidates: pd.DataFrame) -> np.ndarray:
    """Compute the features in `FEATURE_SIGNS` from the columns of a table of candidates.

    Parameters
    ----------
    candidates : DataFrame
        Columns as `connectome.synapses.detect_synapses` returns.

    Returns
    -------
    ndarray of float, shape (N, F)
    """

    def column(*names):
        return candidates[names[0] if len(names) == 1 else list(names)].to_numpy(float)

    vesicles = np.log(np.maximum(column("vesicles_pre", "vesicles_post"), MIN_TEXTURE))
    filling = column("filling_pre", "filling_post")
    features = [
        *(column(name) for name in DARKNESS_COLUMNS),
        column("distance_nm") / 10,
        column("n_partners"),
        column("thickness_nm") / 100,
        np.log(np.maximum(column("volume_um3"), MIN_UM3 / 10)),
        np.log(column("n_sections")),
        column("n_sections") == 1,
        np.log(np.maximum(column("contact_area_um2"), MIN_UM2)),
        # Maximum and minimum of the two sides: independent of which is called presynaptic.
        *(vesicles.max(axis=1, initial=-9), vesicles.min(axis=1, initial=9)),
        *(filling.max(axis=1, initial=-9), filling.min(axis=1, initial=9)),
    ]
    return np.column_stack(features)


def presynaptic_features(neurites: Sequence[AdjacentNeurite]) -> np.ndarray:
    """Return the `DIRECTION_FEATURES` of each neurite; shape (N, D)."""
    return np.array(
        [
            [
                np.log(neurite.rim_share + MIN_SHARE),
                np.log(neurite.inner_share + MIN_SHARE),
                np.log(max(neurite.vesicle_texture, MIN_TEXTURE)),
                np.log(neurite.volume_um3 + MIN_UM3),
            ]
            for neurite in neurites
        ]
    )


def log_odds(probability: np.ndarray) -> np.ndarray:
    """Return the log-odds of probabilities, finite for 0 and 1, too."""
    low = 1 / (1 + np.exp(MAX_LOG_ODDS))
    probability = np.clip(probability, low, 1 - low)
    return np.log(probability) - np.log1p(-probability)


def fit_logistic(
    features: np.ndarray,
    is_synapse: np.ndarray,
    *,
    prior_weights: np.ndarray,
    prior_bias: float,
    weight_sd: np.ndarray,
    bias_sd: float,
) -> tuple[np.ndarray, float]:
    """Fit a logistic model with a Gaussian prior, whose weights keep the signs of `FEATURE_SIGNS`.

    It maximises the posterior by L-BFGS-B (Byrd et al. 1995).

    Parameters
    ----------
    features : ndarray of float, shape (N, F)
        As `feature_matrix` returns.
    is_synapse : ndarray of bool, shape (N,)
        Whether each candidate is a synapse.
    prior_weights : ndarray of float, shape (F,)
        Means of the prior of the weights.
    prior_bias : float
        Mean of the prior of the bias.
    weight_sd : ndarray of float, shape (F,)
        Standard deviations of the prior of the weights.
    bias_sd : float
        Standard deviation of the prior of the bias.

    Returns
    -------
    weights : ndarray of float, shape (F,)
    bias : float
    """
    from scipy.optimize import minimize

    design = np.column_stack([features, np.ones(len(features))])
    mean, sd = np.append(prior_weights, prior_bias), np.append(weight_sd, bias_sd)

    def cost(coefficients):
        odds = design @ coefficients
        deviation = (coefficients - mean) / sd
        loss = np.logaddexp(0, odds) - is_synapse * odds
        gradient = design.T @ (1 / (1 + np.exp(-odds)) - is_synapse) + deviation / sd
        return loss.sum() + (deviation @ deviation) / 2, gradient

    lower = [0 if sign > 0 else None for sign in FEATURE_SIGNS.values()] + [None]
    upper = [0 if sign < 0 else None for sign in FEATURE_SIGNS.values()] + [None]
    bounds = list(zip(lower, upper, strict=True))
    fitted = minimize(cost, mean, jac=True, bounds=bounds, method="L-BFGS-B").x
    return fitted[:-1], float(fitted[-1])


def retrain_classifier(
    classifier: SynapseClassifier, candidates: pd.DataFrame, accepted: np.ndarray
) -> SynapseClassifier | None:
    """Retrain the model of candidates on a person's verdicts.

    Parameters
    ----------
    classifier : SynapseClassifier
        The model to start from.
    candidates : DataFrame
        Candidates that have a verdict, with the columns of `feature_matrix`.
    accepted : ndarray of bool, shape (N,)
        The verdicts.

    Returns
    -------
    SynapseClassifier or None
        None where there are fewer than `MIN_VERDICTS` of either kind, or features are missing.
    """
    try:
        features = feature_matrix(candidates)
    except KeyError:
        return None
    complete = np.isfinite(features).all(axis=1)
    features, accepted = features[complete], np.asarray(accepted, bool)[complete]
    if min(accepted.sum(), (~accepted).sum()) < MIN_VERDICTS:
        return None
    # Centred on the typical candidate, so that a change of a weight does not shift all scores.
    offset = float(classifier.centre @ classifier.weights)
    weights, bias = fit_logistic(
        features - classifier.centre,
        accepted,
        prior_weights=classifier.weights,
        prior_bias=classifier.bias + offset,
        weight_sd=WEIGHT_SD / classifier.spread,
        bias_sd=BIAS_SD,
    )
    bias -= float(classifier.centre @ weights)
    return replace(classifier, weights=weights, bias=bias, retrained=True)
