"""Log, save, resume and replay a proofreading session."""

from connectome.proofread.session.log import UnsavedEdits
from connectome.proofread.session.replay import check_replay, replay_saved_labels
from connectome.proofread.session.session import Session, find_unsaved_edits, open_session

__all__ = [
    "Session",
    "UnsavedEdits",
    "check_replay",
    "find_unsaved_edits",
    "open_session",
    "replay_saved_labels",
]
