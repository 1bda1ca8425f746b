"""Tables read back from files, and refused in words where they are not what they should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from connectome.errors import DataError


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
    for column in numbers:
        if column not in table:
            raise DataError(f"{path} has no column {column}", consequence, remedy)
        finite = np.isfinite(pd.to_numeric(table[column], errors="coerce"))
        if not finite.all():
            row = int(np.argmin(finite)) + 1
            said = f"{path}, row {row}: {column} is {table[column].iloc[row - 1]}"
            raise DataError(said, consequence, remedy)
    return table
