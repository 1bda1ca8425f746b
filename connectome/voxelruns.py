"""Edits of labels as runs of voxels: as small as the edit, easy to take back, fit for a log."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from connectome.errors import DataError

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class VoxelRuns:
    """Voxels and the ids they have before and after an edit.

    Parameters
    ----------
    starts : ndarray of int64, shape (R,)
        First voxel of each run along x, as its position in the flattened stack (C order). No run
        goes beyond the end of its row.
    lengths : ndarray of int64, shape (R,)
        Voxels of each run.
    old, new : ndarray of int32, shape (R,)
        Ids before and after.
    shape : tuple of int
        Of the stack, (Z, Y, X).
    """

    starts: np.ndarray
    lengths: np.ndarray
    old: np.ndarray
    new: np.ndarray
    shape: tuple[int, int, int]

    @property
    def n_voxels(self) -> int:
        """Voxels in all runs."""
        return int(self.lengths.sum())

    def box(self, among: np.ndarray | slice = slice(None)) -> Box:
        """Return the smallest box, (z, y, x), around the runs chosen by a mask; all by default."""
        z, y, x = np.unravel_index(self.starts[among], self.shape)
        return (
            slice(int(z.min()), int(z.max()) + 1),
            slice(int(y.min()), int(y.max()) + 1),
            slice(int(x.min()), int((x + self.lengths[among]).max())),
        )

    def write(self, labels: np.ndarray, ids: np.ndarray) -> None:
        """Give each run an id, in place; ``labels`` is C-contiguous."""
        voxels = expanded(self.starts, self.lengths)
        labels.reshape(-1)[voxels] = np.repeat(ids, self.lengths)

    def packed(self) -> bytes:
        """Return which voxels get which ids, compressed: all that is needed to do it again.

        zlib over little-endian int64 of shape (3, R): starts as differences from run to run,
        lengths, new ids.
        """
        table = np.stack([np.diff(self.starts, prepend=0), self.lengths, self.new])
        return zlib.compress(table.astype("<i8").tobytes(), level=1)


def find_runs(
    places: np.ndarray,
    old: np.ndarray | int,
    new: np.ndarray | int,
    box: Box,
    shape: tuple[int, int, int],
) -> VoxelRuns:
    """Gather voxels into runs. O(N) time in voxels N.

    Parameters
    ----------
    places : ndarray of int, shape (N,)
        Positions in the flattened box, ascending.
    old, new : int or ndarray of int, shape (N,)
        Ids before and after.
    box : tuple of slice
        Where in the stack the places are counted.
    shape : tuple of int
        Of the stack, (Z, Y, X).
    """
    extent = [side.stop - side.start for side in box]
    first = places % extent[2] == 0
    first[:1] = True
    first[1:] |= np.diff(places) != 1
    for ids in (old, new):
        if np.ndim(ids):
            first[1:] |= np.diff(ids) != 0
    at = np.flatnonzero(first)
    starts = _in_stack(np.unravel_index(places[at], extent), box, shape)
    ids = (np.broadcast_to(which, places.shape)[at].astype(np.int32) for which in (old, new))
    return VoxelRuns(starts, np.diff(at, append=places.size), *ids, shape)


def mask_runs(
    mask: np.ndarray, old: int, new: int, box: Box, shape: tuple[int, int, int]
) -> VoxelRuns:
    """Gather a mask's voxels into runs: as `find_runs`, and faster where all have one id.

    Parameters
    ----------
    mask : ndarray of bool
        Of the box's shape.
    old, new, box, shape
        As in `find_runs`.
    """
    fenced = np.zeros((*mask.shape[:2], mask.shape[2] + 2), bool)
    fenced[..., 1:-1] = mask
    # Along a row, runs begin and end by turns.
    edges = np.flatnonzero(fenced[..., 1:] != fenced[..., :-1])
    begin, end = edges[::2], edges[1::2]
    starts = _in_stack(np.unravel_index(begin, fenced[..., 1:].shape), box, shape)
    ids = (np.full(begin.size, which, np.int32) for which in (old, new))
    return VoxelRuns(starts, end - begin, *ids, shape)


def _in_stack(inside: Sequence[np.ndarray], box: Box, shape: tuple[int, int, int]) -> np.ndarray:
    """Return positions in the flattened stack from (z, y, x) in a box."""
    return np.ravel_multi_index(
        [along + side.start for along, side in zip(inside, box, strict=True)], shape
    )


def unpacked(payload: bytes, labels: np.ndarray) -> VoxelRuns:
    """Read what `VoxelRuns.packed` wrote; the ids before are those of ``labels``.

    Raises
    ------
    DataError
        If it is no such thing, or speaks of voxels outside the stack.
    """
    try:
        steps, lengths, new = np.frombuffer(zlib.decompress(payload), "<i8").reshape(3, -1)
        voxels, ids = expanded(np.cumsum(steps), lengths), np.repeat(new, lengths)
        old = labels.reshape(-1)[voxels]
        differ = old != ids
        everywhere = tuple(slice(0, n) for n in labels.shape)
        return find_runs(voxels[differ], old[differ], ids[differ], everywhere, labels.shape)
    except (ValueError, IndexError, zlib.error) as error:
        raise DataError(
            f"a logged edit cannot be read: {error}", "the edits after it cannot be made again"
        ) from error


def expanded(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the position of every voxel of runs, in their order."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if ends.size else 0)
