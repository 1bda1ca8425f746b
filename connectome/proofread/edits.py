"""Edits of labels, synapses and sections: each can be applied and reverted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy import ndimage

from connectome.core.synapse_table import ID_SEPARATOR
from connectome.proofread.edit_runs import Box, VoxelRuns

VERDICT_OF_TOOL = {"accept": "accepted", "reject": "rejected", "unreview": ""}
UNREVIEWED: dict[str, Any] = {"verdict": "", "swapped": False, "reviewer": "", "time": ""}


class NeuriteBoxes:
    """The bounding box of every neurite, kept up to date edit by edit.

    A box may be larger than its neurite: it grows with every edit, and shrinks only when one is
    reverted. Finding it again would take a pass over the stack.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids, with gaps of any width.

    Attributes
    ----------
    highest_id : int
        Highest id that any neurite has had.
    """

    def __init__(self, labels: np.ndarray):
        ranks, ids = pd.factorize(labels.reshape(-1))
        boxes = ndimage.find_objects(ranks.reshape(labels.shape).astype(np.int32) + 1)
        self._boxes: dict[int, Box] = {
            neurite: box for neurite, box in zip(ids.tolist(), boxes, strict=True) if neurite
        }
        self.highest_id = max(self._boxes, default=0)

    def get(self, neurite: int) -> Box | None:
        """Return the box of a neurite; None if there is no such neurite."""
        return self._boxes.get(neurite)

    def grow(self, neurite: int, box: Box) -> None:
        """Extend the box of a neurite to include another box."""
        self.highest_id = max(self.highest_id, neurite)
        present = self._boxes.get(neurite, box)
        self._boxes[neurite] = (
            _union(present[0], box[0]),
            _union(present[1], box[1]),
            _union(present[2], box[2]),
        )

    def restore(self, boxes: dict[int, Box | None]) -> None:
        """Give neurites back the boxes they had; those that had none are removed."""
        for neurite, box in boxes.items():
            if box:
                self._boxes[neurite] = box
            else:
                del self._boxes[neurite]


@dataclass(frozen=True, eq=False)
class EditableState:
    """What edits change, in place.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids, C-contiguous.
    synapses : DataFrame
        Candidates, with the columns of `UNREVIEWED`.
    sections : set of int
        Proofread sections.
    boxes : NeuriteBoxes
        Bounding boxes of the neurites in ``labels``.
    """

    labels: np.ndarray
    synapses: pd.DataFrame
    sections: set[int]
    boxes: NeuriteBoxes


class Edit(Protocol):
    """An edit that can be applied, and then reverted."""

    @property
    def box(self) -> Box | None:
        """Part of the stack, (z, y, x), in which labels change; None if none do."""

    @property
    def n_voxels(self) -> int:
        """Voxels that change."""

    def apply(self, state: EditableState) -> None:
        """Make the edit."""

    def revert(self, state: EditableState) -> None:
        """Undo the edit; ``state`` is as it was right after `apply`."""


@dataclass(eq=False)
class Relabelling:
    """Voxels get new ids.

    Parameters
    ----------
    runs : VoxelRuns
        The voxels, with their ids before and after.
    """

    runs: VoxelRuns

    @cached_property
    def box(self) -> Box:
        """Part of the stack in which labels change."""
        return self.runs.bounding_box()

    @property
    def n_voxels(self) -> int:
        """Voxels that change."""
        return self.runs.n_voxels

    def apply(self, state: EditableState) -> None:
        """Write the new ids."""
        new_ids = self.runs.new_ids
        self.runs.write(state.labels, new_ids)
        neurites = pd.unique(new_ids[new_ids > 0]).tolist()
        self._boxes_before = {neurite: state.boxes.get(neurite) for neurite in neurites}
        for neurite in neurites:
            box = self.box if len(neurites) == 1 else self.runs.bounding_box(new_ids == neurite)
            state.boxes.grow(neurite, box)

    def revert(self, state: EditableState) -> None:
        """Write the old ids."""
        self.runs.write(state.labels, self.runs.old_ids)
        state.boxes.restore(self._boxes_before)


@dataclass(eq=False)
class Merge:
    """All voxels of one neurite go to another.

    Neurites can be too large for runs of voxels: what is needed to revert the merge is stored as
    a mask with one bit per voxel.

    Parameters
    ----------
    keep, other : int
        The id that stays, and the one that goes.
    box : tuple of slice
        Bounding box of the other, (z, y, x).
    n_voxels : int
        Voxels of the other.
    packed_masks : list of ndarray of uint8
        Mask of the other in each section of the box, packed as by `numpy.packbits`.
    """

    keep: int
    other: int
    box: Box
    n_voxels: int
    packed_masks: list[np.ndarray]

    @classmethod
    def plan(cls, state: EditableState, keep: int, other: int, box: Box) -> Merge:
        """Return the merge of two neurites as they are now; ``box`` is that of the other."""
        masks = [section == other for section in state.labels[box]]
        n_voxels = sum(int(np.count_nonzero(mask)) for mask in masks)
        return cls(keep, other, box, n_voxels, [np.packbits(mask) for mask in masks])

    def apply(self, state: EditableState) -> None:
        """Give the voxels to the neurite that is kept."""
        for section in state.labels[self.box]:
            np.putmask(section, section == self.other, self.keep)
        self._boxes_before = {self.keep: state.boxes.get(self.keep)}
        state.boxes.grow(self.keep, self.box)

    def revert(self, state: EditableState) -> None:
        """Give the voxels back to the other neurite."""
        for section, packed in zip(state.labels[self.box], self.packed_masks, strict=True):
            mask = np.unpackbits(packed, count=section.size).reshape(section.shape)
            np.putmask(section, mask, self.other)
        state.boxes.restore(self._boxes_before)


@dataclass(frozen=True, eq=False)
class Review:
    """A synapse gets a verdict, or its direction is swapped.

    Parameters
    ----------
    row : int
        Row of the synapse.
    before, after : dict
        Its values by column.
    """

    row: int
    before: dict[str, Any]
    after: dict[str, Any]

    box = None
    n_voxels = 0

    @classmethod
    def plan(cls, state: EditableState, row: int, tool: str, user: str, time: str) -> Review:
        """Return the review of a synapse as it is now.

        Parameters
        ----------
        state : EditableState
            Current state.
        row : int
            Row of the synapse.
        tool : str
            ``swap``, or one of `VERDICT_OF_TOOL`.
        user, time : str
            Reviewer, and time of the review.
        """
        before = {str(column): state.synapses.at[row, column] for column in state.synapses}
        after = dict(before)
        if tool == "swap":
            after |= _swap_partners(before) | {"swapped": not before["swapped"]}
        else:
            after["verdict"] = VERDICT_OF_TOOL[tool]
        is_reviewed = bool(after["verdict"] or after["swapped"])
        after["reviewer"] = user if is_reviewed else ""
        after["time"] = time if is_reviewed else ""
        return cls(row, before, after)

    def apply(self, state: EditableState) -> None:
        """Write the values after the review."""
        self._write(state, self.after)

    def revert(self, state: EditableState) -> None:
        """Write the values before the review."""
        self._write(state, self.before)

    def _write(self, state: EditableState, values: dict[str, Any]) -> None:
        for column, value in values.items():
            state.synapses.at[self.row, column] = value


@dataclass(frozen=True, eq=False)
class Marking:
    """A section is marked as proofread, or the mark is removed.

    Parameters
    ----------
    section : int
        The section.
    is_proofread : bool
        Whether it is proofread after the edit.
    """

    section: int
    is_proofread: bool

    box = None
    n_voxels = 0

    def apply(self, state: EditableState) -> None:
        """Set or remove the mark."""
        self._write(state, self.is_proofread)

    def revert(self, state: EditableState) -> None:
        """Remove or set the mark."""
        self._write(state, not self.is_proofread)

    def _write(self, state: EditableState, is_proofread: bool) -> None:
        if is_proofread:
            state.sections.add(self.section)
        else:
            state.sections.discard(self.section)


def add_review_columns(synapses: pd.DataFrame | None) -> pd.DataFrame:
    """Return a copy of the candidates with the columns of a review (`UNREVIEWED`)."""
    table = pd.DataFrame(columns=["z", "y", "x"]) if synapses is None else synapses
    table = table.reset_index(drop=True)
    for column, default in UNREVIEWED.items():
        table[column] = table[column].fillna(default) if column in table else default
    return table.astype({"swapped": bool} | ({"post_ids": str} if "post_ids" in table else {}))


def _swap_partners(row: dict[str, Any]) -> dict[str, Any]:
    """Return the ids of a synapse with the presynaptic and the first postsynaptic one swapped."""
    pre, post = row["pre_id"], row["post_id"]
    ids = {"pre_id": post, "post_id": pre}
    if "post_ids" in row:
        post_ids = row["post_ids"].split(ID_SEPARATOR)
        ids["post_ids"] = ID_SEPARATOR.join(str(pre) if i == str(post) else i for i in post_ids)
    return ids


def _union(one: slice, other: slice) -> slice:
    return slice(min(one.start, other.start), max(one.stop, other.stop))
