"""Edits of labels as runs of voxels: as small as the edit, easy to take back, fit for a log."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from connectome.core.errors import DataError

Box = tuple[slice, slice, slice]

RUNS_PER_WRITE = 2**14  # runs written at a time: what is needed on the way stays in the cache


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
    old_ids: np.ndarray
    new_ids: np.ndarray
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
        flat = labels.reshape(-1)
        for first in range(0, self.starts.size, RUNS_PER_WRITE):
            some = slice(first, first + RUNS_PER_WRITE)
            voxels = expand_runs(self.starts[some], self.lengths[some])
            flat[voxels] = np.repeat(ids[some], self.lengths[some])

    def pack(self) -> bytes:
        """Return which voxels get which ids, compressed: all that is needed to do it again.

        zlib over little-endian int64 of shape (3, R): starts as differences from run to run,
        lengths, new ids.
        """
        table = np.stack([np.diff(self.starts, prepend=0), self.lengths, self.new_ids])
        return zlib.compress(table.astype("<i8").tobytes(), level=1)


def find_runs(
    positions: np.ndarray,
    old_ids: np.ndarray | int,
    new_ids: np.ndarray | int,
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
    first = positions % extent[2] == 0
    first[:1] = True
    first[1:] |= np.diff(positions) != 1
    for ids in (old_ids, new_ids):
        if np.ndim(ids):
            first[1:] |= np.diff(ids) != 0
    at = np.flatnonzero(first)
    starts = _flat_positions(np.unravel_index(positions[at], extent), box, shape)
    ids = (
        np.broadcast_to(which, positions.shape)[at].astype(np.int32) for which in (old_ids, new_ids)
    )
    return VoxelRuns(starts, np.diff(at, append=positions.size), *ids, shape)


def find_part_runs(
    parts: Iterable[np.ndarray],
    old_id: int,
    new_ids: Sequence[int],
    box: Box,
    shape: tuple[int, int, int],
) -> VoxelRuns:
    """Gather what becomes of the parts of one neurite into runs.

    As `find_runs`, for many voxels of one id: section by section, so that what is needed on the
    way stays small and is used again. O(V) time for V voxels of the box.

    Parameters
    ----------
    parts : iterable of ndarray of bool or int, shape (Y, X)
        For each section of the box the part that voxels belong to; 0 where nothing changes.
    old : int
        The id all of them have.
    new : sequence of int
        The ids of parts 1, 2 and so on.
    box, shape
        As in `find_runs`.
    """
    kind = np.min_scalar_type(len(new_ids))
    ids = np.array([0, *new_ids], np.int32)
    _, ny, nx = (along.stop - along.start for along in box)
    fenced = np.zeros((ny, nx + 2), kind)
    corners = _flat_positions(np.indices((box[0].stop - box[0].start, ny, 1))[..., 0], box, shape)
    pieces = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.int32))]
    for part, corner in zip(parts, corners, strict=True):
        if not part.any():
            continue
        fenced[:, 1:-1] = part
        # At an edge one run ends, and the next begins unless there is nothing to change.
        edges = np.flatnonzero(fenced[:, 1:] != fenced[:, :-1])
        row = edges // (nx + 1)
        which = fenced.reshape(-1)[edges + row + 1]
        begins = np.flatnonzero(which)
        first, row = edges[begins], row[begins]
        lengths = edges[begins + 1] - first
        pieces.append((corner[row] + first - row * (nx + 1), lengths, ids[which[begins]]))
    starts, lengths, after = map(np.concatenate, zip(*pieces, strict=True))
    return VoxelRuns(starts, lengths, np.full(starts.size, old_id, np.int32), after, shape)


def _flat_positions(
    inside: Sequence[np.ndarray], box: Box, shape: tuple[int, int, int]
) -> np.ndarray:
    """Return positions in the flattened stack from (z, y, x) in a box."""
    return np.ravel_multi_index(
        [along + side.start for along, side in zip(inside, box, strict=True)], shape
    )


def unpack_runs(payload: bytes, labels: np.ndarray) -> VoxelRuns:
    """Read what `VoxelRuns.packed` wrote; the ids before are those of ``labels``.

    Raises
    ------
    DataError
        If it is no such thing, or speaks of voxels outside the stack.
    """
    try:
        steps, lengths, new = np.frombuffer(zlib.decompress(payload), "<i8").reshape(3, -1)
        voxels, ids = expand_runs(np.cumsum(steps), lengths), np.repeat(new, lengths)
        old = labels.reshape(-1)[voxels]
        differ = old != ids
        everywhere = tuple(slice(0, n) for n in labels.shape)
        return find_runs(voxels[differ], old[differ], ids[differ], everywhere, labels.shape)
    except (ValueError, IndexError, zlib.error) as error:
        raise DataError(
            f"a logged edit cannot be read: {error}", "the edits after it cannot be made again"
        ) from error


def find_marked_voxels(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where a stack is above 0, (z, y, x): at once if that is in a few sections only."""
    sections = np.flatnonzero(stack.reshape(len(stack), -1).max(axis=1) > 0)
    z, y, x = np.nonzero(stack[sections] > 0)
    return sections[z], y, x


def expand_runs(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the position of every voxel of runs, in their order."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if ends.size else 0)
