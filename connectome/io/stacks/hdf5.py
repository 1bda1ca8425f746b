"""Stacks in datasets of HDF5 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from connectome.core.progress import Progress
from connectome.io.stacks.stack import (
    Box,
    Header,
    Stack,
    StackFormat,
    StackKind,
    parse_voxel_size,
    unresolved_array,
)


def open_hdf5(path: Path, name: str, _kind: StackKind) -> Stack:
    """Open a dataset; its voxel size is the attribute ``resolution``, as in CREMI files."""
    import h5py

    with h5py.File(path) as file:
        headers: dict[str, Header] = {}

        def collect(key: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                headers[f"/{key}"] = item.shape, item.dtype

        file.visititems(collect)
        key = "/" + name.strip("/")
        if key not in headers:
            problem = f"has no dataset {key}" if name else "needs the name of a dataset"
            raise unresolved_array(path, problem, headers)
        size = file[key].attrs.get("resolution")  # (z, y, x) in nm

    def load(box: Box, progress: Progress) -> NDArray[Any]:
        with h5py.File(path) as file:
            data: NDArray[Any] = file[key][box]
        progress(data.shape[0])
        return data

    shape, dtype = headers[key]
    return Stack(f"{path}:{key}", shape, dtype, parse_voxel_size(size), load)


HDF5 = StackFormat(
    "stack.h5:/dataset", (".h5", ".hdf5", ".hdf"), open_hdf5, holds_several_arrays=True
)
