"""The small neural networks that ship, and where their weights are kept."""

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
    """A small neural network: one hidden layer of rectified units, one logistic output.

    Parameters
    ----------
    hidden : ndarray of float32, shape (H, F)
        Weights of the hidden units.
    hidden_bias : ndarray of float32, shape (H,)
    output : ndarray of float32, shape (H,)
    output_bias : float
    """

    hidden: np.ndarray
    hidden_bias: np.ndarray
    output: np.ndarray
    output_bias: float

    def rescale_inputs(self, mean: np.ndarray, spread: np.ndarray) -> MembraneMLP:
        """Return the network that takes features as they are instead of standardised ones."""
        hidden = self.hidden / spread
        bias = self.hidden_bias - hidden @ mean
        return MembraneMLP(hidden, bias, self.output, self.output_bias)

    def predict_membrane(self, features: np.ndarray) -> np.ndarray:
        """Return the probability of membrane for features of shape (F, N)."""
        units = self.hidden @ features
        units += self.hidden_bias[:, None]
        np.maximum(units, 0, out=units)
        return 1 / (1 + np.exp(-(self.output @ units + self.output_bias)))


@cache
def load_membrane_mlp(n_axes: int) -> MembraneMLP:
    """Return the network that ships, for features of 2 or 3 axes.

    Its weights were learned on phantoms alone (``benchmarks/learn_membranes.py``).
    """
    stored = json.loads(WEIGHTS_PATH.read_text())[str(n_axes)]
    if stored["features"] != feature_names(n_axes):
        raise ValueError(f"{WEIGHTS_PATH.name} was learned on other features: {stored['features']}")
    arrays = (np.array(stored[name], np.float32) for name in ("hidden", "hidden_bias", "output"))
    return MembraneMLP(*arrays, stored["output_bias"])
