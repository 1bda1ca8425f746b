"""The multilayer perceptrons that predict membranes, with the weights that ship."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

import numpy as np

from connectome.membranes.features import feature_names
from connectome.weights import weights_path

WEIGHTS_PATH = weights_path("membrane_networks.json")


@dataclass(frozen=True, eq=False)
class MembraneMLP:
    """A multilayer perceptron: one hidden layer of rectified units, one logistic output.

    Parameters
    ----------
    hidden : ndarray of float32, shape (H, F)
        Weights of the hidden units.
    hidden_bias : ndarray of float32, shape (H,)
    output : ndarray of float32, shape (H,)
        Weights of the output.
    output_bias : float
    """

    hidden: np.ndarray
    hidden_bias: np.ndarray
    output: np.ndarray
    output_bias: float

    def rescale_inputs(self, mean: np.ndarray, std: np.ndarray) -> MembraneMLP:
        """Return an equivalent network for features that are not standardised.

        Parameters
        ----------
        mean, std : ndarray of float, shape (F,)
            By which the features would have been standardised.
        """
        hidden = self.hidden / std
        bias = self.hidden_bias - hidden @ mean
        return MembraneMLP(hidden, bias, self.output, self.output_bias)

    def predict_membrane(self, features: np.ndarray) -> np.ndarray:
        """Return the probability of membrane, of shape (N,), for features of shape (F, N)."""
        units = self.hidden @ features
        units += self.hidden_bias[:, None]
        np.maximum(units, 0, out=units)
        return 1 / (1 + np.exp(-(self.output @ units + self.output_bias)))


@cache
def load_membrane_mlp(n_axes: int) -> MembraneMLP:
    """Load the network that ships for features of 2 or 3 axes.

    It was trained on phantoms only (``benchmarks/learn_membranes.py``).

    Raises
    ------
    ValueError
        If it was trained on other features.
    """
    stored = json.loads(WEIGHTS_PATH.read_text())[str(n_axes)]
    if stored["features"] != feature_names(n_axes):
        raise ValueError(f"{WEIGHTS_PATH.name} was trained on other features: {stored['features']}")
    return MembraneMLP(
        hidden=np.array(stored["hidden"], np.float32),
        hidden_bias=np.array(stored["hidden_bias"], np.float32),
        output=np.array(stored["output"], np.float32),
        output_bias=stored["output_bias"],
    )
