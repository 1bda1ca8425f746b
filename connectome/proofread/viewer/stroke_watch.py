"""Detect what a brush changed in the plane on the screen, by comparison with a copy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Stroke(NamedTuple):
    """Voxels that were given an id.

    Parameters
    ----------
    voxels : tuple of three ndarray of int, shape (N,)
        Indices along (z, y, x).
    neurite : int
        Their new id.
    before : ndarray of int, shape (N,)
        Their ids before.
    """

    voxels: tuple[np.ndarray, ...]
    neurite: int
    before: np.ndarray


class StrokeWatcher:
    """Compares a plane of a stack with its earlier state, whatever changed it.

    napari's own record of its brush is private and changes from version to version; a copy of one
    plane costs less than a millisecond.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Edited in place by others.
    """

    def __init__(self, labels: np.ndarray):
        self._labels = labels
        self._axis, self._index = 0, 0
        self._copy: np.ndarray | None = None

    def watch_plane(self, axis: int | None, index: int = 0) -> None:
        """Copy a plane, to detect later changes.

        Parameters
        ----------
        axis : int or None
            Axis perpendicular to the plane; None watches nothing.
        index : int
            Index along that axis.
        """
        if axis is None:
            self._copy = None
            return
        self._axis, self._index = axis, index
        self._copy = self._labels.take(index, axis)

    def take_strokes(self) -> list[Stroke]:
        """Return the changes since the last call or copy, one stroke per new id."""
        if self._copy is None:
            return []
        before_plane, plane = self._copy, self._labels.take(self._index, self._axis)
        changed = np.nonzero(plane != before_plane)
        self._copy = plane
        voxels = list(changed)
        voxels.insert(self._axis, np.full_like(changed[0], self._index))
        after, before = plane[changed], before_plane[changed]
        strokes = []
        for neurite in np.unique(after).tolist():
            in_stroke = after == neurite
            indices = tuple(axis[in_stroke] for axis in voxels)
            strokes.append(Stroke(indices, neurite, before[in_stroke]))
        return strokes
