"""Stacks in folders of images, one section per file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from connectome.core.errors import DataError
from connectome.core.progress import Progress
from connectome.io.stacks import tiff
from connectome.io.stacks.stack import Box, Header, Stack, StackFormat, StackKind, read_sections

# Formats of the sections by suffix. All but TIFF are read with Pillow.
IMAGE_FORMATS = {**dict.fromkeys(tiff.SUFFIXES, "TIFF"), ".png": "PNG"}
IMAGE_FORMAT_NAMES = " or ".join(dict.fromkeys(IMAGE_FORMATS.values()))


def open_section_folder(path: Path, _name: str, _kind: StackKind) -> Stack:
    """Open a folder of images, in the natural order of their names."""
    files = sorted(
        (
            entry
            for entry in path.iterdir()
            if entry.suffix.lower() in IMAGE_FORMATS and not entry.name.startswith(".")
        ),
        key=lambda entry: _natural_key(entry.name),
    )
    if not files:
        raise DataError(f"{path} has no {IMAGE_FORMAT_NAMES} sections in it", "nothing to read")
    first = _read_header(files[0])
    for file in files:
        header = _read_header(file)
        if header != first:
            raise DataError(
                f"{file} is {header[0]} {header[1]} but {files[0].name} is {first[0]} {first[1]}",
                "sections of one stack have one shape and type",
                "move it away, or crop all sections alike",
            )
    shape, dtype = first
    if len(shape) != 2:
        raise DataError(
            f"{files[0]} has shape {shape}: colours or several pages instead of one grey section",
            "sections, rows and columns cannot be told apart",
            "save every section as one grey image",
        )

    def load(box: Box, progress: Progress) -> NDArray[Any]:
        return read_sections(lambda z: _read_image(files[z]), box, progress)

    return Stack(str(path), (len(files), *shape), dtype, None, load)


def _natural_key(name: str) -> list[int | str]:
    """Return a sort key by which s2 comes before s10."""
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", name)]


def _read_header(path: Path) -> Header:
    if path.suffix.lower() in tiff.SUFFIXES:
        import tifffile

        with tifffile.TiffFile(path) as tif:
            return tif.series[0].shape, tif.series[0].dtype
    import imageio.v3 as iio

    properties = iio.improps(path, plugin="pillow")
    return properties.shape, properties.dtype


def _read_image(path: Path) -> NDArray[Any]:
    if path.suffix.lower() in tiff.SUFFIXES:
        import tifffile

        image: NDArray[Any] = tifffile.imread(path)
        return image
    import imageio.v3 as iio

    return iio.imread(path, plugin="pillow")


SECTION_FOLDER = StackFormat(f"a folder of {IMAGE_FORMAT_NAMES} sections", (), open_section_folder)
