"""Split a neurite between seeds by watershed, in the background and fast enough to wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from connectome.proofread.edit_runs import Box, VoxelRuns, find_marked_voxels, find_part_runs

MAX_WATERSHED_VOXELS = 2**19  # take about a sixth of a second
MAX_BLOCK_PX = 8  # larger blocks lose thin membranes, and with them the position of the cut
MAX_REFINED_VOXELS = 2**20  # in the boxes around the cut that are flooded voxel by voxel


class SplitTask(NamedTuple):
    """A neurite and the seeds to split it between.

    Parameters
    ----------
    neurite : int
        Its id.
    box : tuple of slice
        Its bounding box, (z, y, x).
    seed_voxels : ndarray of int, shape (N, 3)
        Seeds, (z, y, x) in the box.
    seed_groups : ndarray of int, shape (N,)
        Group of each seed, from 1.
    """

    neurite: int
    box: Box
    seed_voxels: np.ndarray
    seed_groups: np.ndarray

    @property
    def n_groups(self) -> int:
        """Groups of seeds."""
        return int(self.seed_groups.max(initial=0))

    def equals(self, other: SplitTask) -> bool:
        """Tell whether another task has the same neurite, box and seeds."""
        return (
            (self.neurite, self.box) == (other.neurite, other.box)
            and np.array_equal(self.seed_voxels, other.seed_voxels)
            and np.array_equal(self.seed_groups, other.seed_groups)
        )


class SplitWorker:
    """Computes splits on its own thread, so that one can start before it is requested.

    After the last seed, a person needs a moment to press the key; the split is computed meanwhile.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids; others edit them in place.
    probability : callable
        Returns the neurite probability, (Z, Y, X); called on the worker's thread.
    """

    def __init__(self, labels: np.ndarray, probability: Callable[[], np.ndarray]):
        self._labels = labels
        self._probability = probability
        self._thread = ThreadPoolExecutor(1, "split")
        self._started: tuple[SplitTask, np.ndarray, Future] | None = None

    def start(self, task: SplitTask) -> Future:
        """Start a task, unless it is the one under way; an earlier task is dropped."""
        if self._started:
            earlier, mask, future = self._started
            if earlier.equals(task) and self._is_unchanged(mask, task):
                return future
            future.cancel()
        mask = self._labels[task.box] == task.neurite
        future = self._thread.submit(self._split, task, mask)
        self._started = task, mask, future
        return future

    def result(self, task: SplitTask) -> tuple[int, VoxelRuns]:
        """Return the result of a task, which is immediate if it was started in time.

        Returns
        -------
        kept : int
            The group of the largest part.
        leaving : VoxelRuns
            Voxels of the other parts; their new ids are the groups.
        """
        future = self.start(task)
        self._started = None  # a task that failed is tried again next time
        return future.result()

    def _is_unchanged(self, mask: np.ndarray, task: SplitTask) -> bool:
        # Section by section, so that the comparisons stay in the processor's cache.
        pairs = zip(self._labels[task.box], mask, strict=True)
        return all(np.array_equal(section == task.neurite, before) for section, before in pairs)

    def _split(self, task: SplitTask, mask: np.ndarray) -> tuple[int, VoxelRuns]:
        kept, leaving = split_neurite(
            mask, task.seed_voxels, task.seed_groups, self._probability()[task.box]
        )
        groups = range(1, task.n_groups + 1)
        runs = find_part_runs(leaving, task.neurite, groups, task.box, self._labels.shape)
        return kept, runs


def group_seeds(
    seeds: np.ndarray, labels: np.ndarray, neurite: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the seeds in a neurite and their groups.

    Parameters
    ----------
    seeds : ndarray of int, shape (Z, Y, X)
        Marks above 0. Marks of one number form a group; if all have the same number, each
        connected stroke is a group.
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids.
    neurite : int
        Seeds outside this neurite are ignored.

    Returns
    -------
    seed_voxels : ndarray of int, shape (N, 3)
        Seeds, (z, y, x).
    seed_groups : ndarray of int, shape (N,)
        Group of each seed, from 1.
    """
    marked = find_marked_voxels(seeds)
    voxels = np.column_stack(marked)[labels[marked] == neurite]
    values, groups = np.unique(seeds[tuple(voxels.T)], return_inverse=True)
    if values.size == 1:
        low = voxels.min(axis=0)
        strokes = np.zeros(voxels.max(axis=0) - low + 1, bool)
        inside = tuple((voxels - low).T)
        strokes[inside] = True
        groups = ndimage.label(strokes, np.ones((3, 3, 3)))[0][inside] - 1
    return voxels, groups + 1


