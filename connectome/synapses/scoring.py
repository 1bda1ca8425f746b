"""How likely a candidate is a synapse, and which of its neurites the presynaptic one.

Both are logistic models of a few measured things. Those that ship were learned on phantoms alone
(``benchmarks/learn_synapses.py``), with the sign of every weight given by anatomy: what is darker
and lies among more vesicles is never less likely a synapse, and what lies at a mitochondrion never
more likely. A person's verdicts teach the first model further, starting from there.
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
# Evidence by name, and the sign its weight may have; 0 for either.
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
DARKNESS_COLUMNS = ("peak", "darkness", "darkest", "rim_darkness")
SHARE_OFFSET, MIN_VESICLE_TEXTURE, MIN_SIZE = 0.02, 0.05, 1e-4
MAX_LOG_ODDS = 30.0  # log-odds beyond which a probability is 0 or 1 to the computer
# How far a few dozen verdicts are likely to move a weight, for evidence in standard deviations, and
# the log-odds of a typical candidate: far enough to do what `cap_density` does without them.
WEIGHT_SPREAD, BIAS_SPREAD = 0.6, 1.0
MIN_VERDICTS = 5  # of either kind, for there to be anything to learn
# How far the density of synapses varies from tissue to tissue, as a logarithm, and how far the
# log-odds of candidates may be off in a stack like none they were learned on.
DENSITY_SPREAD, STACK_SPREAD = 0.3, 5.0


@dataclass(frozen=True, eq=False)
class SynapseClassifier:
    """Two logistic models.

    Parameters
    ----------
    weights : ndarray of float, shape (F,)
        Of the evidence in `FEATURE_SIGNS`, in its own units.
    bias : float
    centre, spread : ndarray of float, shape (F,)
        Of the evidence where the weights were learned: that of typical candidates, neither clear
        nor hopeless, and the standard deviation.
    direction : ndarray of float, shape (D,)
        Weights of `DIRECTION_FEATURES`.
    taught : bool
        Whether verdicts on candidates of the stack itself have had a say.
    """

    weights: np.ndarray
    bias: float
    centre: np.ndarray
    spread: np.ndarray
    direction: np.ndarray
    retrained: bool = False

    def score(self, table: pd.DataFrame) -> np.ndarray:
        """Return the probability of each candidate being a synapse; shape (N,)."""
        odds = feature_matrix(table) @ self.weights + self.bias
        return 1 / (1 + np.exp(-np.clip(odds, -MAX_LOG_ODDS, MAX_LOG_ODDS)))

    def presynaptic_probability(self, near: Sequence) -> np.ndarray:
        """Return the probability of each neighbour being the presynaptic one; shape (N,).

        A conditional logit (McFadden 1974): exactly one of them is.

        Parameters
        ----------
        near : sequence of connectome.synapses.Neighbour
        """
        height = presynaptic_features(near) @ self.direction
        odds = np.exp(height - height.max())
        return odds / odds.sum()


def cap_density(scores: np.ndarray, usual: float) -> np.ndarray:
    """Lower the odds of all candidates alike if they promise more synapses than tissue holds.

    How dark a synapse is differs from stack to stack; how many there are in a µm³ differs less. The
    shift of all log-odds is the most likely one, if it is normally distributed about 0, and so is
    the logarithm of how many times the usual number the scores add up to, with the spread that
    counting few adds. Fewer than usual say nothing: not all tissue has synapses.

    Parameters
    ----------
    scores : ndarray of float, shape (N,)
        Probabilities of being a synapse.
    usual : float
        How many synapses so much tissue usually holds.

    Returns
    -------
    ndarray of float, shape (N,)
        In the same order.
    """
    from scipy.optimize import minimize_scalar

    if not 0 < usual < scores.sum():
        return scores
    odds = log_odds(scores)
    variance = DENSITY_SPREAD**2 + 1 / usual

    def lowered(shift):
        return 1 / (1 + np.exp(-(odds + shift)))

    def cost(shift):
        excess = max(np.log(lowered(shift).sum() / usual), 0.0)
        return (shift / STACK_SPREAD) ** 2 + excess**2 / variance

    return lowered(minimize_scalar(cost, bounds=(-4 * STACK_SPREAD, 0), method="bounded").x)


@cache
def default_classifier() -> SynapseClassifier:
    """Return the models that ship, learned on phantoms alone."""
    stored = json.loads(WEIGHTS.read_text())
    if stored["evidence"] != list(FEATURE_SIGNS) or stored["directions"] != list(
        DIRECTION_FEATURES
    ):
        raise ValueError(
            f"{WEIGHTS.name} was learned on other evidence: {stored['feature_matrix']}"
        )
    weights, centre, spread, direction = (
        np.array(stored[name], float) for name in ("weights", "centre", "spread", "direction")
    )
    return SynapseClassifier(weights, stored["bias"], centre, spread, direction)


def feature_matrix(table: pd.DataFrame) -> np.ndarray:
    """Turn what a table says of its candidates into evidence as `FEATURE_SIGNS` names it.

    Parameters
    ----------
    table : DataFrame
        Columns as `connectome.synapses.detect_synapses` returns.

    Returns
    -------
    ndarray of float, shape (N, F)
    """

    def both(name):
        return table[[f"{name}_pre", f"{name}_post"]].to_numpy(float)

    vesicles = np.log(np.maximum(both("vesicles"), MIN_VESICLE_TEXTURE))
    filling = both("filling")
    columns = [
        *(table[name].to_numpy(float) for name in DARKNESS_COLUMNS),
        table["distance_nm"].to_numpy(float) / 10,
        table["n_partners"].to_numpy(float),
        table["thickness_nm"].to_numpy(float) / 100,
        np.log(np.maximum(table["volume_um3"].to_numpy(float), MIN_SIZE / 10)),
        np.log(table["n_sections"].to_numpy(float)),
        table["n_sections"].to_numpy(float) == 1,
        np.log(np.maximum(table["contact_area_um2"].to_numpy(float), MIN_SIZE)),
        *(vesicles.max(axis=1, initial=-9), vesicles.min(axis=1, initial=9)),
        *(filling.max(axis=1, initial=-9), filling.min(axis=1, initial=9)),
    ]
    return np.column_stack(columns)


def log_odds(chances: np.ndarray) -> np.ndarray:
    """Return the log-odds of probabilities, finite for 0 and 1, too."""
    low = 1 / (1 + np.exp(MAX_LOG_ODDS))
    chances = np.clip(chances, low, 1 - low)
    return np.log(chances) - np.log1p(-chances)


def presynaptic_features(near: Sequence) -> np.ndarray:
    """Return the `DIRECTION_FEATURES` of each neurite; shape (N, D)."""
    return np.array(
        [
            [
                np.log(each.rim_share + SHARE_OFFSET),
                np.log(each.inner_share + SHARE_OFFSET),
                np.log(max(each.vesicle_texture, MIN_VESICLE_TEXTURE)),
                np.log(each.volume_um3 + MIN_SIZE),
            ]
            for each in near
        ]
    )


def fit_logistic(
    values: np.ndarray,
    verdicts: np.ndarray,
    about: tuple[np.ndarray, float],
    spreads: tuple[np.ndarray, float],
) -> tuple[np.ndarray, float]:
    """Fit a logistic model whose weights keep their signs, and are drawn towards given ones.

    It maximises the likelihood times a Gaussian prior about ``about``, by L-BFGS-B (Byrd et al.
    1995).

    Parameters
    ----------
    values : ndarray of float, shape (N, F)
        Evidence.
    verdicts : ndarray of bool, shape (N,)
        Whether each is a synapse.
    about : tuple of ndarray of float, shape (F,), and float
        Weights and bias that are most likely beforehand.
    spreads : tuple of ndarray of float, shape (F,), and float
        Standard deviations of that prior.

    Returns
    -------
    weights : ndarray of float, shape (F,)
    bias : float
    """
    from scipy.optimize import minimize

    design = np.column_stack([values, np.ones(len(values))])
    prior, width = (np.append(*pair) for pair in (about, spreads))

    def cost(b):
        height = design @ b
        away = (b - prior) / width
        likely = np.logaddexp(0, height) - verdicts * height
        slope = design.T @ (1 / (1 + np.exp(-height)) - verdicts) + away / width
        return likely.sum() + (away @ away) / 2, slope

    bounds = [
        {1: (0, None), -1: (None, 0), 0: (None, None)}[sign] for sign in FEATURE_SIGNS.values()
    ]
    found = minimize(cost, prior, jac=True, bounds=[*bounds, (None, None)], method="L-BFGS-B").x
    return found[:-1], float(found[-1])


def retrain_classifier(
    classifier: SynapseClassifier, candidates: pd.DataFrame, accepted: np.ndarray
) -> SynapseClassifier | None:
    """Let a person's verdicts teach which candidates are synapses.

    Parameters
    ----------
    judge : Judge
        What it was before.
    reviewed : DataFrame
        Candidates that have a verdict, with the columns of evidence.
    accepted : ndarray of bool, shape (N,)
        The verdicts.

    Returns
    -------
    Judge or None
        None where there are too few verdicts of one kind, or rows without evidence.
    """
    try:
        values = feature_matrix(candidates)
    except KeyError:
        return None
    known = np.isfinite(values).all(axis=1)
    values, accepted = values[known], np.asarray(accepted, bool)[known]
    if min(accepted.sum(), (~accepted).sum()) < MIN_VERDICTS:
        return None
    # About the typical candidate, so that what changes a weight does not shift all candidates.
    typical = classifier.bias + float(classifier.centre @ classifier.weights)
    spreads = WEIGHT_SPREAD / classifier.spread, BIAS_SPREAD
    about = classifier.weights, typical
    weights, typical = fit_logistic(values - classifier.centre, accepted, about, spreads)
    bias = typical - float(classifier.centre @ weights)
    return replace(classifier, weights=weights, bias=bias, retrained=True)
