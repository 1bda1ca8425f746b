"""Read and write arrays together with their voxel size, origin and source."""

from __future__ import annotations

import json
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.core.errors import DataError
from connectome.core.volume import Volume
from connectome.io import paths
from connectome.io.files import atomic_path, write_json
from connectome.io.paths import sidecar_path

# What numpy raises on files that it cannot read, besides OSError.
NUMPY_READ_ERRORS = (
    *(ValueError, KeyError, TypeError, EOFError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, SyntaxError),
)


def write_volume(path: Path, volume: Volume) -> None:
    """Write an array as ``.npy``, and its voxel size, origin and source as JSON beside it.

    Parameters
    ----------
    path : Path
        Target, ending in ``.npy``; the JSON file has the same name with ``.json``.
    volume : Volume
        Array of shape (Z, Y, X), its voxel size, origin and source.
    """
    with atomic_path(path) as temporary:
        np.save(temporary, volume.data)
    write_json(
        sidecar_path(path),
        {
            "axes": "ZYX",
            "shape": list(volume.shape),
            "dtype": str(volume.data.dtype),
            "voxel_size_nm": list(volume.voxel_size),
            "origin": list(volume.origin),
            "source": volume.source,
        },
    )


def read_volume(path: Path) -> Volume:
    """Read an array written by `write_volume`.

    Raises
    ------
    DataError
        If the array or the file beside it is missing or does not fit the array.
    """
    consequence, remedy = "it cannot be used", "run_pipeline.py as before"
    if not path.exists():
        always_written = any(path.match(name) for name in (paths.LABELS, *paths.ALIGNED.values()))
        if not always_written:
            remedy = "run_pipeline.py, without --save_minimal"
        raise DataError(f"there is no {path}", "nothing to read", remedy)
    meta_path = sidecar_path(path)
    if not meta_path.exists():
        raise DataError(
            f"{path.name} has no {meta_path.name} beside it",
            "its voxel size is unknown, and a guess would make all lengths wrong",
            f'write {{"voxel_size_nm": [Z, Y, X], "origin": [0, 0, 0]}} to {meta_path}',
        )
    data = read_array(path, consequence, remedy)
    try:
        meta = json.loads(meta_path.read_text())
        volume = Volume(
            data,
            meta["voxel_size_nm"],
            meta.get("origin", (0, 0, 0)),
            meta.get("source", str(path)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise DataError(f"{meta_path} cannot be read: {error!r}", consequence, remedy) from error
    described = tuple(meta.get("shape", volume.shape))
    if described != volume.shape:
        raise DataError(
            f"{path.name} has shape {volume.shape}, but {meta_path.name} describes {described}",
            "one of them belongs to another array",
            remedy,
        )
    return volume


def read_array(path: Path, consequence: str, remedy: str) -> NDArray[Any]:
    """Read a ``.npy`` file, and nothing that could run as a program.

    Parameters
    ----------
    path : Path
        The file.
    consequence, remedy : str
        Consequence and remedy of the error if it cannot be read.

    Raises
    ------
    DataError
        If it is not a file of one array.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, *NUMPY_READ_ERRORS) as error:
        # The message of numpy explains how to load pickles, which is unsafe.
        reason = getattr(error, "strerror", None) or "it is damaged, a pickle or no .npy"
        raise DataError(f"{path} cannot be read: {reason}", consequence, remedy) from error
    if not isinstance(array, np.ndarray):
        array.close()
        problem = f"{path} cannot be read: it is a .npz, which has several arrays"
        raise DataError(problem, consequence, remedy)
    return array
