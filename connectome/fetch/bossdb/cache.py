"""Downloaded slabs kept on disk, each with a checksum, so that nothing is fetched twice."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from connectome.io.files import atomic_path

_DIGEST_BYTES = hashlib.sha256().digest_size


def default_cache_folder() -> Path:
    """Return the user's cache folder for this program, where the platform has it."""
    return user_cache_path("connectome", appauthor=False)


class SlabCache:
    """Arrays on disk under a readable key such as ``host/collection/…/mip2/z0-16_y0-9_x0-9_uint8``.

    The key must tell everything about the slab, its shape and type included. A file is the SHA-256
    of key and voxels, followed by the voxels in C order. The key is part of the checksum because
    some file systems do not tell ``EM`` from ``em``.

    Parameters
    ----------
    folder : Path
        Where the files are; created when the first slab is kept.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, key: str) -> Path:
        """Return the file of a key; ``:`` (host and port) is not allowed in names everywhere."""
        return self.folder / f"{key.replace(':', '_')}.slab"

    def contains(self, key: str) -> bool:
        """Tell whether there is a file for this key; whether it is sound shows on reading."""
        return self.path(key).exists()

    def read(self, key: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
        """Return a kept slab, or None when there is none or it is damaged."""
        try:
            content = self.path(key).read_bytes()
        except FileNotFoundError:
            return None
        voxels = memoryview(content)[_DIGEST_BYTES:]
        if content[:_DIGEST_BYTES] != _digest(key, voxels):
            return None
        return np.frombuffer(voxels, dtype).reshape(shape)

    def write(self, key: str, data: np.ndarray) -> None:
        """Keep a slab; an interruption leaves either the whole of it or nothing."""
        voxels = memoryview(np.ascontiguousarray(data)).cast("B")
        with atomic_path(self.path(key)) as temporary, temporary.open("wb") as file:
            file.write(_digest(key, voxels))
            file.write(voxels)


def _digest(key: str, voxels: memoryview) -> bytes:
    digest = hashlib.sha256(key.encode())
    digest.update(voxels)
    return digest.digest()
