"""What a brush has changed in the plane that is seen, told from a copy of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Stroke(NamedTuple):
    """Voxels that got an id.

    Parameters
    ----------
    voxels : tuple of three ndarray of int, shape (N,)
        Indices along (z, y, x).
    neurite : int
        The id they have now.
    before : ndarray of int, shape (N,)
        The ids they had.
    """

    voxels: tuple[np.ndarray, ...]
    neurite: int
    before: np.ndarray


class StrokeWatcher:
    """Compares a plane of a stack with how it was, whoever changes it and by what means.

    A viewer's own record of its brush is private and changes from version to version; a copy of
    one plane costs less than a millisecond.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Watched; edited in place by others.
    """

    def __init__(self, labels: np.ndarray):
        self._labels = labels
        self._axis, self._at = 0, 0
        self._last_seen: np.ndarray | None = None

    def watch_plane(self, axis: int | None, at: int = 0) -> None:
        """Remember a plane as it is now.

        Parameters
        ----------
        axis : int or None
            Across the plane; None watches nothing.
        at : int
            Index along that axis.
        """
        self._axis, self._at = axis, at
        self._last_seen = None if axis is None else self._labels.take(at, axis)

    def take_strokes(self) -> list[Stroke]:
        """Return what has changed since the last look, by new id, and look again."""
        if self._last_seen is None:
            return []
        was, now = self._last_seen, self._labels.take(self._at, self._axis)
        changed = np.nonzero(now != was)
        self._last_seen = now
        voxels = list(changed)
        voxels.insert(self._axis, np.full_like(changed[0], self._at))
        after, before = now[changed], was[changed]
        strokes = []
        for neurite in np.unique(after).tolist():
            given = after == neurite
            strokes.append(Stroke(tuple(v[given] for v in voxels), neurite, before[given]))
        return strokes
