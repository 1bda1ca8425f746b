"""Apply edits to a state, record each, and undo or redo them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from connectome.proofread.edit_runs import Box
from connectome.proofread.edits import Edit, EditableState
from connectome.runlog.edit_record import EditRecord, timestamp

OnEdit = Callable[[EditRecord], None]


class EditResult(NamedTuple):
    """What an edit changed.

    Parameters
    ----------
    box : tuple of slice or None
        Part of the stack, (z, y, x), in which labels changed; None if none did.
    record : EditRecord
        Record passed to ``on_edit``.
    """

    box: Box | None
    record: EditRecord


class EditHistory:
    """The edits of a state, which can be undone and redone one by one.

    Parameters
    ----------
    state : EditableState
        Changed in place.
    user : str
        Name for the records.
    on_edit : callable
        Receives the record of every edit, undo and redo; if it raises, the edit is reverted.

    Attributes
    ----------
    state, user, on_edit
        As given; ``on_edit`` may be replaced at any time.
    """

    def __init__(self, state: EditableState, user: str, on_edit: OnEdit):
        self.state = state
        self.user = user
        self.on_edit = on_edit
        self._undo_stack: list[tuple[Edit, EditRecord]] = []
        self._redo_stack: list[tuple[Edit, EditRecord]] = []

    def carry_out(self, edit: Edit, record: EditRecord) -> EditResult:
        """Apply and record a new edit; edits undone before can no longer be redone."""
        self._act_and_record(edit.apply, edit.revert, record)
        self._undo_stack.append((edit, record))
        self._redo_stack.clear()
        return EditResult(edit.box, record)

    def undo(self) -> EditResult | None:
        """Undo the last edit; return None if there is none."""
        return self._undo_or_redo("undo", self._undo_stack, self._redo_stack)

    def redo(self) -> EditResult | None:
        """Repeat the edit that was undone last; return None if there is none."""
        return self._undo_or_redo("redo", self._redo_stack, self._undo_stack)

    def make_record(
        self,
        tool: str,
        ids: Iterable[int],
        position: Sequence[int] | None,
        *,
        n_voxels: int = 0,
        payload: bytes = b"",
    ) -> EditRecord:
        """Return the record of an edit made now.

        Parameters
        ----------
        tool, ids, position
            As `EditRecord` has them.
        n_voxels : int
            Voxels that change.
        payload : bytes
            What it takes to replay the edit, beyond its ids.
        """
        return EditRecord(
            tool=tool,
            ids=tuple(map(int, ids)),
            position=_as_voxel(position),
            voxel_delta=n_voxels,
            payload=payload,
            time=timestamp(),
            user=self.user,
        )

    def _undo_or_redo(
        self,
        tool: str,
        source: list[tuple[Edit, EditRecord]],
        target: list[tuple[Edit, EditRecord]],
    ) -> EditResult | None:
        """Undo or redo the last edit of one stack, and move it to the other."""
        if not source:
            return None
        edit, original = source[-1]
        record = self.make_record(
            tool,
            original.ids,
            original.position,
            n_voxels=edit.n_voxels,
            payload=json.dumps({"tool": original.tool}).encode(),
        )
        if tool == "undo":
            self._act_and_record(edit.revert, edit.apply, record)
        else:
            self._act_and_record(edit.apply, edit.revert, record)
        target.append(source.pop())
        return EditResult(edit.box, record)

    def _act_and_record(
        self,
        act: Callable[[EditableState], None],
        reverse: Callable[[EditableState], None],
        record: EditRecord,
    ) -> None:
        """Act and record it; reverse the act if it cannot be recorded."""
        act(self.state)
        try:
            self.on_edit(record)
        except BaseException:
            reverse(self.state)
            raise


def _as_voxel(position: Sequence[int] | None) -> tuple[int, int, int] | None:
    if position is None:
        return None
    z, y, x = map(int, position)
    return z, y, x
