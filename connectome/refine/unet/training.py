"""Train the U-Net on the stack of a run, or apply a trained one: weights, files and messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from connectome.core.errors import DataError
from connectome.core.volume import has_thin_sections
from connectome.io import model_files, paths
from connectome.io.run_folder import ProofreadSections, RunFolder
from connectome.refine.data import (
    Message,
    ProgressBar,
    RefinedResult,
    TrainingStack,
    no_progress_bar,
    usable_sections,
)
from connectome.refine.unet import network
from connectome.refine.unet.data import prepare_input
from connectome.refine.unet.prediction import correct_probability, predict_logits
from connectome.refine.unet.selftraining import Callbacks, SelfTraining, UnetParams, Voi
from connectome.weights import weights_path

CHECKPOINT = "unet_checkpoint.npz"  # file name in runs/models/, and kind of model
# Trained on phantoms (benchmarks/learn_unet.py), by whether sections are thin.
START_WEIGHTS = {False: "unet_thick.npz", True: "unet_thin.npz"}
UNUSABLE = "are damaged or without any id"


def train_unet(
    stack: TrainingStack,
    params: UnetParams,
    *,
    seed: int,
    checkpoint: Path,
    restart: bool,
    voi: Voi,
    message: Message,
    warn: Message,
    progress_bar: ProgressBar,
) -> RefinedResult:
    """Train the U-Net on a stack, from the shipped weights or from where training was interrupted.

    Parameters
    ----------
    stack : TrainingStack
        The stack, its draft labels and its proofread sections.
    params : UnetParams
        Duration of training and device; 0 rounds adapt the network without training it.
    seed : int
        Seed of every random choice.
    checkpoint : Path
        File that training is saved to at intervals, and resumed from if it exists.
    restart : bool
        Start again, whatever checkpoint exists. It is replaced only by the first one of the new
        training, so that an error before that loses nothing.
    voi : callable
        Returns the variation of information between two label volumes, in bits.
    message, warn, progress_bar : callable
        As the methods of a reporter.

    Returns
    -------
    RefinedResult

    Raises
    ------
    DataError
        If the checkpoint is damaged, or belongs to other data or parameters.
    """
    _report_proofread_sections(stack, params, message)
    saved = read_checkpoint(checkpoint) if checkpoint.exists() and not restart else None
    start = weights_path(START_WEIGHTS[has_thin_sections(stack.voxel_size)])
    weights = model_files.read_model(start, network.KIND)[1]

    def save(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        model_files.write_model(checkpoint, meta | {"kind": CHECKPOINT}, arrays)

    callbacks = Callbacks(voi, message, progress_bar, save)
    trained = SelfTraining(stack, params, seed, weights, callbacks, saved).run()
    if not trained.arrays:
        warn("no round of training was kept: neurites are segmented from the untrained prediction")
    return trained


def apply_unet(
    stack: TrainingStack,
    model: tuple[dict[str, Any], dict[str, np.ndarray]],
    *,
    device: str,
    progress_bar: ProgressBar = no_progress_bar,
) -> RefinedResult:
    """Predict a stack with a network trained elsewhere.

    Parameters
    ----------
    stack : TrainingStack
        The stack.
    model : tuple of dict
        Description and weights, as `connectome.io.model_files.read_model` returns them.
    device : {"cpu", "cuda", "mps", "auto"}
        Where to compute.
    progress_bar : callable
        Opens the progress bar.

    Returns
    -------
    RefinedResult
        Without a model to save.

    Raises
    ------
    DataError
        If the weights are of another network or not finite, or the description does not contain
        how much of the correction is to be applied.
    """
    meta, weights = model
    trust: Any = meta.get("trust")
    voted = meta.get("voted", False)
    if not (type(trust) in (int, float) and 0 <= trust <= 1 and isinstance(voted, bool)):
        raise DataError(
            f"the description of the model has trust {trust} and voted {voted}, not a number from"
            " 0 to 1 and true or false",
            "it is unknown how much of its correction is to be applied",
            model_files.TRAIN_REMEDY,
        )
    unet = network.build_network(weights, 0, network.choose_device(device))
    network_input = prepare_input(stack)
    # Overflow is reported below.
    with (
        progress_bar("predict", network_input.n_planes, "planes") as progress,
        np.errstate(over="ignore", invalid="ignore"),
    ):
        logits = predict_logits(unet, network_input, progress)
    if not np.isfinite(logits).all():
        raise DataError(
            "the prediction of the model is not finite everywhere in this stack",
            "its weights are damaged, or too large",
            model_files.TRAIN_REMEDY,
        )
    probability = correct_probability(logits, stack.untrained_probability, stack.mask, trust)
    return RefinedResult(probability, {"rounds": [], "model": meta}, voted=voted)


def _report_proofread_sections(stack: TrainingStack, params: UnetParams, message: Message) -> None:
    """Report what training can use, before it starts."""
    if stack.proofread is None:
        message(
            "no section is proofread: the U-Net only votes, together with the untrained"
            " prediction, on which supervoxels are joined. Expect some errors to be corrected and"
            " others to remain; a few proofread sections help more than longer training"
        )
        if not params.rounds:
            message(
                "the U-Net is adapted to this stack but not trained: on average, training on the"
                " draft labels alone gains nothing (--minutes N or --epochs N trains nevertheless)"
            )
        return
    informative = usable_sections(stack.proofread, stack.damaged_sections)
    unusable = [z for z in stack.proofread.sections if z not in informative]
    if unusable:
        message(f"not used for training: proofread sections that {UNUSABLE}: {_listed(unusable)}")


def check_proofread_sections(draft: RunFolder, proofread: ProofreadSections | None) -> None:
    """Check that at least one proofread section can be trained on, if there are any.

    Raises
    ------
    DataError
        If all of them are damaged or empty.
    """
    if proofread and not usable_sections(proofread, draft.damaged_sections):
        raise DataError(
            f"all proofread sections {UNUSABLE}: {_listed(proofread.sections)} of"
            f" {draft.outdir / paths.CORRECTED_LABELS}",
            "the U-Net can neither be trained nor scored on them",
            f"napari_proofread.py, and mark another section as proofread; or remove these from"
            f" {draft.outdir / paths.PROOFREAD_SECTIONS}",
        )


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read the checkpoint of interrupted training.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    try:
        return model_files.read_model(path, CHECKPOINT)
    except DataError as error:
        raise DataError(
            f"the checkpoint {path} cannot be read: it is damaged, or not a checkpoint",
            "training cannot resume from it",
            "--restart to start training again",
        ) from error


def _listed(sections: list[int] | tuple[int, ...]) -> str:
    return " ".join(map(str, sections))
