"""The formats that stacks can be read from."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from connectome.core.errors import DataError, UsageError
from connectome.io.stacks.hdf5 import HDF5
from connectome.io.stacks.numpy_files import NPY, NPZ
from connectome.io.stacks.section_folder import SECTION_FOLDER
from connectome.io.stacks.stack import EM, Stack, StackFormat, StackKind, report_read_errors
from connectome.io.stacks.tiff import TIFF

FORMATS = (NPY, NPZ, TIFF, SECTION_FOLDER, HDF5)

_EXAMPLES = [each.example for each in FORMATS]
SUPPORTED_FORMATS = f"{', '.join(_EXAMPLES[:-1])}, or {_EXAMPLES[-1]}"

# The name of an array follows a colon. It must come after a suffix, so that C:\ is no separator.
_SUFFIXES = [suffix for each in FORMATS if each.holds_several_arrays for suffix in each.suffixes]
_PATH_AND_NAME = re.compile(
    rf"(.+(?:{'|'.join(re.escape(suffix) for suffix in _SUFFIXES)})):(.+)", re.IGNORECASE
)


def open_stack(uri: str, kind: StackKind = EM) -> Stack:
    """Open a stack without reading its voxels.

    Parameters
    ----------
    uri : str
        ``.npy``, ``.npz[:array]``, multi-page TIFF, folder of TIFF or PNG sections in the natural
        order of their names, or ``file.h5:/dataset``.
    kind : StackKind
        What it should hold.

    Returns
    -------
    Stack

    Raises
    ------
    UsageError
        If the format is not supported, or the file has several arrays and none was named.
    DataError
        If it is missing, damaged, not 3D, or not of this kind.
    """
    match = _PATH_AND_NAME.fullmatch(uri)
    path, name = (Path(match[1]), match[2]) if match else (Path(uri), "")
    path = path.expanduser()
    stack_format = _find_format(path, uri)
    if not path.exists():
        similar = difflib.get_close_matches(path.name, _list_names(path.parent), n=1)
        raise DataError(
            f"there is no {path}",
            "nothing was read",
            str(path.with_name(similar[0]))
            if similar
            else "the path of a stack, or phantom://neuropil",
        )
    with report_read_errors(uri):
        stack = stack_format.open(path, name, kind)
    _check_stack(stack, kind)
    return stack


def _find_format(path: Path, uri: str) -> StackFormat:
    for each in FORMATS:
        if each.matches(path):
            return each
    may_be_remote = not path.exists() and uri.strip("/").count("/") in (2, 3)
    problem = "is neither a stack nor a folder of sections"
    raise UsageError(
        f"{uri} {problem if path.exists() else 'does not exist'}",
        f"what can be read is {SUPPORTED_FORMATS}",
        f"bossdb://{uri.strip('/')}" if may_be_remote else "",
    )


def _list_names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def _check_stack(stack: Stack, kind: StackKind) -> None:
    shape = stack.shape
    if len(shape) != 3 or shape[-1] in (3, 4):
        has_colours = len(shape) > 2 and shape[-1] in (3, 4)
        found = "colours" if has_colours else f"{len(shape)} dimensions"
        raise DataError(
            f"{stack.uri} has shape {shape}: {found} instead of (Z, Y, X)",
            "sections, rows and columns cannot be told apart",
            "save one grey channel, and sections as a stack or as files in a folder",
        )
    if 0 in shape:
        raise DataError(f"{stack.uri} is empty: shape {shape}", "nothing to read")
    if not kind.accepts(stack.dtype):
        raise DataError(
            f"{stack.uri} has voxels of type {stack.dtype}, which is not {kind.description}",
            "its values would be misread",
        )