def split_neurite(
    mask: np.ndarray,
    seed_voxels: np.ndarray,
    seed_groups: np.ndarray,
    probability: np.ndarray,
) -> tuple[int, np.ndarray]:
    """Split a neurite between seeds, by watershed on the neurite probability.

    A neurite with more voxels than a watershed can flood while a person waits is flooded in
    blocks of a few pixels of its sections, small enough to keep the seeds of different groups
    apart. The blocks along cuts and around seeds are then flooded voxel by voxel, with their
    surroundings as seeds; the smallest cuts come first, and cuts beyond `MAX_REFINED_VOXELS` stay
    as they are. Up to two million voxels the blocks measure two pixels; larger ones miss membranes
    thinner than half a block, and connect parts that are as close.
    O(V) time for V voxels, most of it spent on what is flooded.

    Parameters
    ----------
    mask : ndarray of bool, shape (Z, Y, X)
        The neurite.
    seed_voxels : ndarray of int, shape (N, 3)
        Seeds in the neurite, (z, y, x).
    seed_groups : ndarray of int, shape (N,)
        Group of each seed, from 1.
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability.

    Returns
    -------
    kept : int
        The group of the largest part.
    leaving : ndarray of unsigned int, shape (Z, Y, X)
        The group of every voxel in the other parts; 0 in the largest part, where no seed reaches,
        and outside the neurite.
    """
    block_px = _choose_block_size(mask, seed_voxels, seed_groups)
    seeds = _place_seeds(seed_voxels, seed_groups, mask.shape)
    if block_px == 1:
        parts = _watershed(mask, seeds, probability)
        kept = _largest_part(parts)
        return kept, np.where(parts == kept, 0, parts)
    blocks = _occupied_blocks(mask, block_px)
    block_seeds = _place_seeds(seed_voxels // (1, block_px, block_px), seed_groups, blocks.shape)
    block_probability = _sample_blocks(probability, block_px)
    block_probability[block_seeds > 0] = np.inf  # a seed is not on the membrane in its block
    block_parts = _watershed(blocks, block_seeds, block_probability)
    kept = _largest_part(block_parts)
    leaving = _leaving_voxels(block_parts, kept, mask, block_px)
    n_left = MAX_REFINED_VOXELS
    for refined_blocks, block_box in _blocks_to_refine(block_parts, block_seeds):
        box = _voxel_box(block_box, block_px)
        box_mask = mask[box]
        n_left -= box_mask.size
        if n_left < 0:
            break
        refined = _expand_blocks(refined_blocks, block_px, box_mask.shape) & box_mask
        settled = _expand_blocks(block_parts[block_box], block_px, box_mask.shape) * box_mask
        flooded = box_mask & _dilate(refined)  # parts farther away are settled
        parts = _watershed(flooded, np.where(refined, seeds[box], settled), probability[box])
        leaving[box][refined] = np.where(parts == kept, 0, parts)[refined]
    return kept, leaving


def _choose_block_size(mask: np.ndarray, seed_voxels: np.ndarray, seed_groups: np.ndarray) -> int:
    """Return the smallest side of blocks that are few enough, and keep the groups apart."""
    n_voxels, side = np.count_nonzero(mask), 1
    while side < MAX_BLOCK_PX and n_voxels > MAX_WATERSHED_VOXELS * side**2:
        if not _are_separated(seed_voxels // (1, 2 * side, 2 * side), seed_groups):
            break
        side *= 2
    return side


def _are_separated(blocks: np.ndarray, groups: np.ndarray) -> bool:
    """Tell whether no block has seeds of two groups."""
    with_group = np.unique(np.column_stack([blocks, groups]), axis=0)
    return len(with_group) == len(np.unique(with_group[:, :3], axis=0))


def _largest_part(parts: np.ndarray) -> int:
    """Return the part, counted from 1, with most voxels; the first of equal ones."""
    sizes = [np.count_nonzero(parts == part) for part in range(1, int(parts.max()) + 1)]
    return 1 + int(np.argmax(sizes))


def _leaving_voxels(
    block_parts: np.ndarray, kept: int, mask: np.ndarray, block_px: int
) -> np.ndarray:
    """Return the part of every voxel, from that of its block; 0 in the part that is kept."""
    leaving = np.zeros(mask.shape, block_parts.dtype)
    others = np.where(block_parts == kept, 0, block_parts)
    for block_box in ndimage.find_objects(others):
        if block_box:
            box = _voxel_box(block_box, block_px)
            leaving[box] = _expand_blocks(others[block_box], block_px, mask[box].shape) * mask[box]
    return leaving


def _place_seeds(voxels: np.ndarray, groups: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    seeds = np.zeros(shape, np.min_scalar_type(int(groups.max())))
    seeds[tuple(voxels.T)] = groups
    return seeds


def _watershed(mask: np.ndarray, seeds: np.ndarray, probability: np.ndarray) -> np.ndarray:
    from skimage.segmentation import watershed

    parts = watershed(-np.asarray(probability, np.float32), seeds.astype(np.int32), mask=mask)
    return parts.astype(seeds.dtype)


def _occupied_blocks(mask: np.ndarray, block_px: int) -> np.ndarray:
    """Return which blocks contain a voxel of the mask."""
    for axis in (1, 2):
        before = (slice(None),) * axis
        blocks = mask[(*before, slice(None, None, block_px))].copy()
        for offset in range(1, block_px):
            shifted = mask[(*before, slice(offset, None, block_px))]
            blocks[(*before, slice(shifted.shape[axis]))] |= shifted
        mask = blocks
    return mask


def _sample_blocks(probability: np.ndarray, block_px: int) -> np.ndarray:
    """Return the mean of four voxels per block, which shows membranes half a block wide."""
    quarters = (block_px // 4, block_px - 1 - block_px // 4)
    rows, columns = (
        [_sample_positions(n, block_px, offset) for offset in quarters]
        for n in probability.shape[1:]
    )
    first, *others = (probability[:, y][:, :, x] for y in rows for x in columns)
    total = first.astype(np.float32)
    for sample in others:
        total += sample
    return total / 4


def _sample_positions(n: int, block_px: int, offset: int) -> slice | np.ndarray:
    """Return the row or column at an offset in every block of an axis of length ``n``."""
    if n % block_px == 0:  # strides are faster, but run out in a last block that is cropped
        return slice(offset, None, block_px)
    return np.minimum(np.arange(0, n, block_px) + offset, n - 1)


def _expand_blocks(blocks: np.ndarray, block_px: int, shape: tuple[int, ...]) -> np.ndarray:
    """Give every voxel the value of its block."""
    ny, nx = shape[-2:]
    wide = np.repeat(blocks, block_px, axis=-1)[..., :nx]
    return np.repeat(wide, block_px, axis=-2)[..., :ny, :]


def _blocks_to_refine(parts: np.ndarray, seeds: np.ndarray) -> Iterator[tuple[np.ndarray, Box]]:
    """Yield groups of blocks along cuts and around seeds, smallest first.

    Each with the box around them and their neighbours, in which they are selected.
    """
    components, n = ndimage.label(_dilate(_find_cuts(parts) | (seeds > 0)))
    boxes = [_pad_box(box) for box in ndimage.find_objects(components)]
    for i in sorted(range(n), key=lambda i: components[boxes[i]].size):
        yield components[boxes[i]] == i + 1, boxes[i]


def _find_cuts(parts: np.ndarray) -> np.ndarray:
    """Return which blocks touch a block of another part."""
    cuts = np.zeros(parts.shape, bool)
    for ahead, behind in _neighbour_slices(parts.ndim):
        differ = (parts[ahead] != parts[behind]) & (parts[ahead] > 0) & (parts[behind] > 0)
        cuts[ahead] |= differ
        cuts[behind] |= differ
    return cuts


def _dilate(mask: np.ndarray) -> np.ndarray:
    """Add the 26 neighbours of each element; faster than `scipy.ndimage.binary_dilation`."""
    for ahead, behind in _neighbour_slices(mask.ndim):
        dilated = mask.copy()
        dilated[ahead] |= mask[behind]
        dilated[behind] |= mask[ahead]
        mask = dilated
    return mask


def _neighbour_slices(ndim: int) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Yield, for each axis, what selects all elements but the first, and all but the last."""
    for axis in range(ndim):
        before = (slice(None),) * axis
        yield (*before, slice(1, None)), (*before, slice(None, -1))


def _pad_box(box: Box) -> Box:
    """Extend a box by one block on all sides; beyond the end of an axis does no harm."""
    z, y, x = (slice(max(side.start - 1, 0), side.stop + 1) for side in box)
    return z, y, x


def _voxel_box(block_box: Box, block_px: int) -> Box:
    z, y, x = block_box
    return (
        z,
        slice(y.start * block_px, y.stop * block_px),
        slice(x.start * block_px, x.stop * block_px),
    )
