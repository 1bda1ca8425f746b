"""Log every run to SQLite: what was run on what, how it ended, and what it wrote."""

from connectome.runlog.log import (
    RECORDED_PACKAGES,
    PastRun,
    Run,
    append_edit,
    peak_memory_mb,
    read_edits,
    read_history,
    record_run,
)

__all__ = [
    "RECORDED_PACKAGES",
    "PastRun",
    "Run",
    "append_edit",
    "peak_memory_mb",
    "read_edits",
    "read_history",
    "record_run",
]
