"""The state of self-training, as saved in checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from connectome.core.errors import DataError
from connectome.refine.unet.network import are_valid_weights

Arrays = dict[str, np.ndarray]

# Names in the file, by field.
VALUES = {
    "adaptation": "begun",
    "rounds": "rounds",
    "step": "step",
    "seconds": "seconds",
    "curve": "curve",
}
WEIGHTS = {
    "accepted_weights": "kept",
    "current_weights": "now",
    "optimiser_state": "momentum",
    "best_weights": "best",
}


@dataclass
class Checkpoint:
    """The state of self-training: all that is needed to resume it.

    Parameters
    ----------
    adaptation : dict
        Record of the adapted start network; empty if it was not adapted.
    rounds : list of dict
        Records of the finished rounds.
    accepted_weights : dict of ndarray
        Weights of the last round that was kept, or of the adapted network if that was kept; empty
        if none was.
    step : int
        Optimiser steps of the current round so far.
    seconds : float
        Time they took.
    curve : list of list
        Step, training loss and validation loss of each validation in the current round.
    current_weights, optimiser_state : dict of ndarray
        The network in training and its optimiser.
    best_weights : dict of ndarray
        Weights with the smallest validation loss of the current round.
    """

    adaptation: dict[str, Any] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    accepted_weights: Arrays = field(default_factory=dict)
    step: int = 0
    seconds: float = 0.0
    curve: list[list[float]] = field(default_factory=list)
    current_weights: Arrays = field(default_factory=dict)
    optimiser_state: Arrays = field(default_factory=dict)
    best_weights: Arrays = field(default_factory=dict)

    @property
    def validation_losses(self) -> list[float]:
        """Validation losses of the current round so far."""
        return [validation_loss for _, _, validation_loss in self.curve]

    def end_round(self, record: dict[str, Any]) -> None:
        """Add the record of the current round, and accept its best weights if it was kept."""
        self.rounds.append(record | {"curve": self.curve})
        if record["kept"]:
            self.accepted_weights = self.best_weights
        self.step, self.seconds, self.curve = 0, 0.0, []
        self.current_weights, self.optimiser_state, self.best_weights = {}, {}, {}

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """Return the state to be saved: JSON serialisable values, and arrays."""
        values = {stored: getattr(self, name) for name, stored in VALUES.items()}
        arrays = {
            f"{stored} {path}": array
            for name, stored in WEIGHTS.items()
            for path, array in getattr(self, name).items()
        }
        return values, arrays

    @classmethod
    def from_arrays(cls, values: dict[str, Any], arrays: Arrays) -> Checkpoint:
        """Restore the state that `to_arrays` returned.

        Raises
        ------
        DataError
            If it is damaged or was saved by another version.
        """
        field_of = {stored: name for name, stored in WEIGHTS.items()}
        try:
            checkpoint = cls(
                adaptation=dict(values["begun"]),
                rounds=list(values["rounds"]),
                step=int(values["step"]),
                seconds=float(values["seconds"]),
                curve=list(values["curve"]),
            )
            for path, array in arrays.items():
                stored, name = path.split(" ", 1)
                getattr(checkpoint, field_of[stored])[name] = array
            valid = checkpoint._is_valid()
        except (KeyError, ValueError, TypeError, OverflowError):
            valid = False
        if not valid:
            raise DataError(
                "the checkpoint is damaged, or was made by another version",
                "training cannot resume from it",
                "--restart to start training again",
            )
        return checkpoint

    def _is_valid(self) -> bool:
        """Return whether training can resume from this state."""
        has_weights = bool(self.current_weights and self.best_weights)
        if has_weights != bool(self.curve):
            return False
        rounds: list[Any] = self.rounds  # from a file that may be damaged
        if not all(isinstance(record, dict) and "kept" in record for record in rounds):
            return False
        if len(np.asarray(self.curve, float).reshape(-1, 3)) != len(self.curve):
            return False
        saved = (self.accepted_weights, self.current_weights, self.best_weights)
        return all(are_valid_weights(weights) for weights in saved if weights)
