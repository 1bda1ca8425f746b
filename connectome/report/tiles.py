"""A stack made small enough to travel inside a web page: sections as JPEG, ids deflated."""

from __future__ import annotations

import base64
import io
import zlib

import numpy as np
import pandas as pd
from PIL import Image

MAX_VOXELS = 16_000_000  # beyond, sections are shown at a fraction of their resolution
JPEG_QUALITY = 85


def choose_step(shape: tuple[int, int, int]) -> int:
    """Return every how manieth row and column is shown of a stack (Z, Y, X)."""
    return int(np.ceil(np.sqrt(max(1.0, np.prod(shape, dtype=float) / MAX_VOXELS))))


def encode_sections(stack: np.ndarray, step: int = 1) -> list[str]:
    """Return every section of a stack in [0, 1] as a base64 JPEG.

    Parameters
    ----------
    stack : ndarray of float, shape (Z, Y, X)
        Intensities.
    step : int
        As `choose_step` returns.
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
    """Return bytes as base64."""
    return base64.b64encode(content).decode("ascii")


def renumber_ids(labels: np.ndarray, step: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Give the ids of a stack numbers without gaps.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 is none.
    step : int
        As `choose_step` returns.

    Returns
    -------
    ids : ndarray of int64, shape (N,)
        Rising, the first 0 whether it occurs or not.
    index : ndarray of uint16 or uint32
        Places in ``ids``, of every ``step``-th row and column.
    """
    ids = np.union1d(0, np.sort(pd.unique(labels.ravel())))
    shown = labels[:, ::step, ::step]
    if ids[-1] < 4 * len(ids) + 65536:
        place = np.zeros(int(ids[-1]) + 1, np.int64)
        place[ids] = np.arange(len(ids))
        index = place[shown]
    else:
        index = np.searchsorted(ids, shown)
    return ids.astype(np.int64), index.astype("<u2" if len(ids) <= 0xFFFF else "<u4")


def encode_ids(index: np.ndarray) -> str:
    """Return an array's bytes in zlib's format, as base64: a browser unpacks it by itself.

    A PNG would be as small, but browsers that guard against fingerprinting alter the pixels a page
    reads back, and ids must be exact.
    """
    return encode_base64(zlib.compress(np.ascontiguousarray(index).tobytes(), 6))


def locate_neurites(index: np.ndarray, count: int) -> np.ndarray:
    """Return where every neurite is largest.

    Parameters
    ----------
    index : ndarray of int, shape (Z, Y, X)
        As `renumber_ids` returns.
    count : int
        Number of ids, none included.

    Returns
    -------
    ndarray of int, shape (count, 3)
        The section in which it has most pixels, and the middle pixel (y, x) of these in reading
        order, which is inside the profile; -1 for what is not there.
    """
    depth = len(index)
    section = np.repeat(np.arange(depth), index[0].size)
    flat = index.ravel().astype(np.int64)
    area = np.bincount(flat * depth + section, minlength=count * depth).reshape(count, depth)
    best = area.argmax(axis=1)
    there = np.flatnonzero(best[flat] == section)
    order = there[np.argsort(flat[there], kind="stable")]
    counts = area[np.arange(count), best]
    middle = np.cumsum(counts) - counts + counts // 2
    found = np.full((count, 3), -1)
    known = counts > 0
    found[known] = np.stack(np.unravel_index(order[middle[known]], index.shape), axis=1)
    return found
