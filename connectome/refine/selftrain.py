"""Rounds of self-training: each learns from the labels of the one before, if that did no harm.

A network that learns from its own mistakes makes them better each time. So a round is kept only if
its labels agree with proofread sections that it has not seen at least as well as those before; and
where there are none, only if it fits sections it has not seen no worse, and changes the labels no
more than such training can answer for.

Before the first round, the network that learned on phantoms is adapted to the stack without any
label, and what it makes is judged as a round is. Where nobody has proofread, a network never has
the last word: it and the evidence vote on which pieces are joined.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from connectome.core.errors import DataError
from connectome.core.progress import Progress, ignore_progress
from connectome.io.model_files import TRAIN_REMEDY
from connectome.refine import unet
from connectome.refine.data import RefinedResult, TrainingStack, split_held_out, usable_sections

LEARNING_RATE = 2e-3
LEAST_RATE = 0.02  # of that, at the end
WARM_UP = 20  # steps
EXAMINE_EVERY = 50  # steps
PATIENCE = 6  # examinations without betterment that end a round of a given number of epochs
EXAM_BATCHES = 3
HELD_OUT_SHARE = 8  # one section in so many is held out where none is proofread
# Bits of VOI from the labels before: more is not learned without a person's word.
LARGEST_CHANGE = 1.5

# How much of the network's correction is believed, and whether the evidence has a vote beside it:
# what agrees best with held-out proofread sections; without these, what did best on all stacks.
CORRECTIONS = ((1.0, False), (0.5, False), (0.2, False), (1.0, True))
DEFAULT_CORRECTION = (1.0, True)
DEFAULT_MINUTES = 5.0

Voi = Callable[[np.ndarray, np.ndarray], float]
Arrays = dict[str, np.ndarray]
Bar = Callable[[str, int, str], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class UnetParams:
    """How long and where to train.

    Parameters
    ----------
    minutes : float or None
        Wall time of all rounds together, used up whatever comes of it; None to count epochs.
    epochs : int or None
        Times that each round goes through the stack, unless it stops bettering itself before.
    rounds : int
        Rounds of self-training.
    device : {"cpu", "cuda", "mps", "auto"}
        Where to compute.
    """

    minutes: float | None = DEFAULT_MINUTES
    epochs: int | None = None
    rounds: int = 2
    device: str = "cpu"


def learning_rate_factor(step: int, done: float) -> float:
    """Return the share of a learning rate to use, at a step and a share of all steps.

    It warms up, then goes down along a cosine (Loshchilov & Hutter 2017).
    """
    falling = LEAST_RATE + (1 - LEAST_RATE) * (1 + math.cos(math.pi * done)) / 2
    return falling * min(1, (step + 1) / WARM_UP)


def _no_bar(_name: str, _total: int, _unit: str) -> AbstractContextManager[Progress]:
    return nullcontext(ignore_progress)


@dataclass(frozen=True)
class Callbacks:
    """Whom training speaks with: it neither prints nor opens files itself.

    Parameters
    ----------
    voi : callable
        Tells how far labels are from others, in bits.
    message : callable
        Takes a line of text for the user.
    bar : callable
        Opens a progress bar of a name, a number of steps, and what these are.
    keep : callable
        Keeps a checkpoint: what it is, fit for JSON, and its arrays.
    kept : tuple of dict and dict of ndarray, optional
        What was kept last.
    """

    voi: Voi
    message: Callable[[str], None] = lambda text: None
    bar: Bar = _no_bar
    keep: Callable[[dict, Arrays], None] = lambda meta, arrays: None
    kept: tuple[dict, Arrays] | None = None


@dataclass
class Checkpoint:
    """Where training stands: all that a checkpoint holds.

    Parameters
    ----------
    begun : dict
        What is on record of the network before the first round; empty where it learned nothing.
    rounds : list of dict
        What is on record of finished rounds.
    kept : dict of ndarray
        Weights of the last round that was kept, or of the network before the first; none where
        none was.
    step : int
        Steps done of the round in progress.
    seconds : float
        Time they took.
    curve : list of list
        Step, training loss and loss on held-out sections, at each examination of this round.
    now, momentum, best : dict of ndarray
        The network and its optimiser as they are, and the network that did best so far.
    """

    begun: dict = field(default_factory=dict)
    rounds: list[dict] = field(default_factory=list)
    kept: Arrays = field(default_factory=dict)
    step: int = 0
    seconds: float = 0.0
    curve: list[list[float]] = field(default_factory=list)
    now: Arrays = field(default_factory=dict)
    momentum: Arrays = field(default_factory=dict)
    best: Arrays = field(default_factory=dict)

    def stored(self) -> tuple[dict, Arrays]:
        """Return it as what it is, fit for JSON, and arrays."""
        parts = dict(vars(self))
        nested = {name: parts.pop(name) for name in ("kept", "now", "momentum", "best")}
        arrays = {f"{part} {n}": a for part, weights in nested.items() for n, a in weights.items()}
        return parts, arrays

    @classmethod
    def restored(cls, meta: dict, arrays: Arrays) -> Checkpoint:
        """Make it again from what `stored` returned.

        Raises
        ------
        DataError
            If it was not `stored` that returned this.
        """
        plain = {"begun": dict, "rounds": list, "step": int, "seconds": float, "curve": list}
        try:
            standing = cls(**{name: kind(meta[name]) for name, kind in plain.items()})
            for path, array in arrays.items():
                part, name = path.split(" ", 1)
                vars(standing)[part][name] = array
            sound = standing._sound()
        except (KeyError, ValueError, TypeError, OverflowError):
            sound = False
        if not sound:
            raise DataError(
                "the checkpoint is damaged, or was made by another version",
                "training cannot go on from it",
                "--restart to begin anew",
            )
        return standing

    def _sound(self) -> bool:
        """Tell whether training can go on from here."""
        begun = bool(self.now and self.best) == bool(self.curve)
        judged = all(isinstance(record, dict) and "kept" in record for record in self.rounds)
        examined = np.asarray(self.curve, float).reshape(-1, 3)
        weights = (each for each in (self.kept, self.now, self.best) if each)
        return (
            begun
            and judged
            and len(examined) == len(self.curve)
            and all(map(unet.are_valid_weights, weights))
        )

    def end_round(self, record: dict) -> None:
        """Put a round on record, and its best weights, if it was kept, where they stay."""
        self.rounds.append(record | {"curve": self.curve})
        if record["kept"]:
            self.kept = self.best
        self.step, self.seconds, self.curve = 0, 0.0, []
        self.now, self.momentum, self.best = {}, {}, {}


@dataclass(frozen=True, eq=False)
class RoundState:
    """What a round begins with, and what it makes.

    Parameters
    ----------
    probability : ndarray of float32, shape (Z, Y, X)
        Neurite probability.
    labels : ndarray of int32, shape (Z, Y, X)
        Neurites by the common road, with no word of the sections that rounds are judged by.
    trust : float
        How much of the network's correction is in it.
    voted : bool
        Whether the evidence had a vote on the labels.
    """

    probability: np.ndarray
    labels: np.ndarray
    trust: float = 0.0
    voted: bool = False


class SelfTraining:
    """Trains a network on a stack, round by round.

    Parameters
    ----------
    material : Material
        The stack.
    params : UnetParams
        How long and where to train.
    seed : int
        Of every random choice: the same seed gives the same result for a given number of epochs.
    weights : dict of ndarray or None
        Of the network before training; random without.
    company : Company
        Whom to speak with.

    Attributes
    ----------
    learned, judged : list of int
        Proofread sections to learn from, and to judge rounds by.
    examined : list of int
        Held-out sections that early stopping looks at: the judged ones, if there are any.
    """

    def __init__(
        self,
        material: TrainingStack,
        params: UnetParams,
        seed: int,
        weights: Arrays | None,
        company: Callbacks,
    ):
        self.material, self.params, self.seed, self.company = material, params, seed, company
        self.device = unet.choose_device(params.device)
        self.start = weights
        self.learned, self.judged = split_held_out(
            usable_sections(material.proofread, material.damaged_sections)
        )
        self.examined = self.judged or self._unseen()
        self.seen = unet.prepare_input(material)
        self.identity = self._print()
        self.standing = self._standing()

    def run(self) -> RefinedResult:
        """Train all rounds.

        Returns
        -------
        Learned
            Of the last round that was kept; the evidence as it was, without weights, if none was.

        Raises
        ------
        DataError
            If there is a checkpoint of other data or parameters, or a damaged one.
        """
        evidence = self.material.untrained_probability
        draft = RoundState(evidence, self.material.segment(evidence, self.judged))
        if self.standing.kept:
            draft = self._drafted(self.standing.kept, "resume")
        elif self.start and not self.standing.rounds:
            draft = self._begun(draft)
        for number in range(len(self.standing.rounds), self.params.rounds):
            self._train(number, draft)
            made = self._drafted(self.standing.best, f"judge {number + 1}")
            record = self._verdict(number, draft, made)
            self.company.message(describe_round(record))
            self.standing.end_round(record)
            self._keep()
            draft = made if record["kept"] else draft
        return self._result(draft)

    # --- what a round begins with, and how it ends

    def _begun(self, draft: RoundState) -> RoundState:
        """Adapt the network that learned elsewhere, and keep what it makes if that does no harm."""
        weights = unet.adapt_normalisation(self.start, self.seen, self.material.mask, self.seed)
        made = self._drafted(weights, "adapt")
        self.standing.begun = self._judgement(draft, made)
        self.company.message(describe_round(self.standing.begun))
        if not self.standing.begun["kept"]:
            return draft
        self.standing.kept = weights
        return made

    def _unseen(self) -> list[int]:
        """Choose sections to hold out where no proofread one can be spared."""
        material = self.material
        usable = [z for z in range(len(material.image)) if z not in material.damaged_sections]
        free = [z for z in usable if z not in self.learned]
        return free[HELD_OUT_SHARE // 2 :: HELD_OUT_SHARE] or free[:1] or usable[:1]

    def _lessons(self, draft: RoundState) -> tuple[unet.TrainingData, unet.TrainingData]:
        """Divide what the labels teach into lesson and exam."""
        told = unet.build_training_data(
            self.material, draft.labels, draft.probability, self.learned
        )
        exam = told
        if self.judged:
            exam = unet.build_training_data(
                self.material, draft.labels, draft.probability, self.judged
            )
        spared = told.weight.copy()
        spared[self.examined] = 0
        return replace(told, weight=spared), exam

    def _drafted(self, weights: Arrays, title: str) -> RoundState:
        """Make labels with a network, believed as far as proves best."""
        net = unet.build_network(weights, self.seed, self.device)
        with self.company.bar(title, unet.count_planes(self.seen), "planes") as progress:
            logits = unet.predict_logits(net, self.seen, progress)
        ways = CORRECTIONS if self.judged else (DEFAULT_CORRECTION,)
        return min((self._believed(logits, *way) for way in ways), key=self._distance)

    def _believed(self, logits: np.ndarray, trust: float, voted: bool) -> RoundState:
        material = self.material
        probability = unet.correct_probability(
            logits, material.untrained_probability, material.mask, trust
        )
        labels = material.segment(probability, self.judged, voted)
        return RoundState(probability, labels, trust, voted)

    def _distance(self, draft: RoundState) -> float:
        """Tell how far a draft is from held-out proofread sections, in bits; 0 without any."""
        if not self.judged:
            return 0.0
        said = self.material.proofread.labels[self.judged]
        return self.company.voi(draft.labels[self.judged], said)

    def _verdict(self, number: int, before: RoundState, after: RoundState) -> dict:
        """Tell whether a round is kept, and why."""
        record = {"round": number + 1, "steps": self.standing.step}
        record |= {"seconds": round(self.standing.seconds, 1)} | self._judgement(before, after)
        if self.judged:
            return record
        record["bettered"] = min(self._exam_losses()) < self._exam_losses()[0]
        return record | {"kept": record["bettered"] and record["kept"]}

    def _judgement(self, before: RoundState, after: RoundState) -> dict:
        """Compare two drafts, and tell whether the second may take the place of the first."""
        record = {"trust": after.trust, "voted": after.voted}
        if self.judged:
            was, now = self._distance(before), self._distance(after)
            return record | {"voi_before": was, "voi_after": now, "kept": now <= was}
        change = self.company.voi(after.labels, before.labels)
        return record | {"change": change, "kept": change <= LARGEST_CHANGE}

    # --- a round

    def _train(self, number: int, draft: RoundState) -> None:
        """Train from where the round stands to its end; what did best is in the standing."""
        standing = self.standing
        told, exam = self._lessons(draft)
        pupil = unet.Trainer(standing.now or standing.kept or self.start, self.seed, self.device)
        pupil.restore_optimiser(standing.momentum)
        rng = np.random.default_rng((self.seed, number))
        batches = [
            unet.sample_patches(rng, self.seen, exam, unet.BATCH, self.examined)
            for _ in range(EXAM_BATCHES)
        ]
        losses: list[float] = []
        total, unit = (self._n_steps(), "steps") if self.params.epochs else (self._seconds(), "s")
        with self.company.bar(f"round {number + 1}", int(total), unit) as progress:
            progress(int(total * self._done()))
            if not standing.curve:
                self._examine(pupil, batches, losses)
            while (done := self._done()) < 1 and not self._tired():
                began = time.perf_counter()
                rng = np.random.default_rng((self.seed, number, standing.step))
                losses.append(
                    pupil.train_step(
                        rng,
                        self.seen,
                        told,
                        LEARNING_RATE * learning_rate_factor(standing.step, done),
                    )
                )
                standing.step += 1
                if standing.step % EXAMINE_EVERY == 0:
                    self._examine(pupil, batches, losses)
                standing.seconds += time.perf_counter() - began
                progress(int(total * self._done()) - int(total * done))
            if losses:
                self._examine(pupil, batches, losses)

    def _examine(self, pupil: unet.Trainer, batches: Sequence[tuple], losses: list[float]) -> None:
        """See how it does on sections it does not learn from, and keep all of it."""
        standing = self.standing
        found = pupil.examined(batches)
        if not standing.curve or found < min(self._exam_losses()):
            standing.best = pupil.weights()
        taught = float(np.mean(losses)) if losses else found
        losses.clear()
        standing.curve.append([standing.step, taught, found])
        standing.now, standing.momentum = pupil.weights(), pupil.momentum()
        self._keep()

    def _exam_losses(self) -> list[float]:
        return [found for _, _, found in self.standing.curve]

    def _tired(self) -> bool:
        """Tell whether a round of epochs has long not bettered itself."""
        losses = self._exam_losses()
        return bool(self.params.epochs) and len(losses) - 1 - int(np.argmin(losses)) >= PATIENCE

    def _done(self) -> float:
        """Tell what share of the round is over."""
        if self.params.epochs:
            return self.standing.step / self._n_steps()
        return self.standing.seconds / self._seconds()

    def _seconds(self) -> float:
        return 60 * self.params.minutes / self.params.rounds

    def _n_steps(self) -> int:
        return max(1, round(self.params.epochs * unet.count_patches(self.seen) / unet.BATCH))

    # --- checkpoints and the end

    def _print(self) -> str:
        """Return what identifies the data and parameters that a checkpoint belongs to."""
        said = self.material.proofread
        told = {"params": asdict(self.params), "seed": self.seed, "channels": unet.CHANNELS}
        told["adapting"] = unet.ADAPTING
        told["sections"] = list(said.sections) if said else []
        digest = hashlib.sha256(repr(told).encode())
        arrays = [
            self.material.image,
            self.material.untrained_probability,
            *(self.start or {}).values(),
        ]
        if said:
            arrays.append(said.labels[list(said.sections)])
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _keep(self) -> None:
        meta, arrays = self.standing.stored()
        self.company.keep(meta | {"of": self.identity}, arrays)

    def _standing(self) -> Checkpoint:
        """Take up training where it was left, or begin."""
        if self.company.kept is None:
            return Checkpoint()
        meta, arrays = self.company.kept
        if meta.get("of") != self.identity:
            raise DataError(
                "the checkpoint was made with other flags, corrections or data",
                "going on from it would mix the two",
                "the flags of before, or --restart to begin anew",
            )
        standing = Checkpoint.restored(meta, arrays)
        done = f"{len(standing.rounds)} of {self.params.rounds} rounds"
        self.company.message(
            f"going on from a checkpoint: {done} and {standing.step} steps are done"
        )
        return standing

    def _result(self, draft: RoundState) -> RefinedResult:
        standing = self.standing
        metrics = {
            "rounds": standing.rounds,
            "learned_sections": self.learned,
            "held_out_sections": self.examined,
            "held_out_proofread": bool(self.judged),
            "device": str(self.device),
        }
        if standing.begun:
            metrics["adapted"] = standing.begun
        if not standing.kept:
            return RefinedResult(draft.probability, metrics)
        meta = {
            "kind": unet.KIND,
            "features": unet.CHANNELS,
            "voxel_size_nm": list(self.material.voxel_size),
            "params": asdict(self.params),
            "seed": self.seed,
            "trust": draft.trust,
            "voted": draft.voted,
            "rounds_kept": sum(record["kept"] for record in standing.rounds),
        }
        return RefinedResult(draft.probability, metrics, meta, standing.kept, draft.voted)


def apply_network(
    material: TrainingStack, model: tuple[dict, Arrays], device: str, bar: Bar = _no_bar
) -> RefinedResult:
    """Judge a stack with a network that was trained elsewhere, and train nothing.

    Raises
    ------
    DataError
        If its weights are of another network or no finite numbers, or it does not say how far it
        is to be believed.
    """
    meta, weights = model
    trust, voted = meta.get("trust"), meta.get("voted", False)
    if not (type(trust) in (int, float) and 0 <= trust <= 1 and isinstance(voted, bool)):
        raise DataError(
            f"the model says that its trust is {trust} and voted {voted}, not a number from 0 to 1"
            " and true or false",
            "it is unknown how far it is to be believed",
            TRAIN_REMEDY,
        )
    net = unet.build_network(weights, 0, unet.choose_device(device))
    seen = unet.prepare_input(material)
    # What is too large to be computed with is refused below, in words.
    quiet = np.errstate(over="ignore", invalid="ignore")
    with bar("judge", unet.count_planes(seen), "planes") as progress, quiet:
        logits = unet.predict_logits(net, seen, progress)
    if not np.isfinite(logits).all():
        said = "the model's judgement of this stack is no finite number everywhere"
        raise DataError(said, "its weights are damaged, or too large", TRAIN_REMEDY)
    rated = unet.correct_probability(logits, material.untrained_probability, material.mask, trust)
    return RefinedResult(rated, {"rounds": [], "model": meta}, voted=voted)


def describe_round(record: dict) -> str:
    """Say what became of a round."""
    verdict = "kept" if record["kept"] else "dropped"
    start = f"adapted to this stack, {verdict}: "
    if "round" in record:
        start = f"round {record['round']}: {record['steps']} steps, {verdict}: "
    if "voi_after" in record:
        before, after = record["voi_before"], record["voi_after"]
        return f"{start}VOI to held-out proofread sections {before:.3f} -> {after:.3f} bits"
    if not record.get("bettered", True):
        return f"{start}it does not fit sections better that it has not seen"
    return f"{start}labels changed by {record['change']:.2f} bits (at most {LARGEST_CHANGE:g})"
