"""A cache of downloaded slabs on disk, each with a checksum."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from connectome.io.files import atomic_path

DIGEST_BYTES = hashlib.sha256().digest_size


def default_cache_folder() -> Path:
    """Return the user's cache folder for this program, where the platform has it."""
    return user_cache_path("connectome", appauthor=False)


class SlabCache:
    """Arrays on disk under a readable key such as ``host/collection/…/mip2/z0-16_y0-9_x0-9_uint8``.

    The key must identify the slab completely, including its shape and type. A file contains the
    SHA-256 of key and voxels, followed by the voxels in C order. The key is part of the checksum
    because some file systems do not distinguish ``EM`` from ``em``.

    Parameters
    ----------
    folder : Path
        Folder of the files; created when the first slab is written.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, key: str) -> Path:
        """Return the path of a key; ``:`` (host and port) is not allowed in names everywhere."""
        return self.folder / f"{key.replace(':', '_')}.slab"

    def contains(self, key: str) -> bool:
        """Return whether there is a file for a key; it is only verified when read."""
        return self.path(key).exists()

    def read(self, key: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
        """Return a cached slab, or None if there is none or it is damaged."""
        try:
            content = self.path(key).read_bytes()
        except FileNotFoundError:
            return None
        voxels = memoryview(content)[DIGEST_BYTES:]
        if content[:DIGEST_BYTES] != _digest(key, voxels):
            return None
        return np.frombuffer(voxels, dtype).reshape(shape)

    def write(self, key: str, data: np.ndarray) -> None:
        """Write a slab atomically."""
        voxels = np.ascontiguousarray(data).data.cast("B")
        with atomic_path(self.path(key)) as temporary, temporary.open("wb") as file:
            file.write(_digest(key, voxels))
            file.write(voxels)


def _digest(key: str, voxels: memoryview) -> bytes:
    digest = hashlib.sha256(key.encode())
    digest.update(voxels)
    return digest.digest()
