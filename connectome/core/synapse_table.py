"""Conventions of the synapse tables: lists of postsynaptic ids, and verdicts of a person."""

from __future__ import annotations

from collections.abc import Iterable

ID_SEPARATOR = ";"
ACCEPTED = "accepted"
REJECTED = "rejected"


def encode_ids(ids: Iterable[int]) -> str:
    """Encode postsynaptic ids as one table cell, such as ``"12;40"``."""
    return ID_SEPARATOR.join(str(int(neurite)) for neurite in ids)


def decode_ids(cell: str | int) -> list[int]:
    """Decode the postsynaptic ids of one table cell.

    A column in which every cell holds one id may have been read as numbers; those are accepted too.
    """
    return [int(neurite) for neurite in str(cell).split(ID_SEPARATOR)]
