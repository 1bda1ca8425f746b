"""Neurites and synapses in the hands of a person: every edit can be undone, and is told of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage

from connectome.core.errors import ConnectomeError, DataError
from connectome.proofread.edit_runs import (
    Box,
    VoxelRuns,
    find_marked_voxels,
    find_runs,
    unpack_runs,
)
from connectome.proofread.split import SplitTask, SplitWorker
from connectome.runlog.edit_record import EditRecord, timestamp

PAINT_TOOLS = ("paint", "fill", "erase", "new")
VERDICT_OF_TOOL = {"accept": "accepted", "reject": "rejected", "unreview": ""}
UNREVIEWED = {
    "verdict": "",
    "swapped": False,
    "reviewer": "",
    "time": "",
}  # of a synapse nobody saw
_TOOL_OF_VERDICT = {verdict: tool for tool, verdict in VERDICT_OF_TOOL.items()}


class EditResult(NamedTuple):
    """What an edit changed.

    Parameters
    ----------
    box : tuple of slice or None
        Part of the stack, (z, y, x), in which labels changed; None where none did.
    correction : Correction or None
        What the listener was told; None where there was nothing to do.
    """

    box: Box | None
    record: EditRecord | None


NO_EDIT = EditResult(None, None)


class LabelEditor:
    """Labels, synapses and sections under correction.

    Every edit takes time and memory in proportion to the box of the neurite it is about, is told
    to the listener before the next can begin, and is taken back if the listener fails.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids, edited in place.
    probability : ndarray of float, shape (Z, Y, X), or callable
        Neurite probability, or what computes it when it is first needed, by a split; on a thread
        of its own.
    tissue : ndarray of bool, shape (Z, Y, X)
        Where there is something to fill.
    synapses : DataFrame, optional
        Candidates. The columns ``verdict`` ("", "accepted" or "rejected"), ``swapped``,
        ``reviewer`` and ``time`` are added where they are missing.
    sections : iterable of int
        Proofread already.
    user : str
        Who is at work.
    tell : callable
        Told of each `Correction`.

    Attributes
    ----------
    labels, synapses, sections
        As they are now.
    tell, user
        May be exchanged at any time.
    """

    def __init__(
        self,
        labels: np.ndarray,
        probability: np.ndarray | Callable[[], np.ndarray],
        tissue: np.ndarray,
        synapses: pd.DataFrame | None = None,
        sections: Iterable[int] = (),
        user: str = "",
        on_edit: Callable[[EditRecord], None] = lambda correction: None,
    ):
        self.labels = np.ascontiguousarray(labels, np.int32)
        self.synapses = _add_review_columns(synapses)
        self.sections = set(sections)
        self.user = user
        self.on_edit = on_edit
        self._probability_source = probability
        self._split_worker = SplitWorker(self.labels, lambda: self.probability)
        self._tissue = tissue
        self._boxes = _bounding_boxes(self.labels)
        self._highest = max(self._boxes, default=0)
        self._undo_stack: list[tuple[_Edit, EditRecord]] = []
        self._redo_stack: list[tuple[_Edit, EditRecord]] = []

    @cached_property
    def probability(self) -> np.ndarray:
        """Neurite probability, computed when it is first asked for."""
        return (
            self._probability_source()
            if callable(self._probability_source)
            else self._probability_source
        )

    def new_id(self) -> int:
        """Return an id that no neurite has had so far: the same one until it is used."""
        return self._highest + 1

    def merge(self, keep: int, other: int, place: Sequence[int] | None = None) -> EditResult:
        """Make all of one neurite a part of another.

        Parameters
        ----------
        keep, other : int
            The id that stays, and the one that goes.
        place : sequence of int, optional
            (z, y, x) where the person saw it.

        Raises
        ------
        ConnectomeError
            If they are the same, or one of them is no neurite.
        """
        self._check_neurite(keep)
        edit = self._merge_edit(keep, other)
        return self._carry_out_new(
            edit, self._new_record("merge", (keep, other), place, edit.n_voxels)
        )

    def split(
        self,
        neurite: int,
        seeds: np.ndarray,
        section: int | None = None,
        place: Sequence[int] | None = None,
    ) -> EditResult:
        """Divide a neurite between seeds, by watershed on the neurite probability.

        Parameters
        ----------
        neurite : int
            Id of what is divided.
        seeds : ndarray of int, shape (Z, Y, X)
            Marks above 0; those beyond the neurite do not count. Marks of one number are one
            group; where all have the same number, each connected stroke is a group. The largest
            part keeps the id, and so does what no group reaches; the others get new ids.
        section : int, optional
            Divide the profiles in this section only.
        place : sequence of int, optional
            (z, y, x) where the person saw it.

        Raises
        ------
        ConnectomeError
            If there are fewer than two groups in the neurite.
        """
        task = self._split_task(neurite, seeds, section)
        kept, leaving = self._split_worker.result(task)
        first = self.new_id()
        new = range(first, first + int(task.seed_groups.max()) - 1)
        ids = np.array([0, *new[: kept - 1], neurite, *new[kept - 1 :]], np.int32)
        runs = replace(leaving, new_ids=ids[leaving.new_ids])
        made = self._new_record("split", (neurite, *new), place, runs.n_voxels, runs.pack())
        return self._carry_out_new(_Relabelling(runs), made)

    def prepare_split(self, neurite: int, seeds: np.ndarray, section: int | None = None) -> None:
        """Begin to divide a neurite, and return at once; nothing is changed.

        A `split` of the same neurite between the same seeds finds it done, or begun. Takes what
        that takes; where it would be refused, nothing is begun.
        """
        try:
            self._split_worker.start(self._split_task(neurite, seeds, section))
        except ConnectomeError:
            return  # whoever asks for it is told

    def _split_task(self, neurite: int, seeds: np.ndarray, section: int | None) -> SplitTask:
        """Gather what a split is about."""
        box = self._box_of(neurite)
        if section is not None:
            self._check_section(section)
            box = (slice(section, section + 1), *box[1:])
        places, groups = _group_seeds(np.asarray(seeds)[box], self.labels[box], neurite)
        if (n_groups := groups.max(initial=0)) < 2:
            raise ConnectomeError(
                f"neurite {neurite} has {n_groups} of the two seeds a split needs",
                "nothing was divided",
                "paint one stroke into each of its parts",
            )
        return SplitTask(neurite, box, places, groups)

    def paint(
        self,
        voxels: Sequence[np.ndarray],
        neurite: int,
        tool: str = "paint",
        before: np.ndarray | None = None,
    ) -> EditResult:
        """Give voxels to a neurite; to nobody with id 0.

        Parameters
        ----------
        voxels : sequence of three ndarray of int, shape (N,)
            Indices along (z, y, x).
        neurite : int
            Id to give.
        tool : {"paint", "fill", "erase", "new"}
            Name for the log; id 0 is logged as "erase".
        before : ndarray of int, shape (N,), optional
            Ids the voxels had, if ``labels`` has been changed already. Of a voxel named several
            times the first counts.

        Returns
        -------
        Change
            Without a correction if all voxels had that id.

        Raises
        ------
        ConnectomeError
            If voxels lie outside the stack, or the id is not from 0 to 2147483647.
        """
        if not 0 <= neurite <= np.iinfo(np.int32).max:
            raise ConnectomeError(
                f"{neurite} is no neurite id", remedy="a whole number from 1 to 2147483647"
            )
        runs = self._painted_runs(voxels, neurite, before)
        if not runs.n_voxels:
            return NO_EDIT
        tool = tool if neurite else "erase"
        place = np.unravel_index(runs.starts[0], self.labels.shape)
        correction = self._new_record(tool, (neurite,), place, runs.n_voxels, runs.pack())
        return self._carry_out_new(_Relabelling(runs), correction)

    def erase(self, voxels: Sequence[np.ndarray], before: np.ndarray | None = None) -> EditResult:
        """Give voxels to nobody; see `paint`."""
        return self.paint(voxels, 0, before=before)

    def fill(self, place: Sequence[int], neurite: int) -> EditResult:
        """Give the profile at a place to a neurite.

        Parameters
        ----------
        place : sequence of int
            (z, y, x). What is connected with it in its section and has the same id is filled; of
            what belongs to nobody only the tissue.
        neurite : int
            Id to give.

        Raises
        ------
        ConnectomeError
            If the place is outside the stack, has that id, or belongs to nobody and is no tissue.
        """
        z, y, x = place = self._check_voxel(place)
        old = self.labels[place]
        if old == neurite:
            raise ConnectomeError(
                f"this profile is neurite {neurite} already",
                remedy="choose another id to fill with",
            )
        if not old and not self._tissue[place]:
            raise ConnectomeError("there is no tissue here", "nothing was filled")
        same = self.labels[z] == old
        profiles, _ = ndimage.label(same if old else same & self._tissue[z])
        rows, columns = np.nonzero(profiles == profiles[y, x])
        return self.paint((np.full_like(rows, z), rows, columns), neurite, "fill")

    def review(self, row: int, verdict: str) -> EditResult:
        """Judge a synapse.

        Parameters
        ----------
        row : int
            Its row in ``synapses``.
        verdict : {"accepted", "rejected", ""}
            The last for a synapse that nobody has judged.
        """
        synapse = self._check_row(row)
        if synapse["verdict"] == verdict:
            return NO_EDIT
        correction = self._new_record(_TOOL_OF_VERDICT[verdict], (row,), _synapse_position(synapse))
        return self._carry_out_new(self._review_edit(correction), correction)

    def swap(self, row: int) -> EditResult:
        """Swap pre- and postsynaptic neurite of a synapse, given by its row in ``synapses``.

        Of several postsynaptic neurites the first becomes the presynaptic one; the others stay.
        """
        correction = self._new_record("swap", (row,), _synapse_position(self._check_row(row)))
        return self._carry_out_new(self._review_edit(correction), correction)

    def mark(self, section: int, done: bool = True) -> EditResult:
        """Say that a section is proofread from edge to edge, or that it is not."""
        self._check_section(section)
        if (section in self.sections) == done:
            return NO_EDIT
        correction = self._new_record("mark" if done else "unmark", (section,), None)
        return self._carry_out_new(_Marking(section, done), correction)

    def undo(self) -> EditResult | None:
        """Take back the last edit; None where there is none.

        The correction has ids and place of what was taken back, and its tool in the payload.
        """
        return self._undo_or_redo("undo", self._undo_stack, self._redo_stack)

    def redo(self) -> EditResult | None:
        """Do again what was last taken back; None where there is nothing."""
        return self._undo_or_redo("redo", self._redo_stack, self._undo_stack)

    def replay(self, correction: EditRecord) -> None:
        """Do again what a log tells; without a word to the listener.

        Raises
        ------
        DataError
            If it changes other voxels or synapses than it did: the labels are not those it was
            made on.
        """
        tell, self.on_edit = self.on_edit, lambda again: None
        try:
            if correction.tool in ("undo", "redo"):
                change = self.undo() if correction.tool == "undo" else self.redo()
                changed = change.record.voxel_delta if change else None
            else:
                edit = self._edit_from_record(correction)
                changed = edit.n_voxels
                if changed == correction.voxel_delta:
                    self._carry_out_new(edit, correction)
        except ConnectomeError as error:
            raise _replay_error(correction, error.problem) from error
        except (TypeError, IndexError) as error:
            raise _replay_error(correction, f"its ids are {correction.ids}") from error
        finally:
            self.on_edit = tell
        if changed != correction.voxel_delta:
            raise _replay_error(correction, f"{changed} voxels would change")

    def _edit_from_record(self, correction: EditRecord) -> _Edit:
        """Make the edit that a log tells of, of what is there now."""
        tool, ids = correction.tool, correction.ids
        if tool == "merge":
            return self._merge_edit(*ids)
        if tool == "split" or tool in PAINT_TOOLS:
            return _Relabelling(unpack_runs(correction.payload, self.labels))
        if tool in VERDICT_OF_TOOL or tool == "swap":
            if _synapse_position(self._check_row(ids[0])) != correction.place:
                raise DataError("another synapse is in its row")
            return self._review_edit(correction)
        return _Marking(ids[0], done=tool == "mark")

    def _merge_edit(self, keep: int, other: int) -> _Merge:
        if keep == other:
            raise ConnectomeError(
                f"both are neurite {keep}", "there is nothing to merge", "pick two neurites"
            )
        box = self._box_of(other)
        profiles = [section == other for section in self.labels[box]]
        n_voxels = int(sum(map(np.count_nonzero, profiles)))
        return _Merge(keep, other, box, n_voxels, [np.packbits(here) for here in profiles])

    def _painted_runs(self, voxels, neurite, before) -> VoxelRuns:
        shape = self.labels.shape
        try:
            places, first = np.unique(np.ravel_multi_index(voxels, shape), return_index=True)
        except ValueError as error:
            raise ConnectomeError(f"voxels lie outside the stack of {shape}") from error
        old = self.labels.reshape(-1)[places] if before is None else np.asarray(before)[first]
        differ = old != neurite
        everywhere = tuple(slice(0, n) for n in shape)
        return find_runs(places[differ], old[differ], neurite, everywhere, shape)

    def _review_edit(self, correction: EditRecord) -> _Review:
        row = correction.ids[0]
        before = {str(column): self.synapses.at[row, column] for column in self.synapses}
        after = dict(before)
        if correction.tool == "swap":
            after |= _swap_partners(before) | {"swapped": not before["swapped"]}
        else:
            after["verdict"] = VERDICT_OF_TOOL[correction.tool]
        seen = bool(after["verdict"] or after["swapped"])
        after["reviewer"] = correction.user if seen else ""
        after["time"] = correction.time if seen else ""
        return _Review(row, before, after)

    def _new_record(
        self,
        tool: str,
        ids: Iterable[int],
        place: Sequence[int] | None,
        n_voxels: int = 0,
        payload: bytes = b"",
    ) -> EditRecord:
        """Put down what is done, with time and user."""
        place = None if place is None else tuple(map(int, place))
        return EditRecord(
            tool, tuple(map(int, ids)), place, n_voxels, payload, timestamp(), self.user
        )

    def _carry_out_new(self, edit: _Edit, correction: EditRecord) -> EditResult:
        """Carry out a new edit: what was taken back before cannot be done again."""
        self._carry_out(edit.apply, edit.revert, correction)
        self._undo_stack.append((edit, correction))
        self._redo_stack.clear()
        return EditResult(edit.box, correction)

    def _undo_or_redo(self, tool: str, taken: list, given: list) -> EditResult | None:
        """Undo or redo: carry the last edit of one pile over to the other."""
        if not taken:
            return None
        edit, what = taken[-1]
        acts = (edit.revert, edit.apply) if tool == "undo" else (edit.apply, edit.revert)
        payload = json.dumps({"tool": what.tool}).encode()
        correction = self._new_record(tool, what.ids, what.place, edit.n_voxels, payload)
        self._carry_out(*acts, correction)
        given.append(taken.pop())
        return EditResult(edit.box, correction)

    def _carry_out(self, act: Callable, back: Callable, correction: EditRecord) -> None:
        """Act and tell of it; neither, if telling fails."""
        act(self)
        try:
            self.on_edit(correction)
        except BaseException:
            back(self)
            raise

    def _box_of(self, neurite: int) -> Box:
        self._check_neurite(neurite)
        return self._boxes[neurite]

    def _check_neurite(self, neurite: int) -> None:
        box = self._boxes.get(neurite)
        # Section by section: the first one tells of most.
        if box is None or not any((section == neurite).any() for section in self.labels[box]):
            what = "belongs to nobody" if neurite == 0 else "is no neurite of this stack"
            raise ConnectomeError(f"{neurite} {what}", remedy="pick a coloured neurite")

    def _check_section(self, section: int) -> None:
        if not 0 <= section < len(self.labels):
            raise ConnectomeError(
                f"there is no section {section}", remedy=f"one from 0 to {len(self.labels) - 1}"
            )

    def _check_voxel(self, place: Sequence[int]) -> tuple[int, int, int]:
        place = tuple(map(int, place))
        if not all(0 <= p < n for p, n in zip(place, self.labels.shape, strict=True)):
            raise ConnectomeError(f"{place} lies outside the stack of {self.labels.shape}")
        return place

    def _check_row(self, row: int) -> pd.Series:
        if not 0 <= row < len(self.synapses):
            raise ConnectomeError(
                f"there is no synapse {row}", remedy=f"the table has {len(self.synapses)} rows"
            )
        return self.synapses.iloc[row]

    def _grow(self, neurite: int, box: Box) -> None:
        """Let the box of a neurite reach around another one; what goes does not shrink it."""
        self._highest = max(self._highest, neurite)
        known = self._boxes.get(neurite, box)
        self._boxes[neurite] = tuple(
            slice(min(a.start, b.start), max(a.stop, b.stop))
            for a, b in zip(known, box, strict=True)
        )

    def _shrink(self, before: dict[int, Box | None]) -> None:
        """Let neurites have the boxes they had, if any."""
        for neurite, box in before.items():
            if box:
                self._boxes[neurite] = box
            else:
                del self._boxes[neurite]


@dataclass(eq=False)
class _Relabelling:
    """Voxels that change their ids."""

    runs: VoxelRuns

    @cached_property
    def box(self) -> Box:
        return self.runs.box()

    @property
    def n_voxels(self) -> int:
        return self.runs.n_voxels

    def apply(self, state: LabelEditor) -> None:
        self.runs.write(state.labels, self.runs.new_ids)
        given = pd.unique(self.runs.new_ids[self.runs.new_ids > 0]).tolist()
        self._boxes = {neurite: state._boxes.get(neurite) for neurite in given}
        for neurite in given:
            alone = given == [neurite]
            state._grow(neurite, self.box if alone else self.runs.box(self.runs.new_ids == neurite))

    def revert(self, state: LabelEditor) -> None:
        self.runs.write(state.labels, self.runs.old_ids)
        state._shrink(self._boxes)


@dataclass(eq=False)
class _Merge:
    """All of one neurite that becomes part of another: too much, at times, for runs."""

    keep: int
    other: int
    box: Box  # of the other
    n_voxels: int
    profiles: list[np.ndarray]  # of the other in each section of the box, eight voxels to a byte

    def apply(self, state: LabelEditor) -> None:
        for section in state.labels[self.box]:
            np.putmask(section, section == self.other, self.keep)
        self._boxes = {self.keep: state._boxes.get(self.keep)}
        state._grow(self.keep, self.box)

    def revert(self, state: LabelEditor) -> None:
        for section, packed in zip(state.labels[self.box], self.profiles, strict=True):
            profile = np.unpackbits(packed, count=section.size).reshape(section.shape)
            np.putmask(section, profile, self.other)
        state._shrink(self._boxes)


@dataclass(frozen=True, eq=False)
class _Review:
    """What is said of a synapse, by column."""

    row: int
    before: dict
    after: dict

    box = None
    n_voxels = 0

    def apply(self, state: LabelEditor) -> None:
        self._put(state, self.after)

    def revert(self, state: LabelEditor) -> None:
        self._put(state, self.before)

    def _put(self, state: LabelEditor, values: dict) -> None:
        for column, value in values.items():
            state.synapses.at[self.row, column] = value


@dataclass(frozen=True, eq=False)
class _Marking:
    """A section that is proofread now, or is not any more."""

    section: int
    done: bool

    box = None
    n_voxels = 0

    def apply(self, state: LabelEditor) -> None:
        (state.sections.add if self.done else state.sections.discard)(self.section)

    def revert(self, state: LabelEditor) -> None:
        (state.sections.discard if self.done else state.sections.add)(self.section)


_Edit = _Relabelling | _Merge | _Review | _Marking


def _add_review_columns(synapses: pd.DataFrame | None) -> pd.DataFrame:
    """Copy the candidates, with columns for what a person says of them."""
    table = pd.DataFrame(columns=["z", "y", "x"]) if synapses is None else synapses
    table = table.reset_index(drop=True)
    for column, unseen in UNREVIEWED.items():
        table[column] = table[column].fillna(unseen) if column in table else unseen
    return table.astype({"swapped": bool} | ({"post_ids": str} if "post_ids" in table else {}))


def _swap_partners(row: dict) -> dict:
    """Return pre- and postsynaptic ids of a synapse in each other's places."""
    pre, post = row["pre_id"], row["post_id"]
    ids = {"pre_id": post, "post_id": pre}
    if "post_ids" in row:
        listed = row["post_ids"].split(";")
        ids["post_ids"] = ";".join(str(pre) if one == str(post) else one for one in listed)
    return ids


