"""Train the U-Net on the stack of a run: start weights, checkpoint, and messages to the user."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from connectome.core.errors import DataError
from connectome.core.volume import has_thin_sections
from connectome.io import model_files, paths
from connectome.io.run_folder import ProofreadSections, RunFolder
from connectome.refine import selftrain, unet
from connectome.refine.data import RefinedResult, TrainingStack, usable_sections
from connectome.weights import weights_path

CHECKPOINT = "unet_checkpoint.npz"  # file name in runs/models/, and kind of model
# Trained on phantoms (benchmarks/learn_unet.py), by whether sections are thin.
START_WEIGHTS = {False: "unet_thick.npz", True: "unet_thin.npz"}
UNUSABLE = "are damaged or without any id"


def train_unet(
    stack: TrainingStack,
    params: selftrain.UnetParams,
    *,
    seed: int,
    checkpoint: Path,
    restart: bool,
    voi: selftrain.Voi,
    message: Callable[[str], None],
    warn: Callable[[str], None],
    progress_bar: selftrain.Bar,
) -> RefinedResult:
    """Train the U-Net on a stack, from the shipped weights or from where training was interrupted.

    Parameters
    ----------
    stack : Material
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
    Learned

    Raises
    ------
    DataError
        If the checkpoint is damaged, or belongs to other data or parameters.
    """
    _report_proofread_sections(stack, params, message)
    saved = read_checkpoint(checkpoint) if checkpoint.exists() and not restart else None
    start = weights_path(START_WEIGHTS[has_thin_sections(stack.voxel_size)])
    weights = model_files.read_model(start, unet.KIND)[1]

    def save(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        model_files.write_model(checkpoint, meta | {"kind": CHECKPOINT}, arrays)

    company = selftrain.Callbacks(voi, message, progress_bar, save, saved)
    trained = selftrain.SelfTraining(stack, params, seed, weights, company).run()
    if not trained.arrays:
        warn("no round of training was kept: neurites are segmented from the untrained prediction")
    return trained


def _report_proofread_sections(
    stack: TrainingStack, params: selftrain.UnetParams, message: Callable[[str], None]
) -> None:
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
