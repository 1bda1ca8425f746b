"""Tables read back from files, and refused in words where they are not what they should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from connectome.core.errors import DataError
from connectome.core.synapse_table import ACCEPTED, REJECTED


def read_table(
    path: Path,
    numbers: Sequence[str] = (),
    types: Mapping[str, type] | None = None,
    consequence: str = "",
    remedy: str = "",
) -> pd.DataFrame:
    """Read a CSV.

    Parameters
    ----------
    path : Path
        With a header.
    numbers : sequence of str
        Columns that must be there, a finite number in every row.
    types : mapping of str to type, optional
        Of columns that are not to be guessed.
    consequence, remedy : str
        What follows from a fault, and what to do about it.

    Raises
    ------
    DataError
        If it cannot be read, lacks one of ``numbers``, or has a gap in one.
    """
    try:
        table = pd.read_csv(path, dtype=types)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}", consequence, remedy) from error
    check_numbers(table, numbers, path, consequence, remedy)
    return table


def check_columns(
    table: pd.DataFrame,
    columns: Sequence[str],
    path: Path,
    consequence: str = "",
    remedy: str = "",
) -> None:
    """Refuse a table that lacks a column, whatever would be in it."""
    if missing := [column for column in columns if column not in table]:
        raise DataError(f"{path} has no column {missing[0]}", consequence, remedy)


def check_numbers(
    table: pd.DataFrame,
    columns: Sequence[str],
    path: Path,
    consequence: str = "",
    remedy: str = "",
) -> None:
    """Refuse rows, all of a file or some, without a finite number in each of these columns."""
    check_columns(table, columns, path, consequence, remedy)
    for column in columns:
        finite = np.isfinite(pd.to_numeric(table[column], errors="coerce"))
        _refuse(table, column, finite, path, "", consequence, remedy)


def check_positions(
    table: pd.DataFrame,
    shape: tuple[int, int, int],
    path: Path,
    consequence: str = "",
    remedy: str = "",
) -> None:
    """Refuse rows whose ``z, y, x`` round to no voxel of a stack."""
    for column, length in zip("zyx", shape, strict=True):
        inside = table[column].astype(float).round().between(0, length - 1)
        there = f", and the stack goes from 0 to {length - 1}"
        _refuse(table, column, inside, path, there, consequence, remedy)


def check_partner_ids(
    table: pd.DataFrame, path: Path, consequence: str = "", remedy: str = ""
) -> pd.DataFrame:
    """Return synapses with ``post_ids`` in every row that may have one; refuse what are no ids."""
    if "post_ids" not in table:
        return table
    posts = table["post_ids"].fillna(table["post_id"].astype(str))
    told = table.assign(post_ids=posts)
    fine = posts.str.fullmatch(r"\d+(;\d+)*")
    _refuse(told, "post_ids", fine, path, "", consequence, remedy)
    return told


def read_reviewed_synapses(path: Path, shape: tuple[int, int, int]) -> pd.DataFrame:
    """Read the synapses that a person has reviewed.

    Parameters
    ----------
    path : Path
        ``tables/synapses_reviewed.csv``.
    shape : tuple of int
        (Z, Y, X) of the stack.

    Returns
    -------
    DataFrame
        Rows with a verdict, or with a direction that was swapped (``swapped``); ``verdict`` is
        ``accepted``, ``rejected`` or empty.

    Raises
    ------
    DataError
        If the table cannot be read, lacks a column, has a gap, or has a position outside the stack.
    """
    advice = (
        "the reviews of synapses cannot be used",
        "correct the file, or move it away",
    )
    text_columns = ("verdict", "reviewer", "time")
    types = dict.fromkeys(("post_ids", *text_columns), str)
    table = read_table(path, ("z", "y", "x", "pre_id", "post_id"), types, *advice)
    check_columns(table, ("verdict",), path, *advice)
    check_positions(table, shape, path, *advice)
    table = check_partner_ids(table, path, *advice)
    text = table.columns.intersection(text_columns)
    table[text] = table[text].fillna("")
    verdict = table["verdict"].str.lower()
    table["verdict"] = verdict.where(verdict.isin([ACCEPTED, REJECTED]), "")
    table["swapped"] = table["swapped"].astype(bool) if "swapped" in table else False
    return table[(table["verdict"] != "") | table["swapped"]]


def _refuse(table, column: str, fine: pd.Series, path: Path, more: str, *advice: str) -> None:
    """Name the first row that is not fine by its number in the file, the header not counted."""
    if not fine.all():
        at = int(np.argmin(fine))
        row = table.index[at] + 1
        raise DataError(f"{path}, row {row}: {column} is {table[column].iloc[at]}{more}", *advice)