def _synapse_position(synapse: pd.Series) -> tuple[int, int, int]:
    return tuple(int(synapse[axis]) for axis in "zyx")


def _replay_error(correction: EditRecord, why: str) -> DataError:
    return DataError(
        f"a logged {correction.tool} of {correction.time} cannot be made again: {why}",
        "the labels it was made on are not these",
    )


def _group_seeds(seeds, labels, neurite: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where a neurite has seeds, (z, y, x), and their groups, counted from 1.

    Groups go by marks, or by strokes where all marks are alike.
    """
    where = find_marked_voxels(seeds)
    places = np.column_stack(where)[labels[where] == neurite]
    marks = seeds[tuple(places.T)]
    values, which = np.unique(marks, return_inverse=True)
    if values.size == 1:
        low = places.min(axis=0)
        strokes = np.zeros(places.max(axis=0) - low + 1, bool)
        strokes[tuple((places - low).T)] = True
        which = ndimage.label(strokes, np.ones((3, 3, 3)))[0][tuple((places - low).T)] - 1
    return places, which + 1


def _bounding_boxes(labels: np.ndarray) -> dict[int, Box]:
    """Find the box around every neurite; ids may have gaps of any width."""
    ranks, ids = pd.factorize(labels.reshape(-1))
    boxes = ndimage.find_objects(ranks.reshape(labels.shape).astype(np.int32) + 1)
    return {i: box for i, box in zip(ids.tolist(), boxes, strict=True) if i}
