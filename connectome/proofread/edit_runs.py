"""Store an edit of labels as runs of voxels: compact, reversible and fit for a log."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from connectome.core.errors import DataError

Box = tuple[slice, slice, slice]

RUNS_PER_WRITE = 2**14  # intermediate arrays of this many runs stay in the processor's cache


@dataclass(frozen=True, eq=False)
class VoxelRuns:
    """Voxels with their ids before and after an edit, as runs along x.

    Parameters
    ----------
    starts : ndarray of int64, shape (R,)
        First voxel of each run, as its position in the flattened stack (C order). No run goes
        beyond the end of its row.
    lengths : ndarray of int64, shape (R,)
        Voxels of each run.
    old_ids, new_ids : ndarray of int32, shape (R,)
        Ids before and after.
    shape : tuple of int
        Shape of the stack, (Z, Y, X).
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

    def bounding_box(self, selection: np.ndarray | slice = slice(None)) -> Box:
        """Return the bounding box, (z, y, x), of the selected runs; of all by default."""
        z, y, x = np.unravel_index(self.starts[selection], self.shape)
        return (
            slice(int(z.min()), int(z.max()) + 1),
            slice(int(y.min()), int(y.max()) + 1),
            slice(int(x.min()), int((x + self.lengths[selection]).max())),
        )

    def write(self, labels: np.ndarray, ids: np.ndarray) -> None:
        """Write one id per run into C-contiguous labels, in place."""
        flat = labels.reshape(-1)
        for first in range(0, self.starts.size, RUNS_PER_WRITE):
            batch = slice(first, first + RUNS_PER_WRITE)
            voxels = expand_runs(self.starts[batch], self.lengths[batch])
            flat[voxels] = np.repeat(ids[batch], self.lengths[batch])

    def pack(self) -> bytes:
        """Return the voxels and their new ids as compressed bytes.

        zlib over little-endian int64 of shape (3, R): differences between successive starts,
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
    """Combine voxels into runs. O(N) time for N voxels.

    Parameters
    ----------
    positions : ndarray of int, shape (N,)
        Positions in the flattened box, ascending.
    old_ids, new_ids : int or ndarray of int, shape (N,)
        Ids before and after.
    box : tuple of slice
        Part of the stack, (z, y, x), that the positions refer to.
    shape : tuple of int
        Shape of the stack, (Z, Y, X).
    """
    extent = [side.stop - side.start for side in box]
    is_first = positions % extent[2] == 0
    is_first[:1] = True
    is_first[1:] |= np.diff(positions) != 1
    for ids in (old_ids, new_ids):
        if np.ndim(ids):
            is_first[1:] |= np.diff(ids) != 0
    first = np.flatnonzero(is_first)
    starts = _stack_positions(np.unravel_index(positions[first], extent), box, shape)
    return VoxelRuns(
        starts,
        np.diff(first, append=positions.size),
        np.broadcast_to(old_ids, positions.shape)[first].astype(np.int32),
        np.broadcast_to(new_ids, positions.shape)[first].astype(np.int32),
        shape,
    )


def find_part_runs(
    parts: Iterable[np.ndarray],
    old_id: int,
    new_ids: Sequence[int],
    box: Box,
    shape: tuple[int, int, int],
) -> VoxelRuns:
    """Combine the parts of one neurite into runs.

    Like `find_runs`, for many voxels of one id. Works section by section, which keeps the
    intermediate arrays small. O(V) time for V voxels of the box.

    Parameters
    ----------
    parts : iterable of ndarray of bool or int, shape (Y, X)
        For each section of the box, the part that each voxel belongs to; 0 where nothing changes.
    old_id : int
        The id of all parts before.
    new_ids : sequence of int
        The ids of parts 1, 2 and so on.
    box, shape
        As in `find_runs`.
    """
    dtype = np.min_scalar_type(len(new_ids))
    id_of_part = np.array([0, *new_ids], np.int32)
    n_sections, ny, nx = (side.stop - side.start for side in box)
    padded = np.zeros((ny, nx + 2), dtype)
    row_starts = _stack_positions(np.indices((n_sections, ny, 1))[..., 0], box, shape)
    runs = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.int32))]
    for part, row_start in zip(parts, row_starts, strict=True):
        if not part.any():
            continue
        padded[:, 1:-1] = part
        # At every edge a run ends; the next one starts there unless nothing changes beyond it.
        edges = np.flatnonzero(padded[:, 1:] != padded[:, :-1])
        row = edges // (nx + 1)
        part_after = padded.reshape(-1)[edges + row + 1]
        begins = np.flatnonzero(part_after)
        first, row = edges[begins], row[begins]
        lengths = edges[begins + 1] - first
        runs.append(
            (row_start[row] + first - row * (nx + 1), lengths, id_of_part[part_after[begins]])
        )
    starts, lengths, ids = map(np.concatenate, zip(*runs, strict=True))
    return VoxelRuns(starts, lengths, np.full(starts.size, old_id, np.int32), ids, shape)


def unpack_runs(payload: bytes, labels: np.ndarray) -> VoxelRuns:
    """Read what `VoxelRuns.pack` wrote; the ids before are those of ``labels``.

    Raises
    ------
    DataError
        If the bytes are damaged, or list voxels outside the stack.
    """
    try:
        steps, lengths, new_ids = np.frombuffer(zlib.decompress(payload), "<i8").reshape(3, -1)
        voxels, new_ids = expand_runs(np.cumsum(steps), lengths), np.repeat(new_ids, lengths)
        old_ids = labels.reshape(-1)[voxels]
        differ = old_ids != new_ids
        nz, ny, nx = labels.shape
        box = (slice(0, nz), slice(0, ny), slice(0, nx))
        return find_runs(voxels[differ], old_ids[differ], new_ids[differ], box, labels.shape)
    except (ValueError, IndexError, zlib.error) as error:
        raise DataError(
            f"a logged edit cannot be read: {error}", "the edits after it cannot be replayed"
        ) from error


def expand_runs(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the position of every voxel of runs, in order."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if ends.size else 0)


def find_marked_voxels(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the indices, (z, y, x), of voxels above 0; fast if they are in a few sections."""
    sections = np.flatnonzero(stack.reshape(len(stack), -1).max(axis=1) > 0)
    z, y, x = np.nonzero(stack[sections] > 0)
    return sections[z], y, x


def _stack_positions(
    indices: Sequence[np.ndarray] | np.ndarray, box: Box, shape: tuple[int, int, int]
) -> np.ndarray:
    """Return positions in the flattened stack of indices, (z, y, x), in a box."""
    return np.ravel_multi_index(
        tuple(axis + side.start for axis, side in zip(indices, box, strict=True)), shape
    )
