"""Describe the state of a session in short texts, for the status lines of the window."""

from __future__ import annotations

from collections.abc import Sequence

from connectome.proofread.session.queue_navigator import QueueNavigator
from connectome.proofread.session.session import Session

EDIT_TEXTS = {  # by the tool of the edit
    "merge": "merging neurites {}",
    "split": "splitting neurite {}",
    "paint": "painting neurite {}",
    "new": "painting neurite {}",
    "fill": "filling with neurite {}",
    "erase": "erasing",
    "accept": "accepting {}",
    "reject": "rejecting {}",
    "unreview": "withdrawing the verdict on {}",
    "swap": "swapping {}",
    "mark": "marking section {} as proofread",
    "unmark": "marking section {} as not proofread",
}
SYNAPSE_TOOLS = ("accept", "reject", "unreview", "swap")


def count_edits(n: int) -> str:
    """Return "1 edit", "2 edits" and so on."""
    return f"{n} edit" if n == 1 else f"{n} edits"


def describe_start(n_recovered: int) -> str:
    """Return the first message of a session."""
    if n_recovered:
        return f"{count_edits(n_recovered)} of an earlier session restored. N goes to a place."
    return "N goes to the most doubtful place; the arrow keys go through the sections."


def describe_location(navigator: QueueNavigator) -> str:
    """Return the line about the current location, as rich text."""
    location, n = navigator.location, len(navigator.queue.locations)
    if location is None:
        return f"{n} places to check, most doubtful first"
    done = " ✓" if navigator.is_settled(location) else ""
    return f"<b>Place {navigator.index + 1} of {n}{done}:</b> {navigator.describe_location()}"


def describe_split(in_3d: bool) -> str:
    """Return the line about the depth of a split."""
    return f"acts in {'all sections (3D)' if in_3d else 'this section only (2D)'}"


def describe_synapse(navigator: QueueNavigator, session: Session, row: int | None) -> str:
    """Return the line about the current synapse, or about all if there is none."""
    synapses = session.editor.synapses
    if row is None:
        n_reviewed = int(synapses["verdict"].ne("").sum())
        return f"{len(synapses)} candidates, {n_reviewed} reviewed"
    synapse = synapses.iloc[row]
    verdict = synapse.verdict or "not reviewed"
    return f"{navigator.describe_synapse(row)}, score {synapse.score:.2f}, {verdict}"


def describe_sections(navigator: QueueNavigator, session: Session, section: int) -> str:
    """Return the line about the section on the screen and those to proofread, as rich text."""
    proofread = session.editor.sections
    state = "proofread" if section in proofread else "not proofread"
    proposed = [f"{z} ✓" if z in proofread else str(z) for z in navigator.queue.sections]
    line = f"section {section} of {len(session.editor.labels)}: {state}"
    return f"{line}<br>to proofread: {', '.join(proposed)}" if proposed else line


def describe_unsaved(n_unsaved: int) -> str:
    """Return the line about unsaved edits."""
    return f"{count_edits(n_unsaved)} not saved yet" if n_unsaved else "all edits are saved"


def describe_edit(navigator: QueueNavigator, tool: str, ids: Sequence[int]) -> str:
    """Describe an edit by its tool and ids, such as "merging neurites 1 and 2"."""
    if tool in SYNAPSE_TOOLS:
        return EDIT_TEXTS[tool].format(navigator.describe_synapse(ids[0]))
    if tool == "split":  # the other ids are new
        ids = ids[:1]
    return EDIT_TEXTS[tool].format(" and ".join(map(str, ids)))
