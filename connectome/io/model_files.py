"""Trained models on disk: numbers and a description, and nothing that could run as a program.

A model is one ``.npz``: its weights, and a JSON text that says what it is and what it may be used
on. Pickles are neither written nor read, so a model from a stranger is safe to open.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from connectome.core.errors import DataError, UsageError
from connectome.io.files import atomic_path
from connectome.io.volumes import NUMPY_READ_ERRORS

METADATA_KEY = "meta"
# A model sees lengths in nm; what was imaged more than this much coarser or finer looks different.
MAX_VOXEL_SIZE_RATIO = 1.5
TRAIN_REMEDY = "train a model here, without --apply"


def write_model(path: Path, meta: dict, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a model.

    Parameters
    ----------
    path : Path
        Target, ending in ``.npz``.
    meta : dict
        Fit for JSON; ``kind``, ``features`` and ``voxel_size_nm`` are checked by `check_model`.
    arrays : mapping of str to ndarray
        Weights, by names other than ``meta``.
    """
    text = np.frombuffer(json.dumps(meta, allow_nan=False).encode(), np.uint8)
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **{METADATA_KEY: text}, **arrays)


def read_model(path: Path, kind: str) -> tuple[dict, dict[str, np.ndarray]]:
    """Read a model.

    Returns
    -------
    meta, arrays
        As they were written.

    Raises
    ------
    UsageError
        If there is no such file.
    DataError
        If it is no model, or one of another kind.
    """
    if not path.is_file():
        raise UsageError(
            f"there is no model {path}", "there is nothing to judge by", "a file of runs/models/"
        )
    try:
        with _opened(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
        meta = json.loads(arrays.pop(METADATA_KEY).tobytes())
        json.dumps(meta, allow_nan=False)  # what does not fit into JSON could not be noted down
        found = meta["kind"]
    except (OSError, RecursionError, *NUMPY_READ_ERRORS) as error:
        raise _no_model(path, "it is damaged, or was made by another program") from error
    if found != kind:
        raise DataError(
            f"{path.name} is a model of kind {found}, not {kind}",
            "it cannot be used here",
            f"{kind}_*.npz of runs/models/",
        )
    return meta, arrays


def _opened(path: Path) -> np.lib.npyio.NpzFile:
    """Open an archive of arrays, and nothing else that numpy reads."""
    foreign = "it is a pickle or no .npz; models of other programs are not read"
    try:
        archive = np.load(path, allow_pickle=False)
    except (OSError, *NUMPY_READ_ERRORS) as error:
        # numpy's own words tell how to load a pickle all the same.
        raise _no_model(path, getattr(error, "strerror", None) or foreign) from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise _no_model(path, foreign)
    return archive


def _no_model(path: Path, why: str) -> DataError:
    return DataError(f"{path} is no model of ours", why, "a file of runs/models/")


def check_model(
    meta: dict, features: list[str], voxel_size: tuple[float, float, float], name: str
) -> None:
    """Refuse a model that was trained on other features or at another voxel size.

    Raises
    ------
    DataError
        Naming both, and what could be done.
    """
    stated, size = meta.get("features"), meta.get("voxel_size_nm")
    if not (_list_of(stated, str) and _list_of(size, int | float) and len(size) == 3 and all(size)):
        raise DataError(
            f"{name} does not say on which features and at which voxel size it was trained",
            "it is unknown what it may be used on",
            TRAIN_REMEDY,
        )
    if stated != list(features):
        said = f"{name} was trained on other features than this stack is described by"
        raise DataError(said, _difference(stated, features), TRAIN_REMEDY)
    ratios = np.asarray(voxel_size, float) / np.asarray(size, float)
    if not ((ratios <= MAX_VOXEL_SIZE_RATIO) & (ratios >= 1 / MAX_VOXEL_SIZE_RATIO)).all():
        trained, here = (" x ".join(f"{n:g}" for n in s) for s in (size, voxel_size))
        raise DataError(
            f"{name} was trained at {trained} nm per voxel (Z Y X), and this stack has {here}",
            "membranes would look to it like something else",
            f"{TRAIN_REMEDY}, or fetch the cutout at another --resolution",
        )


def _difference(stated: list[str], features: list[str]) -> str:
    """Say how two lists of features differ."""
    mine = [name for name in stated if name not in features]
    here = [name for name in features if name not in stated]
    parts = [("only the model has", mine), ("only this stack has", here)]
    told = "; ".join(f"{whose} {', '.join(names)}" for whose, names in parts if names)
    return told or "they are the same, in another order or number"


def _list_of(items: object, kind: type) -> bool:
    return isinstance(items, list) and all(isinstance(item, kind) for item in items)
