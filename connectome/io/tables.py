"""Read tables and check their contents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from connectome.core.errors import DataError
from connectome.core.synapse_table import ACCEPTED, REJECTED


def read_table(
    path: Path,
    numeric_columns: Sequence[str] = (),
    types: Mapping[str, type] | None = None,
    consequence: str = "",
    remedy: str = "",
) -> pd.DataFrame:
    """Read a CSV file.

    Parameters
    ----------
    path : Path
        The file, with a header.
    numeric_columns : sequence of str
        Columns that must exist, with a finite number in every row.
    types : mapping of str to type, optional
        Types of columns; pandas infers the others.
    consequence, remedy : str
        Consequence and remedy of the errors.

    Raises
    ------
    DataError
        If it cannot be read, lacks one of ``numeric_columns``, or has a gap in one.
    """
    try:
        table = pd.read_csv(path, dtype=types)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}", consequence, remedy) from error
    check_numbers(table, numeric_columns, path, consequence, remedy)
    return table


def check_columns(
    table: pd.DataFrame,
    columns: Sequence[str],
    path: Path,
    consequence: str = "",
    remedy: str = "",
) -> None:
    """Raise `DataError` if a table lacks a column."""
    if missing := [column for column in columns if column not in table]:
        raise DataError(f"{path} has no column {missing[0]}", consequence, remedy)


def check_numbers(
    table: pd.DataFrame,
    columns: Sequence[str],
    path: Path,
    consequence: str = "",
    remedy: str = "",
) -> None:
    """Raise `DataError` unless every row has a finite number in each of the columns."""
    check_columns(table, columns, path, consequence, remedy)
    for column in columns:
        is_finite = np.isfinite(pd.to_numeric(table[column], errors="coerce"))
        _check_rows(table, column, is_finite, path, consequence, remedy)


def check_positions(
    table: pd.DataFrame,
    shape: tuple[int, int, int],
    path: Path,
    consequence: str = "",
    remedy: str = "",
) -> None:
    """Raise `DataError` unless ``z, y, x`` of every row round to a voxel of the stack.

    Parameters
    ----------
    table : DataFrame
        With columns ``z, y, x`` in voxels.
    shape : tuple of int
        (Z, Y, X) of the stack.
    path : Path
        File of the table, for messages.
    consequence, remedy : str
        Consequence and remedy of the error.
    """
    for column, length in zip("zyx", shape, strict=True):
        is_inside = table[column].astype(float).round().between(0, length - 1)
        detail = f", and the stack goes from 0 to {length - 1}"
        _check_rows(table, column, is_inside, path, consequence, remedy, detail)


def check_partner_ids(
    table: pd.DataFrame, path: Path, consequence: str = "", remedy: str = ""
) -> pd.DataFrame:
    """Return synapses with ``post_ids`` in every row, if the table has that column.

    Raises
    ------
    DataError
        If a cell is not a list of ids (see `connectome.core.synapse_table`).
    """
    if "post_ids" not in table:
        return table
    post_ids = table["post_ids"].fillna(table["post_id"].astype(str))
    filled = table.assign(post_ids=post_ids)
    is_list = post_ids.str.fullmatch(r"\d+(;\d+)*")
    _check_rows(filled, "post_ids", is_list, path, consequence, remedy)
    return filled


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
    advice = {
        "consequence": "the reviews of synapses cannot be used",
        "remedy": "correct the file, or move it away",
    }
    text_columns = ("verdict", "reviewer", "time")
    types = dict.fromkeys(("post_ids", *text_columns), str)
    table = read_table(path, ("z", "y", "x", "pre_id", "post_id"), types, **advice)
    check_columns(table, ("verdict",), path, **advice)
    check_positions(table, shape, path, **advice)
    table = check_partner_ids(table, path, **advice)
    text = table.columns.intersection(text_columns)
    table[text] = table[text].fillna("")
    verdict = table["verdict"].str.lower()
    table["verdict"] = verdict.where(verdict.isin([ACCEPTED, REJECTED]), "")
    table["swapped"] = table["swapped"].astype(bool) if "swapped" in table else False
    return table[(table["verdict"] != "") | table["swapped"]]


def _check_rows(
    table: pd.DataFrame,
    column: str,
    is_valid: pd.Series,
    path: Path,
    consequence: str,
    remedy: str,
    detail: str = "",
) -> None:
    """Raise `DataError` that names the first invalid row by its number in the file, from 1."""
    if not is_valid.all():
        index = int(np.argmin(is_valid))
        row = table.index[index] + 1
        raise DataError(
            f"{path}, row {row}: {column} is {table[column].iloc[index]}{detail}",
            consequence,
            remedy,
        )
