"""Time and peak memory of a stage."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

try:
    import resource
except ImportError:  # Windows has no such module; peak memory is not recorded there
    resource = None  # type: ignore[assignment]


class Stage(NamedTuple):
    """One stage of a run.

    Parameters
    ----------
    name : str
        Name of the stage.
    seconds : float
        Wall time.
    peak_memory_mb : float or None
        Peak memory of the process up to the end of the stage, in MB (10⁶ bytes); None if unknown.
    counts : dict
        What the stage counted, by name.
    """

    name: str
    seconds: float
    peak_memory_mb: float | None
    counts: dict[str, Any]


def peak_memory_mb(usage: resource.struct_rusage) -> float:
    """Return the peak memory of a ``resource`` usage record in MB (10⁶ bytes)."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def own_peak_memory_mb() -> float | None:
    """Return the peak memory of this process in MB; None if unknown."""
    return peak_memory_mb(resource.getrusage(resource.RUSAGE_SELF)) if resource else None
