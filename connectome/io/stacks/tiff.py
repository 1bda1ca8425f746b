"""Stacks in multi-page TIFF files, with the voxel size of OME or ImageJ metadata."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from numpy.typing import NDArray

from connectome.core.errors import DataError
from connectome.core.progress import Progress
from connectome.io.stacks.stack import (
    Box,
    Stack,
    StackFormat,
    StackKind,
    parse_voxel_size,
    read_sections,
)

if TYPE_CHECKING:
    import tifffile

SUFFIXES = (".tif", ".tiff")
_NM = {"nm": 1.0, "µm": 1e3, "μm": 1e3, "um": 1e3, "micron": 1e3, "microns": 1e3, "mm": 1e6}


def open_tiff(path: Path, _name: str, _kind: StackKind) -> Stack:
    """Open a TIFF whose pages are the sections of one stack."""
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # errors are reported below
    with tifffile.TiffFile(path) as tif:
        if len(tif.series) > 1:
            shapes = ", ".join(str(series.shape) for series in tif.series)
            raise DataError(
                f"{path} has several images of shapes {shapes}",
                "it is unknown which of them are sections of one stack",
                "save the sections as one stack, or as files in a folder",
            )
        series = tif.series[0]
        # Many programs write the z axis as C; but no EM has fewer than five sections.
        channels = dict(zip(series.axes, series.shape, strict=True)).get("C", 0)
        if "S" in series.axes or 0 < channels < 5:
            raise DataError(
                f"{path} has axes {series.axes}: colours or channels instead of sections",
                "sections, rows and columns cannot be told apart",
                "save one grey channel as a z stack",
            )
        size = _read_ome_size(tif.ome_metadata or "") if tif.is_ome else _read_imagej_size(tif)

    def load(box: Box, progress: Progress) -> NDArray[Any]:
        with tifffile.TiffFile(path) as tif:
            if tif.series[0].dataoffset is not None:
                data: NDArray[Any] = tifffile.memmap(path, mode="r")[box]
                progress(data.shape[0])
                return data
            return read_sections(lambda z: tif.asarray(key=z), box, progress)

    return Stack(str(path), series.shape, series.dtype, parse_voxel_size(size), load)


def _read_ome_size(xml: str) -> list[float] | None:
    """Return (z, y, x) in nm from OME metadata; None unless all three are given."""
    pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
    if pixels is None:
        return None
    lengths = []
    for axis in "ZYX":
        length = pixels.get(f"PhysicalSize{axis}")
        unit = _NM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        if length is None or unit is None:
            return None
        lengths.append(float(length) * unit)
    return lengths


def _read_imagej_size(tif: tifffile.TiffFile) -> list[float] | None:
    """Return (z, y, x) in nm from the calibration of ImageJ; None unless it is complete.

    The resolution tags of other TIFFs are print resolutions.
    """
    meta = tif.imagej_metadata or {}
    unit = _NM.get(str(meta.get("unit", "")).replace("\\u00B5", "µ"))
    tags = tif.pages.first.tags
    per_unit = [tags[f"{axis}Resolution"].value for axis in "YX" if f"{axis}Resolution" in tags]
    if unit is None or "spacing" not in meta or len(per_unit) < 2 or not all(map(all, per_unit)):
        return None
    return [meta["spacing"] * unit, *(unit * per / pixels for pixels, per in per_unit)]


TIFF = StackFormat("stack.tif", SUFFIXES, open_tiff)
