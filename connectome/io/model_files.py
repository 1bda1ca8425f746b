"""Trained models on disk: arrays and a description, and nothing that could run as a program.

A model is one ``.npz`` with its weights and a JSON text that describes it and where it applies.
Pickles are neither written nor read, so models from strangers are safe to open.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.core.errors import DataError, UsageError
from connectome.io.files import atomic_path
from connectome.io.volumes import NUMPY_READ_ERRORS

METADATA_KEY = "meta"
# Features have lengths in nm, but what is imaged more coarsely or finely than this looks different.
MAX_VOXEL_SIZE_RATIO = 1.5
TRAIN_REMEDY = "train a model here, without --apply"


def write_model(path: Path, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a model.

    Parameters
    ----------
    path : Path
        Target, ending in ``.npz``.
    meta : mapping
        Description, serialisable as JSON; ``kind``, ``features`` and ``voxel_size_nm`` are checked
        by `check_model`.
    arrays : mapping of str to ndarray
        Weights, by names other than ``meta``.
    """
    text = json.dumps(meta, allow_nan=False).encode()
    contents: dict[str, Any] = {METADATA_KEY: np.frombuffer(text, np.uint8), **arrays}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **contents)


def read_model(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a model.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        Kind of model it must be.

    Returns
    -------
    meta, arrays
        As they were written.

    Raises
    ------
    UsageError
        If there is no such file.
    DataError
        If it is not a model of this program, or one of another kind.
    """
    if not path.is_file():
        raise UsageError(
            f"there is no model {path}", "no model can be applied", "a file of runs/models/"
        )
    try:
        with _open_archive(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
        meta = json.loads(arrays.pop(METADATA_KEY).tobytes())
        json.dumps(meta, allow_nan=False)  # it will be written to JSON again
        found = meta["kind"]
    except (OSError, RecursionError, *NUMPY_READ_ERRORS) as error:
        raise _not_a_model(path, "it is damaged, or was made by another program") from error
    if found != kind:
        raise DataError(
            f"{path.name} is a model of kind {found}, not {kind}",
            "it cannot be used here",
            f"{kind}_*.npz of runs/models/",
        )
    return meta, arrays


def check_model(
    meta: Mapping[str, Any],
    features: Sequence[str],
    voxel_size: tuple[float, float, float],
    name: str,
) -> None:
    """Raise an error if a model was trained on other features or at another voxel size.

    Parameters
    ----------
    meta : mapping
        Description of the model.
    features : sequence of str
        Names of the features of the stack.
    voxel_size : tuple of float
        Voxel size of the stack, (z, y, x) in nm.
    name : str
        Name of the model, for messages.

    Raises
    ------
    DataError
        Naming the difference, and what could be done.
    """
    trained_features: Any = meta.get("features")
    trained_size: Any = meta.get("voxel_size_nm")
    if not (_is_list_of(trained_features, str) and _is_voxel_size(trained_size)):
        raise DataError(
            f"{name} does not state on which features and at which voxel size it was trained",
            "it is unknown where it applies",
            TRAIN_REMEDY,
        )
    if trained_features != list(features):
        raise DataError(
            f"{name} was trained on other features than those of this stack",
            _describe_difference(trained_features, features),
            TRAIN_REMEDY,
        )
    ratios = np.asarray(voxel_size, float) / np.asarray(trained_size, float)
    if not ((ratios <= MAX_VOXEL_SIZE_RATIO) & (ratios >= 1 / MAX_VOXEL_SIZE_RATIO)).all():
        trained, here = (" x ".join(f"{n:g}" for n in size) for size in (trained_size, voxel_size))
        raise DataError(
            f"{name} was trained at {trained} nm per voxel (Z Y X), and this stack has {here}",
            "membranes look different at this voxel size",
            f"{TRAIN_REMEDY}, or fetch the cutout at another --resolution",
        )


def _open_archive(path: Path) -> np.lib.npyio.NpzFile:
    """Open an archive of arrays; refuse everything else that numpy reads."""
    foreign = "it is a pickle or no .npz; models of other programs are not read"
    try:
        archive = np.load(path, allow_pickle=False)
    except (OSError, *NUMPY_READ_ERRORS) as error:
        # The message of numpy explains how to load pickles, which is unsafe.
        raise _not_a_model(path, getattr(error, "strerror", None) or foreign) from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise _not_a_model(path, foreign)
    return archive


def _not_a_model(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is not a model of this program", reason, "a file of runs/models/")


def _describe_difference(trained: Sequence[str], features: Sequence[str]) -> str:
    only_model = [name for name in trained if name not in features]
    only_stack = [name for name in features if name not in trained]
    parts = [("only the model has", only_model), ("only this stack has", only_stack)]
    difference = "; ".join(f"{owner} {', '.join(names)}" for owner, names in parts if names)
    return difference or "they are the same, in another order or number"


def _is_list_of(items: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(items, list) and all(isinstance(item, kind) for item in items)


def _is_voxel_size(content: Any) -> bool:
    return _is_list_of(content, (int, float)) and len(content) == 3 and all(content)
