"""One edit by a person, as the run log stores it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class EditRecord:
    """One edit, with everything needed to replay it.

    Parameters
    ----------
    tool : str
        ``merge split paint fill erase new`` change voxels; ``accept reject unreview swap`` concern
        a synapse, ``mark unmark`` a section; ``undo redo`` revert and repeat edits; ``save
        discard`` settle all edits before them.
    ids : tuple of int
        Neurite ids (of a merge: the one kept, then the other), the row of a synapse among the
        candidates, or a section.
    position : tuple of int or None
        (z, y, x) in voxels; None for edits without a position.
    voxel_delta : int
        Number of voxels that changed.
    payload : bytes
        Which voxels an edit changed and their new ids (see `connectome.proofread.edits`); a JSON
        object, or nothing, for records that change no voxel.
    time : str
        UTC, ISO 8601.
    user : str
        Name of the person.
    """

    tool: str
    ids: tuple[int, ...]
    position: tuple[int, int, int] | None
    voxel_delta: int
    payload: bytes
    time: str
    user: str


def timestamp() -> str:
    """Return the present time in the format of the run log: UTC, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
