"""Log every run in SQLite: its parameters, stages, metrics and files, and how it ended."""

from connectome.runlog.edit_record import EditRecord, timestamp
from connectome.runlog.history import PastRun, read_edits, read_history
from connectome.runlog.run import RECORDED_PACKAGES, Run, append_edit, record_run
from connectome.runlog.stage import Stage, peak_memory_mb

__all__ = [
    "RECORDED_PACKAGES",
    "EditRecord",
    "PastRun",
    "Run",
    "Stage",
    "append_edit",
    "peak_memory_mb",
    "read_edits",
    "read_history",
    "record_run",
    "timestamp",
]
