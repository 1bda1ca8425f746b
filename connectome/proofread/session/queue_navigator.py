"""Step through the proofreading queue, with ids that follow the edits made since."""

from __future__ import annotations

from connectome.core.errors import ConnectomeError
from connectome.proofread.session.session import Session
from connectome.triage.focused_proofreading import Location, current_ids, name_synapse
from connectome.triage.queue import ProofreadingQueue


class QueueNavigator:
    """A position in the proofreading queue of a session.

    Parameters
    ----------
    session : Session
        Its edits decide which locations are settled, and which ids neurites have.
    queue : ProofreadingQueue
        Locations to look at and sections to proofread.

    Attributes
    ----------
    queue : ProofreadingQueue
        As given.
    index : int
        Index of the current location; -1 before the first.
    """

    def __init__(self, session: Session, queue: ProofreadingQueue):
        self.queue = queue
        self.index = -1
        self._session = session

    @property
    def location(self) -> Location | None:
        """The current location; None before the first."""
        return self.queue.locations[self.index] if self.index >= 0 else None

    def move(self, step: int) -> Location:
        """Go to the next (+1) or previous (-1) location that is not settled.

        Raises
        ------
        ConnectomeError
            If there is none.
        """
        locations = self.queue.locations
        if not locations:
            raise ConnectomeError(
                "no doubtful places are known",
                "the run estimated no doubts, as with --segmentation watershed",
                "J, to go to the sections to proofread",
            )
        index = self.index + step
        while 0 <= index < len(locations) and self.is_settled(locations[index]):
            index += step
        if not 0 <= index < len(locations):
            direction = "after" if step > 0 else "before"
            raise ConnectomeError(f"there is no doubtful place {direction} this one")
        self.index = index
        return locations[index]

    def next_section(self, section: int) -> int:
        """Return the next section to proofread after a section, or else the first.

        Raises
        ------
        ConnectomeError
            If all are proofread.
        """
        left = [z for z in self.queue.sections if z not in self._session.editor.sections]
        if not left:
            raise ConnectomeError(
                "all proposed sections are proofread", remedy="save, then train_refine_rf.py"
            )
        return next((z for z in left if z > section), left[0])

    def is_settled(self, location: Location) -> bool:
        """Return whether its neurites were merged, or its synapse reviewed."""
        if location.synapse_row is not None:
            return bool(self._session.editor.synapses.at[location.synapse_row, "verdict"])
        ids = self.current_ids(location)
        return len(ids) == 2 and (ids[0] == ids[1] or 0 in ids)

    def current_ids(self, location: Location) -> tuple[int, ...]:
        """Return the current ids of the neurites at a location; 0 for one that is gone."""
        session = self._session
        is_synapse = location.synapse_row is not None
        return current_ids(
            location.ids,
            location.position,
            # Tables of the run have the ids of the draft; synapses were translated when opened.
            before=session.initial_labels if is_synapse else session.folder.baseline_labels,
            after=session.editor.labels,
            voxel_size=session.folder.aligned.voxel_size,
        )

    def describe_location(self) -> str:
        """Describe the current location in a sentence, with the current ids.

        Raises
        ------
        ValueError
            Before the first location.
        """
        location = self.location
        if location is None:
            raise ValueError("there is no current location")
        if location.synapse_row is not None:  # its direction may have been swapped
            name = self.describe_synapse(location.synapse_row)
            return f"{name.capitalize()}: {location.reason}."
        now = self.current_ids(location)
        return location.describe(
            tuple(i or original for i, original in zip(now, location.ids, strict=True))
        )

    def describe_synapse(self, row: int) -> str:
        """Return a synapse as "synapse 3 → 5", with the current ids of its partners."""
        synapse = self._session.editor.synapses.iloc[row]
        ids = current_ids(
            (int(synapse.pre_id), int(synapse.post_id)),
            (int(synapse.z), int(synapse.y), int(synapse.x)),
            before=self._session.initial_labels,
            after=self._session.editor.labels,
            voxel_size=self._session.folder.aligned.voxel_size,
        )
        return name_synapse(ids)
