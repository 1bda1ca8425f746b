"""Neurites and synapses in the hands of a person: every edit can be undone, and is told of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from connectome.correction import Correction

Box = tuple[slice, slice, slice]


class Change(NamedTuple):
    """What an edit changed.

    Parameters
    ----------
    box : tuple of slice or None
        Part of the stack, (z, y, x), in which labels changed; None where none did.
    correction : Correction or None
        What the listener was told; None where there was nothing to do.
    """

    box: Box | None
    correction: Correction | None


class Proofreading:
    """Labels, synapses and sections under correction.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids, edited in place.
    probability : ndarray of float, shape (Z, Y, X), or callable
        Neurite probability, or what computes it when it is first needed: by a split.
    tissue : ndarray of bool, shape (Z, Y, X)
    voxel_size : tuple of float
        (z, y, x) in nm.
    synapses : DataFrame, optional
        Candidates. Gains the columns ``verdict`` ("", "accepted" or "rejected"), ``swapped``,
        ``reviewer`` and ``time``.
    sections : iterable of int
        Proofread already.
    user : str
        Who is at work.
    tell : callable
        Told of each `Correction`, at once.

    Attributes
    ----------
    labels, synapses, sections
        As they are now.
    """

    def __init__(
        self,
        labels: np.ndarray,
        probability: np.ndarray | Callable[[], np.ndarray],
        tissue: np.ndarray,
        voxel_size: tuple[float, float, float],
        synapses: pd.DataFrame | None = None,
        sections: Iterable[int] = (),
        user: str = "",
        tell: Callable[[Correction], None] = lambda correction: None,
    ): ...

    def merge(self, keep: int, other: int, place=None) -> Change:
        """Make all of ``other`` a part of ``keep``."""

    def split(self, neurite: int, seeds: np.ndarray, section: int | None = None, place=None):
        """Divide a neurite between seeds by watershed on the evidence.

        seeds: (Z, Y, X), each number above 0 a group; with one number only, its connected pieces
        are the groups. The first group keeps the id.
        """

    def paint(self, voxels, neurite: int, tool: str = "paint", before=None) -> Change:
        """Give voxels to a neurite; 0 erases. Change(None, None) if they have that id."""

    def erase(self, voxels, before=None) -> Change:
        """Give voxels to nobody."""

    def fill(self, place: tuple[int, int, int], neurite: int) -> Change:
        """Give the connected profile at a place, in its section, to a neurite."""

    def new_id(self) -> int:
        """Return an id that no neurite has had; the same until it is used."""

    def review(self, row: int, verdict: str) -> Change:
        """Judge a synapse: "accepted", "rejected", or "" for neither."""

    def swap(self, row: int) -> Change:
        """Swap pre_id and post_id of a synapse, in the table at once."""

    def mark(self, section: int, done: bool = True) -> Change:
        """Say that a section is proofread from edge to edge, or that it is not."""

    def undo(self) -> Change | None:
        """Take back the last edit; None where there is none. correction.tool is "undo"."""

    def redo(self) -> Change | None:
        """Do again what was taken back last; None where there is nothing."""
