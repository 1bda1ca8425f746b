"""Encode a stack for a web page: sections as JPEG, neurite ids compressed."""

from __future__ import annotations

import base64
import io
import zlib

import numpy as np
import pandas as pd
from PIL import Image

MAX_VOXELS = 16_000_000  # larger stacks are shown at reduced resolution
JPEG_QUALITY = 85


def choose_step(shape: tuple[int, int, int]) -> int:
    """Return the subsampling of rows and columns that keeps a stack (Z, Y, X) small enough."""
    return int(np.ceil(np.sqrt(max(1.0, np.prod(shape, dtype=float) / MAX_VOXELS))))


def encode_sections(stack: np.ndarray, step: int = 1) -> list[str]:
    """Encode each section as a JPEG in base64.

    Parameters
    ----------
    stack : ndarray of float, shape (Z, Y, X)
        Intensities in [0, 1].
    step : int
        Factor by which rows and columns are reduced (mean of ``step`` × ``step`` pixels).

    Returns
    -------
    list of str
    """
    encoded = []
    for section in stack:
        grey = Image.fromarray((255 * np.clip(section, 0, 1) + 0.5).astype(np.uint8))
        if step > 1:
            size = (-(-grey.width // step), -(-grey.height // step))
            grey = grey.resize(size, Image.Resampling.BOX)
        with io.BytesIO() as buffer:
            grey.save(buffer, "JPEG", quality=JPEG_QUALITY)
            encoded.append(encode_base64(buffer.getvalue()))
    return encoded


def encode_base64(content: bytes) -> str:
    """Return bytes as base64 text."""
    return base64.b64encode(content).decode("ascii")


def renumber_ids(labels: np.ndarray, step: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Replace the ids of a stack by consecutive numbers.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 is background.
    step : int
        Every ``step``-th row and column is kept.

    Returns
    -------
    ids : ndarray of int64, shape (N,)
        All ids in ascending order, 0 included even if it does not occur.
    index : ndarray of uint16 or uint32, shape (Z, Y / step, X / step)
        Index into ``ids`` of each pixel that is kept.
    """
    ids = np.union1d(0, np.sort(pd.unique(labels.ravel())))
    kept = labels[:, ::step, ::step]
    if ids[-1] < 4 * len(ids) + 65536:
        lookup = np.zeros(int(ids[-1]) + 1, np.int64)
        lookup[ids] = np.arange(len(ids))
        index = lookup[kept]
    else:
        index = np.searchsorted(ids, kept)
    return ids.astype(np.int64), index.astype("<u2" if len(ids) <= 0xFFFF else "<u4")


def encode_index(index: np.ndarray) -> str:
    """Encode an array as zlib-compressed bytes in base64, which browsers decompress natively.

    A PNG would be as small, but browsers that resist fingerprinting alter the pixels that a page
    reads back, and ids must be exact.
    """
    return encode_base64(zlib.compress(np.ascontiguousarray(index).tobytes(), 6))


def locate_neurites(index: np.ndarray, count: int) -> np.ndarray:
    """Return, for each neurite, a pixel in the section where it is largest.

    Parameters
    ----------
    index : ndarray of int, shape (Z, Y, X)
        Consecutive numbers of neurites, from `renumber_ids`.
    count : int
        Number of ids, background included.

    Returns
    -------
    ndarray of int, shape (count, 3)
        (z, y, x) of the middle pixel of the profile in reading order, which lies inside it; -1 for
        ids without pixels.
    """
    depth = len(index)
    section = np.repeat(np.arange(depth), index[0].size)
    flat = index.ravel().astype(np.int64)
    area = np.bincount(flat * depth + section, minlength=count * depth).reshape(count, depth)
    largest = area.argmax(axis=1)
    in_largest = np.flatnonzero(largest[flat] == section)
    by_neurite = in_largest[np.argsort(flat[in_largest], kind="stable")]
    counts = area[np.arange(count), largest]
    middle = np.cumsum(counts) - counts + counts // 2
    location = np.full((count, 3), -1)
    present = counts > 0
    location[present] = np.stack(np.unravel_index(by_neurite[middle[present]], index.shape), axis=1)
    return location
