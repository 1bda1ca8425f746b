"""Edit the labels, synapses and proofread sections of a draft, with undo and a record per edit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import ndimage

from connectome.core.errors import ConnectomeError, DataError
from connectome.proofread.edit_runs import Box, VoxelRuns, find_runs, unpack_runs
from connectome.proofread.edits import (
    VERDICT_OF_TOOL,
    Edit,
    EditableState,
    Marking,
    Merge,
    NeuriteBoxes,
    Relabelling,
    Review,
    add_review_columns,
)
from connectome.proofread.history import EditHistory, EditResult, OnEdit
from connectome.proofread.split import SplitTask, SplitWorker, group_seeds
from connectome.runlog.edit_record import EditRecord

PAINT_TOOLS = ("paint", "fill", "erase", "new")
TOOL_OF_VERDICT = {verdict: tool for tool, verdict in VERDICT_OF_TOOL.items()}


class LabelEditor:
    """Edits labels, synapses and proofread sections; every edit is recorded and can be undone.

    Edits take time and memory in proportion to the bounding box of the neurite that they change.
    The record of an edit is passed on before the next can start; if that fails, the edit is
    reverted.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids, edited in place.
    probability : ndarray of float, shape (Z, Y, X), or callable
        Neurite probability, or a function that returns it, called on another thread when it is
        first needed by a split.
    tissue : ndarray of bool, shape (Z, Y, X)
        Where unlabelled voxels may be filled.
    synapses : DataFrame, optional
        Candidates. The columns ``verdict`` ("", "accepted" or "rejected"), ``swapped``,
        ``reviewer`` and ``time`` are added if they are missing.
    sections : iterable of int
        Sections already proofread.
    user, on_edit
        As `connectome.proofread.history.EditHistory` takes them.
    """

    def __init__(
        self,
        labels: np.ndarray,
        probability: np.ndarray | Callable[[], np.ndarray],
        tissue: np.ndarray,
        *,
        synapses: pd.DataFrame | None = None,
        sections: Iterable[int] = (),
        user: str = "",
        on_edit: OnEdit = lambda record: None,
    ):
        labels = np.ascontiguousarray(labels, np.int32)
        self._state = EditableState(
            labels, add_review_columns(synapses), set(sections), NeuriteBoxes(labels)
        )
        self._history = EditHistory(self._state, user, on_edit)
        self._probability_source = probability
        self._split_worker = SplitWorker(labels, lambda: self.probability)
        self._tissue = tissue

    @property
    def user(self) -> str:
        """Name for the records."""
        return self._history.user

    @property
    def on_edit(self) -> OnEdit:
        """Receives the record of each edit; may be replaced at any time."""
        return self._history.on_edit

    @on_edit.setter
    def on_edit(self, on_edit: OnEdit) -> None:
        self._history.on_edit = on_edit

    @property
    def labels(self) -> np.ndarray:
        """Current neurite ids, int32 (Z, Y, X)."""
        return self._state.labels

    @property
    def synapses(self) -> pd.DataFrame:
        """Current table of synapses."""
        return self._state.synapses

    @property
    def sections(self) -> set[int]:
        """Sections that are proofread."""
        return self._state.sections

    @cached_property
    def probability(self) -> np.ndarray:
        """Neurite probability, computed when it is first needed."""
        source = self._probability_source
        return source() if callable(source) else source

    def new_id(self) -> int:
        """Return an id that no neurite has had so far: the same one until it is used."""
        return self._state.boxes.highest_id + 1

    # --- edits of neurites ----------------------------------------------------------------------

    def merge(self, keep: int, other: int, position: Sequence[int] | None = None) -> EditResult:
        """Merge one neurite into another.

        Parameters
        ----------
        keep, other : int
            The id that stays, and the one that goes.
        position : sequence of int, optional
            Position, (z, y, x), for the record.

        Raises
        ------
        ConnectomeError
            If they are the same, or one of them is no neurite.
        """
        self._find_box(keep)
        edit = self._plan_merge(keep, other)
        record = self._history.make_record("merge", (keep, other), position, n_voxels=edit.n_voxels)
        return self._history.carry_out(edit, record)

    def split(
        self,
        neurite: int,
        seeds: np.ndarray,
        section: int | None = None,
        position: Sequence[int] | None = None,
    ) -> EditResult:
        """Split a neurite between seeds, by watershed on the neurite probability.

        Parameters
        ----------
        neurite : int
            Id of the neurite.
        seeds : ndarray of int, shape (Z, Y, X)
            Marks above 0; those outside the neurite are ignored. Marks of one number form a
            group; if all have the same number, each connected stroke is a group. The largest
            part keeps the id, with everything that no seed reaches; the others get new ids.
        section : int, optional
            Split only the profiles in this section.
        position : sequence of int, optional
            Position, (z, y, x), for the record.

        Raises
        ------
        ConnectomeError
            If there are fewer than two groups of seeds in the neurite.
        """
        task = self._plan_split(neurite, seeds, section)
        kept, leaving = self._split_worker.result(task)
        first = self.new_id()
        new_ids = range(first, first + task.n_groups - 1)
        ids = np.array([0, *new_ids[: kept - 1], neurite, *new_ids[kept - 1 :]], np.int32)
        runs = replace(leaving, new_ids=ids[leaving.new_ids])
        record = self._history.make_record(
            "split", (neurite, *new_ids), position, n_voxels=runs.n_voxels, payload=runs.pack()
        )
        return self._history.carry_out(Relabelling(runs), record)

    def prepare_split(self, neurite: int, seeds: np.ndarray, section: int | None = None) -> None:
        """Start computing a split in the background; nothing is changed.

        A `split` of the same neurite with the same seeds then uses the result. Takes the same
        parameters; does nothing if that split would be refused.
        """
        try:
            self._split_worker.start(self._plan_split(neurite, seeds, section))
        except ConnectomeError:
            return  # `split` reports it

    def paint(
        self,
        voxels: Sequence[np.ndarray],
        neurite: int,
        tool: str = "paint",
        before: np.ndarray | None = None,
    ) -> EditResult | None:
        """Give voxels to a neurite; id 0 removes their labels.

        Parameters
        ----------
        voxels : sequence of three ndarray of int, shape (N,)
            Indices along (z, y, x).
        neurite : int
            New id.
        tool : {"paint", "fill", "erase", "new"}
            Tool for the record; id 0 is recorded as "erase".
        before : ndarray of int, shape (N,), optional
            Ids that the voxels had, if ``labels`` was changed already. If a voxel is listed more
            than once, the first counts.

        Returns
        -------
        EditResult or None
            None if all voxels had that id.

        Raises
        ------
        ConnectomeError
            If voxels are outside the stack, or the id is not from 0 to 2147483647.
        """
        if not 0 <= neurite <= np.iinfo(np.int32).max:
            raise ConnectomeError(
                f"{neurite} is no neurite id", remedy="a whole number from 1 to 2147483647"
            )
        runs = self._find_painted_runs(voxels, neurite, before)
        if not runs.n_voxels:
            return None
        record = self._history.make_record(
            tool if neurite else "erase",
            (neurite,),
            np.unravel_index(runs.starts[0], self.labels.shape),
            n_voxels=runs.n_voxels,
            payload=runs.pack(),
        )
        return self._history.carry_out(Relabelling(runs), record)

    def erase(
        self, voxels: Sequence[np.ndarray], before: np.ndarray | None = None
    ) -> EditResult | None:
        """Remove the labels of voxels; see `paint`."""
        return self.paint(voxels, 0, before=before)

    def fill(self, position: Sequence[int], neurite: int) -> EditResult | None:
        """Give the profile at a position to a neurite.

        Parameters
        ----------
        position : sequence of int
            Voxel, (z, y, x). All voxels of its id that are connected with it in its section are
            filled; if it has no label, only tissue is filled.
        neurite : int
            New id.

        Raises
        ------
        ConnectomeError
            If the voxel is outside the stack, has that id already, or has no label and is not in
            tissue.
        """
        z, y, x = voxel = self._check_voxel(position)
        old_id = self.labels[voxel]
        if old_id == neurite:
            raise ConnectomeError(
                f"this profile already belongs to neurite {neurite}",
                remedy="select another neurite to fill with",
            )
        if not old_id and not self._tissue[voxel]:
            raise ConnectomeError("there is no tissue here", "nothing was filled")
        same = self.labels[z] == old_id
        profiles, _ = ndimage.label(same if old_id else same & self._tissue[z])
        rows, columns = np.nonzero(profiles == profiles[y, x])
        return self.paint((np.full_like(rows, z), rows, columns), neurite, "fill")

    # --- edits of synapses and sections ---------------------------------------------------------

    def review(self, row: int, verdict: str) -> EditResult | None:
        """Accept or reject a synapse.

        Parameters
        ----------
        row : int
            Its row in ``synapses``.
        verdict : {"accepted", "rejected", ""}
            The last withdraws a verdict.

        Returns
        -------
        EditResult or None
            None if it had that verdict.
        """
        synapse = self._check_row(row)
        if synapse["verdict"] == verdict:
            return None
        tool = TOOL_OF_VERDICT[verdict]
        record = self._history.make_record(tool, (row,), _position_of(synapse))
        return self._history.carry_out(self._plan_review(record), record)

    def swap(self, row: int) -> EditResult:
        """Swap pre- and postsynaptic neurite of a synapse, given by its row in ``synapses``.

        Of several postsynaptic neurites, the first becomes the presynaptic one; the others stay.
        """
        record = self._history.make_record("swap", (row,), _position_of(self._check_row(row)))
        return self._history.carry_out(self._plan_review(record), record)

    def mark(self, section: int, done: bool = True) -> EditResult | None:
        """Mark a section as proofread, or remove the mark; return None if nothing changes."""
        self._check_section(section)
        if (section in self.sections) == done:
            return None
        record = self._history.make_record("mark" if done else "unmark", (section,), None)
        return self._history.carry_out(Marking(section, done), record)

    # --- undo, redo, replay ---------------------------------------------------------------------

    def undo(self) -> EditResult | None:
        """Undo the last edit; return None if there is none.

        The record has the ids and the position of the edit, and its tool in the payload.
        """
        return self._history.undo()

    def redo(self) -> EditResult | None:
        """Repeat the edit that was undone last; return None if there is none."""
        return self._history.redo()

    def replay(self, record: EditRecord) -> None:
        """Repeat a logged edit, without recording it again.

        Raises
        ------
        DataError
            If it would change other voxels or synapses than it did: the labels are not those it
            was made on.
        """
        on_edit, self.on_edit = self.on_edit, lambda again: None
        try:
            if record.tool in ("undo", "redo"):
                result = self.undo() if record.tool == "undo" else self.redo()
                n_changed = result.record.voxel_delta if result else None
            else:
                edit = self._plan_from_record(record)
                n_changed = edit.n_voxels
                if n_changed == record.voxel_delta:
                    self._history.carry_out(edit, record)
        except ConnectomeError as error:
            raise _replay_error(record, error.problem) from error
        except (TypeError, IndexError) as error:
            raise _replay_error(record, f"its ids are {record.ids}") from error
        finally:
            self.on_edit = on_edit
        if n_changed != record.voxel_delta:
            raise _replay_error(record, f"{n_changed} voxels would change")

    # --- planning -------------------------------------------------------------------------------

    def _plan_from_record(self, record: EditRecord) -> Edit:
        """Return the edit that a record describes, of the current state."""
        tool, ids = record.tool, record.ids
        if tool == "merge":
            return self._plan_merge(*ids)
        if tool == "split" or tool in PAINT_TOOLS:
            return Relabelling(unpack_runs(record.payload, self.labels))
        if tool in VERDICT_OF_TOOL or tool == "swap":
            if _position_of(self._check_row(ids[0])) != record.position:
                raise DataError("another synapse is in its row")
            return self._plan_review(record)
        return Marking(ids[0], tool == "mark")

    def _plan_merge(self, keep: int, other: int) -> Merge:
        if keep == other:
            raise ConnectomeError(
                f"both are neurite {keep}", "there is nothing to merge", "select two neurites"
            )
        return Merge.plan(self._state, keep, other, self._find_box(other))

    def _plan_review(self, record: EditRecord) -> Review:
        return Review.plan(self._state, record.ids[0], record.tool, record.user, record.time)

    def _plan_split(self, neurite: int, seeds: np.ndarray, section: int | None) -> SplitTask:
        box = self._find_box(neurite)
        if section is not None:
            self._check_section(section)
            box = (slice(section, section + 1), box[1], box[2])
        voxels, groups = group_seeds(np.asarray(seeds)[box], self.labels[box], neurite)
        task = SplitTask(neurite, box, voxels, groups)
        if task.n_groups < 2:
            raise ConnectomeError(
                f"neurite {neurite} has {task.n_groups} of the two seeds that a split needs",
                "nothing was split",
                "paint one stroke into each of its parts",
            )
        return task

    def _find_painted_runs(
        self, voxels: Sequence[np.ndarray], neurite: int, before: np.ndarray | None
    ) -> VoxelRuns:
        shape = self.labels.shape
        try:
            positions, first = np.unique(
                np.ravel_multi_index(tuple(voxels), shape), return_index=True
            )
        except ValueError as error:
            raise ConnectomeError(f"voxels lie outside the stack of {shape}") from error
        old_ids = self.labels.reshape(-1)[positions] if before is None else before[first]
        differ = old_ids != neurite
        box = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
        return find_runs(positions[differ], old_ids[differ], neurite, box, shape)

    # --- validation -----------------------------------------------------------------------------

    def _find_box(self, neurite: int) -> Box:
        """Return the bounding box of a neurite that is in the stack."""
        box = self._state.boxes.get(neurite)
        # One section at a time: most neurites are in the first.
        if box is None or not any((section == neurite).any() for section in self.labels[box]):
            problem = "means no neurite" if neurite == 0 else "is no neurite of this stack"
            raise ConnectomeError(f"{neurite} {problem}", remedy="select a coloured neurite")
        return box

    def _check_section(self, section: int) -> None:
        if not 0 <= section < len(self.labels):
            raise ConnectomeError(
                f"there is no section {section}", remedy=f"one from 0 to {len(self.labels) - 1}"
            )

    def _check_voxel(self, position: Sequence[int]) -> tuple[int, int, int]:
        z, y, x = map(int, position)
        if not all(0 <= p < n for p, n in zip((z, y, x), self.labels.shape, strict=True)):
            raise ConnectomeError(f"{(z, y, x)} lies outside the stack of {self.labels.shape}")
        return z, y, x

    def _check_row(self, row: int) -> pd.Series:
        if not 0 <= row < len(self.synapses):
            raise ConnectomeError(
                f"there is no synapse {row}", remedy=f"the table has {len(self.synapses)} rows"
            )
        return self.synapses.iloc[row]


def _position_of(synapse: pd.Series) -> tuple[int, int, int]:
    return int(synapse["z"]), int(synapse["y"]), int(synapse["x"])


def _replay_error(record: EditRecord, reason: str) -> DataError:
    return DataError(
        f"the {record.tool} logged at {record.time} cannot be replayed: {reason}",
        "it was made on other labels",
    )
