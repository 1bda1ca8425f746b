"""A stack in a file that is not read yet, and what all formats share."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.core.errors import ConnectomeError, DataError, UsageError
from connectome.core.progress import Progress, ignore_progress

Box = tuple[slice, slice, slice]
VoxelSize = tuple[float, float, float]
Header = tuple[tuple[int, ...], np.dtype[Any]]  # shape and dtype of an array
Loader = Callable[[Box, Progress], NDArray[Any]]


@dataclass(frozen=True)
class StackKind:
    """What a stack is read as, which decides the data types that are accepted.

    Parameters
    ----------
    description : str
        For messages.
    array_names : tuple of str
        Usual names of such an array in a file of several arrays.
    accepts : callable
        Returns whether voxels may have a dtype.
    """

    description: str
    array_names: tuple[str, ...]
    accepts: Callable[[np.dtype[Any]], bool]


EM = StackKind(
    "EM (8 or 16-bit integers, or floats)",
    ("raw", "em", "image", "data"),
    lambda dtype: dtype.kind == "f" or (dtype.kind in "iu" and dtype.itemsize <= 2),
)
LABELS = StackKind("labels (integers)", ("labels",), lambda dtype: dtype.kind in "iu")


@dataclass(frozen=True)
class Stack:
    """A 3D array in a file or folder, not read yet.

    Parameters
    ----------
    uri : str
        Path, followed by the name of the array in a file of several.
    shape : tuple of int
        (Z, Y, X).
    dtype : dtype
        Data type of the voxels, as stored.
    voxel_size : tuple of float or None
        (z, y, x) in nm; None if the file does not give it.
    load : callable
        Returns a box of the array, and calls the progress callback for every section.
    """

    uri: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    voxel_size: VoxelSize | None
    load: Loader

    def read(
        self,
        origin: tuple[int, ...],
        shape: tuple[int, ...],
        progress: Progress = ignore_progress,
    ) -> NDArray[Any]:
        """Read a box into a new array in native byte order.

        Parameters
        ----------
        origin, shape : tuple of int
            Corner and size, (z, y, x).
        progress : callable
            Called with the number of sections just read.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        z, y, x = (slice(start, start + n) for start, n in zip(origin, shape, strict=True))
        with report_read_errors(self.uri):
            return np.array(self.load((z, y, x), progress), self.dtype.newbyteorder("="), order="C")


@dataclass(frozen=True)
class StackFormat:
    """A file format that stacks can be read from.

    Parameters
    ----------
    example : str
        How to write the path, for messages.
    suffixes : tuple of str
        File name extensions, in lower case with the dot; empty for a folder.
    open : callable
        Takes the path, the name of the array ("" if none was given) and the kind, and returns the
        stack without reading its voxels.
    holds_several_arrays : bool
        Whether the name of an array may follow the path after a colon.
    """

    example: str
    suffixes: tuple[str, ...]
    open: Callable[[Path, str, StackKind], Stack]
    holds_several_arrays: bool = False

    def matches(self, path: Path) -> bool:
        """Return whether a path looks like this format."""
        if path.is_dir():
            return not self.suffixes
        return path.suffix.lower() in self.suffixes


@contextmanager
def report_read_errors(uri: str) -> Iterator[None]:
    """Turn the exceptions that readers raise on damaged files into a `DataError`."""
    try:
        yield
    except ConnectomeError:
        raise
    except (
        *(OSError, ValueError, KeyError, IndexError, TypeError, EOFError, SyntaxError),
        *(zipfile.BadZipFile, zlib.error, struct.error, ElementTree.ParseError),
    ) as error:
        # The message of numpy explains how to load pickles, which is unsafe.
        reason = "it is a pickle or no array" if "pickle" in str(error) else error
        raise DataError(
            f"{uri} cannot be read: {reason}",
            "nothing was read; the file may be damaged",
            "a fresh copy of it, or export the stack again",
        ) from error


def read_sections(
    read_section: Callable[[int], NDArray[Any]], box: Box, progress: Progress
) -> NDArray[Any]:
    """Read a box section by section, so that only one whole section is in memory.

    Parameters
    ----------
    read_section : callable
        Returns a section (Y, X) by its number.
    box : tuple of slice
        (z, y, x).
    progress : callable
        Called with 1 after each section.

    Returns
    -------
    ndarray, shape (Z, Y, X)
    """
    sections, rows, columns = box
    cropped = []
    for z in range(sections.start, sections.stop):
        cropped.append(np.array(read_section(z)[rows, columns]))
        progress(1)
    return np.stack(cropped)


def unresolved_array(path: Path, problem: str, headers: Mapping[str, Header]) -> UsageError:
    """Return the error that lists the 3D arrays of a file.

    Parameters
    ----------
    path : Path
        The file.
    problem : str
        What is wrong, as the predicate of a sentence about the file.
    headers : mapping of str to tuple
        Shape and dtype of every array.
    """
    stacks = {name: header for name, header in headers.items() if len(header[0]) == 3}
    listed = ", ".join(f"{name} {shape} {dtype}" for name, (shape, dtype) in stacks.items())
    return UsageError(
        f"{path} {problem}",
        f"the 3D arrays there are: {listed or 'none'}",
        f"{path}:{next(iter(stacks))}" if stacks else "",
    )


def parse_voxel_size(lengths: ArrayLike | None) -> VoxelSize | None:
    """Return a voxel size (z, y, x) in nm as plain numbers; None if there is none.

    Raises
    ------
    ValueError
        If it is not three positive numbers.
    """
    if lengths is None:
        return None
    size = np.asarray(lengths, float)
    if size.shape != (3,) or not np.all(np.isfinite(size) & (size > 0)):
        raise ValueError(f"its voxel size {lengths!r} is not three positive lengths (z, y, x)")
    z, y, x = size.tolist()
    return z, y, x
