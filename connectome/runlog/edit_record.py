"""One correction by a person, as the run log keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class EditRecord:
    """What was done, where, when and by whom, with what is needed to do it again.

    Parameters
    ----------
    tool : str
        ``merge split paint fill erase new`` change voxels; ``accept reject unreview swap`` are
        about a synapse, ``mark unmark`` about a section; ``undo redo`` take back and repeat;
        ``save discard`` end a stretch of work.
    ids : tuple of int
        Neurite ids (of a merge: the one kept, the other), the row of a synapse among the
        candidates, or a section.
    place : tuple of int or None
        (z, y, x) in voxels, where there is one.
    voxel_delta : int
        Voxels that changed.
    payload : bytes
        What ids and place do not tell: of an edit of voxels which ones and their new ids (see
        `connectome.proofread.editor`), of others a JSON object or nothing.
    time : str
        UTC, ISO 8601.
    user : str
        Who did it.
    """

    tool: str
    ids: tuple[int, ...]
    place: tuple[int, int, int] | None
    voxel_delta: int
    payload: bytes
    time: str
    user: str


def timestamp() -> str:
    """Return the time as corrections tell it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
