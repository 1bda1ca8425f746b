"""A neurite divided between seeds, however large it is, before the person who asks has to wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from connectome.proofread.edit_runs import Box, VoxelRuns, find_part_runs

MAX_WATERSHED_VOXELS = 2**19  # voxels a watershed floods in about a sixth of a second
MAX_BLOCK_PX = 8  # blocks larger than this lose thin membranes, and with them where to cut
MAX_REFINED_VOXELS = 2**20  # voxels of the boxes around cuts that are flooded again


class SplitTask(NamedTuple):
    """What is to be divided.

    Parameters
    ----------
    neurite : int
        Its id.
    box : tuple of slice
        The part of the stack, (z, y, x), in which it is.
    places, groups
        Seeds within that part, as `split_neurite` takes them.
    """

    neurite: int
    box: Box
    seed_voxels: np.ndarray
    seed_groups: np.ndarray

    def equals(self, other: SplitTask) -> bool:
        """Tell whether another task has the same to divide between the same."""
        same_seeds = all(map(np.array_equal, self[2:], other[2:]))
        return self[:2] == other[:2] and same_seeds


class SplitWorker:
    """Divides on a thread of its own, so that it can begin before anybody asks for it.

    Whoever has painted the last seed needs a moment to press the key: the neurite is divided
    meanwhile.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids; others edit them in place.
    evidence : callable
        Returns the neurite probability, (Z, Y, X); called on that thread.
    """

    def __init__(self, labels: np.ndarray, evidence: Callable[[], np.ndarray]):
        self._labels = labels
        self._evidence = evidence
        self._thread = ThreadPoolExecutor(1, "division")
        self._begun: tuple[SplitTask, np.ndarray, Future] | None = None

    def start(self, task: SplitTask) -> Future:
        """Begin with what will probably be asked for, and forget what was begun before it."""
        if self._begun:
            before, inside, future = self._begun
            if before.equals(task) and self._is_unchanged(inside, task):
                return future
            future.cancel()
        inside = self._labels[task.box] == task.neurite
        future = self._thread.submit(self._split, task, inside)
        self._begun = task, inside, future
        return future

    def result(self, task: SplitTask) -> tuple[int, VoxelRuns]:
        """Divide a neurite: without a delay if that was begun a moment ago.

        Returns
        -------
        kept : int
            The group of the largest part.
        leaving : VoxelRuns
            Voxels of the other parts; their new ids are the groups.
        """
        future = self.start(task)
        self._begun = None  # should it have failed, it is not to fail for ever
        return future.result()

    def _is_unchanged(self, inside: np.ndarray, task: SplitTask) -> bool:
        """Tell whether a neurite is where it was."""
        # Section by section: what is needed on the way stays in the cache.
        pairs = zip(self._labels[task.box], inside, strict=True)
        return all(np.array_equal(now == task.neurite, was) for now, was in pairs)

    def _split(self, task: SplitTask, inside: np.ndarray) -> tuple[int, VoxelRuns]:
        evidence = self._evidence()[task.box]
        kept, leaving = split_neurite(inside, task.seed_voxels, task.seed_groups, evidence)
        groups = range(1, int(task.seed_groups.max()) + 1)
        return kept, find_part_runs(leaving, task.neurite, groups, task.box, self._labels.shape)


def split_neurite(
    inside: np.ndarray, seed_voxels: np.ndarray, seed_groups: np.ndarray, probability: np.ndarray
) -> tuple[int, np.ndarray]:
    """Divide a neurite between seeds, by watershed on the neurite probability.

    A neurite larger than a watershed can flood while a person waits is flooded in blocks of a few
    pixels of its sections, small enough to keep the seeds of different groups apart. The blocks
    along cuts and around seeds are then flooded again voxel by voxel, with what is around them
    as seeds; the smallest cuts come first, and the largest stay as they are if they are too many.
    Blocks are of two pixels up to two million voxels; larger ones lose membranes thinner than half
    of them, and take parts for connected that lie as close.
    O(V) time for V voxels, most of it spent on what is flooded.

    Parameters
    ----------
    inside : ndarray of bool, shape (Z, Y, X)
        The neurite.
    places : ndarray of int, shape (N, 3)
        Seeds inside, (z, y, x).
    groups : ndarray of int, shape (N,)
        The group of each seed, from 1.
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability.

    Returns
    -------
    kept : int
        The group of the largest part.
    leaving : ndarray of unsigned int, shape (Z, Y, X)
        The group that each voxel of the other parts goes to; 0 in the largest, where no seed
        leads, and outside.
    """
    side = _choose_block_size(inside, seed_voxels, seed_groups)
    fine = _place_seeds(seed_voxels, seed_groups, inside.shape)
    if side == 1:
        parts = _watershed(inside, fine, probability)
        kept = _largest_part(parts)
        return kept, np.where(parts == kept, 0, parts)
    blocks = _occupied_blocks(inside, side)
    seeds = _place_seeds(seed_voxels // (1, side, side), seed_groups, blocks.shape)
    evidence = _sample_blocks(probability, side)
    evidence[seeds > 0] = np.inf  # whoever put a seed did not mean the membrane beside it
    coarse = _watershed(blocks, seeds, evidence)
    kept = _largest_part(coarse)
    leaving = _leaving_voxels(coarse, kept, inside, side)
    left = MAX_REFINED_VOXELS
    for again, box in _blocks_to_refine(coarse, seeds):
        voxels = _voxel_box(box, side)
        left -= inside[voxels].size
        if left < 0:
            break
        here = _expand_blocks(again, side, inside[voxels].shape) & inside[voxels]
        rest = _expand_blocks(coarse[box], side, here.shape) * inside[voxels]
        known = np.where(here, fine[voxels], rest)
        within = inside[voxels] & _dilate(here)  # what is farther off is settled
        parts = _watershed(within, known, probability[voxels])
        leaving[voxels][here] = np.where(parts == kept, 0, parts)[here]
    return kept, leaving


def _choose_block_size(inside, places, groups) -> int:
    """Return the side of blocks that are few enough, and no larger than keeps groups apart."""
    n_voxels, side = np.count_nonzero(inside), 1
    while side < MAX_BLOCK_PX and n_voxels > MAX_WATERSHED_VOXELS * side**2:
        if not _are_separated(places // (1, 2 * side, 2 * side), groups):
            break
        side *= 2
    return side


def _largest_part(parts: np.ndarray) -> int:
    """Return which of the parts, counted from 1, has most voxels; the first of those alike."""
    sizes = [np.count_nonzero(parts == part) for part in range(1, int(parts.max()) + 1)]
    return 1 + int(np.argmax(sizes))


def _leaving_voxels(coarse: np.ndarray, kept: int, inside: np.ndarray, side: int) -> np.ndarray:
    """Give the voxels of all parts but one what their blocks have."""
    leaving = np.zeros(inside.shape, coarse.dtype)
    others = np.where(coarse == kept, 0, coarse)
    for around in ndimage.find_objects(others):
        if around:
            voxels = _voxel_box(around, side)
            here = inside[voxels]
            leaving[voxels] = _expand_blocks(others[around], side, here.shape) * here
    return leaving


def _are_separated(places: np.ndarray, groups: np.ndarray) -> bool:
    """Tell whether no place has seeds of two groups."""
    both = np.unique(np.column_stack([places, groups]), axis=0)
    return len(both) == len(np.unique(both[:, :3], axis=0))


def _place_seeds(places: np.ndarray, groups: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    seeds = np.zeros(shape, np.min_scalar_type(int(groups.max())))
    seeds[tuple(places.T)] = groups
    return seeds


def _watershed(inside, seeds, probability) -> np.ndarray:
    from skimage.segmentation import watershed

    parts = watershed(-np.asarray(probability, np.float32), seeds.astype(np.int32), mask=inside)
    return parts.astype(seeds.dtype)


def _occupied_blocks(inside: np.ndarray, side: int) -> np.ndarray:
    """Tell which blocks have a voxel inside."""
    for axis in (1, 2):
        before = (slice(None),) * axis
        blocks = inside[(*before, slice(None, None, side))].copy()
        for at in range(1, side):
            there = inside[(*before, slice(at, None, side))]
            blocks[(*before, slice(there.shape[axis]))] |= there
        inside = blocks
    return inside


def _sample_blocks(probability: np.ndarray, side: int) -> np.ndarray:
    """Return the mean of four voxels of every block: a membrane half as wide shows in it."""
    quarters = (side // 4, side - 1 - side // 4)
    rows, columns = (
        # Steps are quicker than places, but only places stay within a last block that is cut.
        [
            slice(at, None, side) if n % side == 0 else _sample_positions(n, side, at)
            for at in quarters
        ]
        for n in probability.shape[1:]
    )
    samples = (probability[:, y][:, :, x].astype(np.float32) for y in rows for x in columns)
    return sum(samples) / 4


def _sample_positions(n: int, side: int, at: int) -> np.ndarray:
    return np.minimum(np.arange(0, n, side) + at, n - 1)


def _expand_blocks(blocks: np.ndarray, side: int, shape: tuple[int, ...]) -> np.ndarray:
    """Give every voxel what its block has."""
    ny, nx = shape[-2:]
    wide = np.repeat(blocks, side, axis=-1)[..., :nx]
    return np.repeat(wide, side, axis=-2)[..., :ny, :]


def _blocks_to_refine(parts: np.ndarray, seeds: np.ndarray) -> Iterator[tuple[np.ndarray, Box]]:
    """Yield what is to be flooded again: blocks, and the box around them and their neighbours."""
    which, n = ndimage.label(_dilate(_find_cuts(parts) | (seeds > 0)))
    boxes = [
        tuple(slice(max(along.start - 1, 0), along.stop + 1) for along in box)
        for box in ndimage.find_objects(which)
    ]
    for number in sorted(range(n), key=lambda number: which[boxes[number]].size):
        yield which[boxes[number]] == number + 1, boxes[number]


def _find_cuts(parts: np.ndarray) -> np.ndarray:
    """Tell which blocks touch one of another part."""
    cut = np.zeros(parts.shape, bool)
    for ahead, behind in _neighbour_slices(parts.ndim):
        differ = (parts[ahead] != parts[behind]) & (parts[ahead] > 0) & (parts[behind] > 0)
        cut[ahead] |= differ
        cut[behind] |= differ
    return cut


def _dilate(blocks: np.ndarray) -> np.ndarray:
    """Add the 26 blocks around each."""
    for ahead, behind in _neighbour_slices(blocks.ndim):
        wide = blocks.copy()
        wide[ahead] |= blocks[behind]
        wide[behind] |= blocks[ahead]
        blocks = wide
    return blocks


def _neighbour_slices(ndim: int) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Yield what selects all but the first, and all but the last along each axis."""
    for axis in range(ndim):
        yield tuple((slice(None),) * axis + (side,) for side in (slice(1, None), slice(None, -1)))


def _voxel_box(box: Box, side: int) -> Box:
    return tuple(
        slice(along.start * by, along.stop * by)
        for along, by in zip(box, (1, side, side), strict=True)
    )
