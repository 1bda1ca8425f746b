"""Rounds of self-training, each on the labels of the round before, kept only if they do no harm.

A network trained on its own errors reinforces them. A round is therefore kept only if its labels
agree with held-out proofread sections at least as well as those before. Where no section is
proofread, it is kept only if the validation loss decreased and the labels changed no more than
such training can justify.

Before the first round, the network trained on phantoms is adapted to the stack without any label,
and its labels are tested like those of a round. Where no section is proofread, the network never
decides alone: it and the untrained prediction vote on which supervoxels are joined.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from connectome.core.errors import DataError
from connectome.refine.data import (
    Message,
    ProgressBar,
    RefinedResult,
    TrainingStack,
    no_progress_bar,
    split_held_out,
    usable_sections,
)
from connectome.refine.unet import network
from connectome.refine.unet.checkpoint import Arrays, Checkpoint
from connectome.refine.unet.data import (
    BATCH,
    TrainingData,
    build_training_data,
    prepare_input,
    sample_patches,
)
from connectome.refine.unet.prediction import correct_probability, predict_logits
from connectome.refine.unet.trainer import (
    ADAPTATION_BATCHES,
    Trainer,
    adapt_normalisation,
    learning_rate_factor,
)

LEARNING_RATE = 2e-3
VALIDATION_INTERVAL = 50  # steps
VALIDATION_BATCHES = 3
PATIENCE = 6  # validations without improvement that end a round of a given number of epochs
HELD_OUT_INTERVAL = 8  # one section in so many is held out where none is proofread
# VOI in bits between the labels before and after a round that is kept without proofread sections.
MAX_CHANGE = 1.5

# Fraction of the network's correction that is applied, and whether the untrained prediction votes
# as well. Of these, the one that agrees best with held-out proofread sections is used; without such
# sections, the one that was best over all test stacks.
CORRECTIONS = ((1.0, False), (0.5, False), (0.2, False), (1.0, True))
DEFAULT_CORRECTION = (1.0, True)
DEFAULT_MINUTES = 5.0

Voi = Callable[[np.ndarray, np.ndarray], float]
SaveCheckpoint = Callable[[dict[str, Any], Arrays], None]
Batches = Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class UnetParams:
    """Duration of training and device.

    Parameters
    ----------
    minutes : float or None
        Wall time of all rounds together; None to count epochs.
    epochs : int or None
        Number of times that each round passes through the stack, unless it stops early.
    rounds : int
        Rounds of self-training.
    device : {"cpu", "cuda", "mps", "auto"}
        Where to compute.
    """

    minutes: float | None = DEFAULT_MINUTES
    epochs: int | None = None
    rounds: int = 2
    device: str = "cpu"


def _ignore_message(_text: str) -> None: ...


def _save_nothing(_values: dict[str, Any], _arrays: Arrays) -> None: ...


@dataclass(frozen=True)
class Callbacks:
    """Functions that self-training calls; it neither prints nor opens files itself.

    Parameters
    ----------
    voi : callable
        Returns the variation of information between labels and a reference, in bits.
    message : callable
        Receives messages.
    progress_bar : callable
        Opens a progress bar.
    save_checkpoint : callable
        Saves JSON serialisable values and arrays.
    """

    voi: Voi
    message: Message = _ignore_message
    progress_bar: ProgressBar = no_progress_bar
    save_checkpoint: SaveCheckpoint = _save_nothing


@dataclass(frozen=True, eq=False)
class RoundState:
    """Probability and labels at the start or end of a round.

    Parameters
    ----------
    probability : ndarray of float32, shape (Z, Y, X)
        Neurite probability.
    labels : ndarray of int32, shape (Z, Y, X)
        Neurites segmented from it, without constraints from the held-out sections.
    trust : float
        Fraction of the network's correction in it.
    voted : bool
        Whether the untrained prediction voted as well.
    """

    probability: np.ndarray
    labels: np.ndarray
    trust: float = 0.0
    voted: bool = False


class SelfTraining:
    """Trains a network on a stack, round by round.

    Parameters
    ----------
    stack : TrainingStack
        The stack.
    params : UnetParams
        Duration and device.
    seed : int
        Of all random choices: the same seed gives the same result for a given number of epochs.
    start_weights : dict of ndarray or None
        Weights to start from; random ones without.
    callbacks : Callbacks
        Scores, messages and checkpoints.
    saved : tuple of dict and dict of ndarray, optional
        The last checkpoint of interrupted training.

    Attributes
    ----------
    training_sections, held_out_sections : list of int
        Proofread sections to train on, and to test rounds on.
    validation_sections : list of int
        Sections for early stopping: the held-out ones if there are any.

    Raises
    ------
    DataError
        If the checkpoint belongs to other data or parameters, or is damaged.
    """

    def __init__(
        self,
        stack: TrainingStack,
        params: UnetParams,
        seed: int,
        start_weights: Arrays | None,
        callbacks: Callbacks,
        saved: tuple[dict[str, Any], Arrays] | None = None,
    ) -> None:
        self.stack, self.params, self.seed, self.callbacks = stack, params, seed, callbacks
        self.device = network.choose_device(params.device)
        self.start_weights = start_weights
        self.training_sections, self.held_out_sections = split_held_out(
            usable_sections(stack.proofread, stack.damaged_sections)
        )
        self.validation_sections = self.held_out_sections or self._choose_validation_sections()
        self.network_input = prepare_input(stack)
        self.identity = self._hash_input()
        self.checkpoint = self._restore(saved) if saved else Checkpoint()

    def run(self) -> RefinedResult:
        """Train all rounds.

        Returns
        -------
        RefinedResult
            Of the last round that was kept; the untrained probability without a model if none was.
        """
        checkpoint, untrained = self.checkpoint, self.stack.untrained_probability
        state = RoundState(untrained, self.stack.segment(untrained, self.held_out_sections))
        if checkpoint.accepted_weights:
            state = self._segment(checkpoint.accepted_weights, "resume")
        elif self.start_weights and not checkpoint.rounds:
            state = self._adapt(self.start_weights, state)
        for number in range(len(checkpoint.rounds), self.params.rounds):
            self._train_round(number, state)
            refined = self._segment(checkpoint.best_weights, f"predict {number + 1}")
            record = self._evaluate_round(number, state, refined)
            self.callbacks.message(describe_round(record))
            checkpoint.end_round(record)
            self._save_checkpoint()
            state = refined if record["kept"] else state
        return self._result(state)

    # --- what a round starts from, and how it ends

    def _adapt(self, weights: Arrays, state: RoundState) -> RoundState:
        """Adapt the start network to the stack, and use its labels if they do no harm."""
        adapted = adapt_normalisation(weights, self.network_input, self.stack.mask, self.seed)
        refined = self._segment(adapted, "adapt")
        self.checkpoint.adaptation = self._compare(state, refined)
        self.callbacks.message(describe_round(self.checkpoint.adaptation))
        if not self.checkpoint.adaptation["kept"]:
            return state
        self.checkpoint.accepted_weights = adapted
        return refined

    def _choose_validation_sections(self) -> list[int]:
        """Choose sections for validation where no proofread one can be held out."""
        stack = self.stack
        usable = [z for z in range(len(stack.em)) if z not in stack.damaged_sections]
        free = [z for z in usable if z not in self.training_sections]
        return free[HELD_OUT_INTERVAL // 2 :: HELD_OUT_INTERVAL] or free[:1] or usable[:1]

    def _build_training_data(self, state: RoundState) -> tuple[TrainingData, TrainingData]:
        """Build the targets for training, without validation sections, and for validation."""
        stack, labels, probability = self.stack, state.labels, state.probability
        training = build_training_data(stack, labels, probability, self.training_sections)
        validation = training
        if self.held_out_sections:
            validation = build_training_data(stack, labels, probability, self.held_out_sections)
        weight = training.weight.copy()
        weight[self.validation_sections] = 0
        return replace(training, weight=weight), validation

    def _segment(self, weights: Arrays, title: str) -> RoundState:
        """Predict with a network and segment, with the correction that agrees best."""
        unet = network.build_network(weights, self.seed, self.device)
        n_planes = self.network_input.n_planes
        with self.callbacks.progress_bar(title, n_planes, "planes") as progress:
            logits = predict_logits(unet, self.network_input, progress)
        corrections = CORRECTIONS if self.held_out_sections else (DEFAULT_CORRECTION,)
        states = (self._correct(logits, trust, voted) for trust, voted in corrections)
        return min(states, key=self._held_out_voi)

    def _correct(self, logits: np.ndarray, trust: float, voted: bool) -> RoundState:
        stack = self.stack
        probability = correct_probability(logits, stack.untrained_probability, stack.mask, trust)
        labels = stack.segment(probability, self.held_out_sections, voted)
        return RoundState(probability, labels, trust, voted)

    def _held_out_voi(self, state: RoundState) -> float:
        """Return the VOI to held-out proofread sections, in bits; 0 without any."""
        if not self.held_out_sections or self.stack.proofread is None:
            return 0.0
        reference = self.stack.proofread.labels[self.held_out_sections]
        return self.callbacks.voi(state.labels[self.held_out_sections], reference)

    def _evaluate_round(self, number: int, before: RoundState, after: RoundState) -> dict[str, Any]:
        """Return the record of a round, and whether it is kept."""
        record: dict[str, Any] = {"round": number + 1, "steps": self.checkpoint.step}
        record["seconds"] = round(self.checkpoint.seconds, 1)
        record |= self._compare(before, after)
        if self.held_out_sections:
            return record
        losses = self.checkpoint.validation_losses
        record["bettered"] = min(losses) < losses[0]
        return record | {"kept": record["bettered"] and record["kept"]}

    def _compare(self, before: RoundState, after: RoundState) -> dict[str, Any]:
        """Compare two states, and decide whether the second may replace the first."""
        record = {"trust": after.trust, "voted": after.voted}
        if self.held_out_sections:
            voi_before, voi_after = self._held_out_voi(before), self._held_out_voi(after)
            return record | {
                "voi_before": voi_before,
                "voi_after": voi_after,
                "kept": voi_after <= voi_before,
            }
        change = self.callbacks.voi(after.labels, before.labels)
        return record | {"change": change, "kept": change <= MAX_CHANGE}

    # --- a round

    def _train_round(self, number: int, state: RoundState) -> None:
        """Train from the present state of the round to its end; the checkpoint keeps the best."""
        checkpoint = self.checkpoint
        training, validation = self._build_training_data(state)
        weights = checkpoint.current_weights or checkpoint.accepted_weights or self.start_weights
        trainer = Trainer(weights, self.seed, self.device)
        trainer.restore_optimiser(checkpoint.optimiser_state)
        rng = np.random.default_rng((self.seed, number))
        batches = [
            sample_patches(rng, self.network_input, validation, BATCH, self.validation_sections)
            for _ in range(VALIDATION_BATCHES)
        ]
        losses: list[float] = []
        total, unit = (self._n_steps(), "steps") if self.params.epochs else (self._seconds(), "s")
        with self.callbacks.progress_bar(f"round {number + 1}", int(total), unit) as progress:
            progress(int(total * self._fraction_done()))
            if not checkpoint.curve:
                self._validate(trainer, batches, losses)
            while (done := self._fraction_done()) < 1 and not self._has_stalled():
                started = time.perf_counter()
                losses.append(self._train_step(trainer, training, number, done))
                if checkpoint.step % VALIDATION_INTERVAL == 0:
                    self._validate(trainer, batches, losses)
                checkpoint.seconds += time.perf_counter() - started
                progress(int(total * self._fraction_done()) - int(total * done))
            if losses:
                self._validate(trainer, batches, losses)

    def _train_step(
        self, trainer: Trainer, training: TrainingData, number: int, done: float
    ) -> float:
        """Train one step of a round, with random choices that depend only on its number."""
        step = self.checkpoint.step
        rng = np.random.default_rng((self.seed, number, step))
        learning_rate = LEARNING_RATE * learning_rate_factor(step, done)
        loss = trainer.train_step(rng, self.network_input, training, learning_rate)
        self.checkpoint.step += 1
        return loss

    def _validate(self, trainer: Trainer, batches: Batches, losses: list[float]) -> None:
        """Compute the validation loss, and save a checkpoint."""
        checkpoint = self.checkpoint
        validation_loss = trainer.evaluate(batches)
        if not checkpoint.curve or validation_loss < min(checkpoint.validation_losses):
            checkpoint.best_weights = trainer.weights()
        training_loss = float(np.mean(losses)) if losses else validation_loss
        losses.clear()
        checkpoint.curve.append([checkpoint.step, training_loss, validation_loss])
        checkpoint.current_weights = trainer.weights()
        checkpoint.optimiser_state = trainer.optimiser_state()
        self._save_checkpoint()

    def _has_stalled(self) -> bool:
        """Return whether a round of epochs has not improved for `PATIENCE` validations."""
        losses = self.checkpoint.validation_losses
        return bool(self.params.epochs) and len(losses) - 1 - int(np.argmin(losses)) >= PATIENCE

    def _fraction_done(self) -> float:
        """Return the fraction of the current round that is done."""
        if self.params.epochs:
            return self.checkpoint.step / self._n_steps()
        return self.checkpoint.seconds / self._seconds()

    def _seconds(self) -> float:
        """Return the duration of a round of a given time."""
        return 60 * (self.params.minutes or 0.0) / self.params.rounds

    def _n_steps(self) -> int:
        """Return the number of steps of a round of epochs."""
        return max(1, round((self.params.epochs or 0) * self.network_input.n_patches / BATCH))

    # --- checkpoints and the result

    def _hash_input(self) -> str:
        """Identify the data and parameters that a checkpoint belongs to."""
        proofread = self.stack.proofread
        sections = list(proofread.sections) if proofread else []
        settings = {
            "params": asdict(self.params),
            "seed": self.seed,
            "channels": network.CHANNELS,
            "adapting": ADAPTATION_BATCHES,
            "sections": sections,
        }
        digest = hashlib.sha256(repr(settings).encode())
        weights = (self.start_weights or {}).values()
        arrays = [self.stack.em, self.stack.untrained_probability, *weights]
        if proofread:
            arrays.append(proofread.labels[sections])
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _save_checkpoint(self) -> None:
        values, arrays = self.checkpoint.to_arrays()
        self.callbacks.save_checkpoint(values | {"of": self.identity}, arrays)

    def _restore(self, saved: tuple[dict[str, Any], Arrays]) -> Checkpoint:
        """Restore the state of interrupted training."""
        values, arrays = saved
        if values.get("of") != self.identity:
            raise DataError(
                "the checkpoint was made with other flags, corrections or data",
                "training that resumes from it would mix the two",
                "the same flags as before, or --restart to start training again",
            )
        checkpoint = Checkpoint.from_arrays(values, arrays)
        self.callbacks.message(
            f"resuming from a checkpoint: {len(checkpoint.rounds)} of {self.params.rounds} rounds"
            f" and {checkpoint.step} steps are done"
        )
        return checkpoint

    def _result(self, state: RoundState) -> RefinedResult:
        checkpoint = self.checkpoint
        metrics: dict[str, Any] = {
            "rounds": checkpoint.rounds,
            "learned_sections": self.training_sections,
            "held_out_sections": self.validation_sections,
            "held_out_proofread": bool(self.held_out_sections),
            "device": str(self.device),
        }
        if checkpoint.adaptation:
            metrics["adapted"] = checkpoint.adaptation
        if not checkpoint.accepted_weights:
            return RefinedResult(state.probability, metrics)
        meta = {
            "kind": network.KIND,
            "features": network.CHANNELS,
            "voxel_size_nm": list(self.stack.voxel_size),
            "params": asdict(self.params),
            "seed": self.seed,
            "trust": state.trust,
            "voted": state.voted,
            "rounds_kept": sum(record["kept"] for record in checkpoint.rounds),
        }
        return RefinedResult(
            state.probability, metrics, meta, checkpoint.accepted_weights, state.voted
        )


def describe_round(record: dict[str, Any]) -> str:
    """Describe the outcome of a round, or of the adaptation, in a sentence."""
    outcome = "kept" if record["kept"] else "discarded"
    start = f"adapted to this stack, {outcome}: "
    if "round" in record:
        start = f"round {record['round']}: {record['steps']} steps, {outcome}: "
    if "voi_after" in record:
        before, after = record["voi_before"], record["voi_after"]
        return f"{start}VOI to held-out proofread sections {before:.3f} -> {after:.3f} bits"
    if not record.get("bettered", True):
        return f"{start}the validation loss did not decrease"
    return f"{start}labels changed by {record['change']:.2f} bits (at most {MAX_CHANGE:g})"
