"""Log every run to SQLite: what was run on what, how it ended, and what it wrote."""

from connectome.runlog.log import (
    PACKAGES,
    PastRun,
    Run,
    append_correction,
    corrections,
    history,
    peak_mb,
    record,
)

__all__ = [
    "PACKAGES",
    "PastRun",
    "Run",
    "append_correction",
    "corrections",
    "history",
    "peak_mb",
    "record",
]
