"""Stacks in numpy files: ``.npy``, and one array of an ``.npz``."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.core.progress import Progress
from connectome.io.paths import sidecar_path
from connectome.io.stacks.stack import (
    Box,
    Header,
    Stack,
    StackFormat,
    StackKind,
    parse_voxel_size,
    unresolved_array,
)


def open_npy(path: Path, _name: str, _kind: StackKind) -> Stack:
    """Open a ``.npy`` file; the voxel size is in the JSON file beside it, if there is one."""
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)

    def load(box: Box, progress: Progress) -> NDArray[Any]:
        data: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)[box]
        progress(data.shape[0])
        return data

    sidecar = sidecar_path(path)
    content = json.loads(sidecar.read_text()) if sidecar.exists() else {}
    # A file of that name may belong to another program.
    size = content.get("voxel_size_nm") if isinstance(content, dict) else None
    return Stack(str(path), mapped.shape, mapped.dtype, parse_voxel_size(size), load)


def open_npz(path: Path, name: str, kind: StackKind) -> Stack:
    """Open an array of an ``.npz`` file; the voxel size is the array ``voxel_size_nm_zyx``."""
    with zipfile.ZipFile(path) as archive:
        headers = {
            entry.removesuffix(".npy"): _read_header(archive, entry)
            for entry in archive.namelist()
            if entry.endswith(".npy")
        }
    key = name or _find_array(path, headers, kind)
    if key not in headers:
        raise unresolved_array(path, f"has no array {key}", headers)
    with np.load(path, allow_pickle=False) as arrays:
        size = arrays["voxel_size_nm_zyx"] if "voxel_size_nm_zyx" in headers else None

    def load(box: Box, progress: Progress) -> NDArray[Any]:
        with np.load(path, allow_pickle=False) as arrays:
            data: NDArray[Any] = arrays[key][box]
        progress(data.shape[0])
        return data

    shape, dtype = headers[key]
    return Stack(f"{path}:{key}", shape, dtype, parse_voxel_size(size), load)


def _read_header(archive: zipfile.ZipFile, entry: str) -> Header:
    """Read shape and dtype of an array without unpacking it."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _is_fortran, dtype = read_header(file)
        return shape, dtype


def _find_array(path: Path, headers: Mapping[str, Header], kind: StackKind) -> str:
    """Return the array of a usual name, or else the only one that fits."""
    for name in kind.array_names:
        if name in headers:
            return name
    candidates = [
        name for name, (shape, dtype) in headers.items() if len(shape) == 3 and kind.accepts(dtype)
    ]
    if len(candidates) != 1:
        problem = f"has several arrays, or none, that may be {kind.description}"
        raise unresolved_array(path, problem, headers)
    return candidates[0]


NPY = StackFormat("stack.npy", (".npy",), open_npy)
NPZ = StackFormat("stack.npz[:array]", (".npz",), open_npz, holds_several_arrays=True)
