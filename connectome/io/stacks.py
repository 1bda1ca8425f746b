"""Stacks in local files: what is in them is known at once, and any box of them can be read."""

from __future__ import annotations

import difflib
import json
import logging
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from connectome.core.errors import ConnectomeError, DataError, UsageError
from connectome.core.progress import Progress, ignore_progress
from connectome.io.paths import sidecar_path

SUPPORTED_FORMATS = (
    "stack.npy, stack.npz[:array], stack.tif, a folder of TIFF or PNG sections, "
    "or stack.h5:/dataset"
)
_TIFF = (".tif", ".tiff")
_SECTIONS = (*_TIFF, ".png")
_HDF5 = (".h5", ".hdf5", ".hdf")
# The array inside a file follows a colon; the extension before it keeps C:\… whole.
_INSIDE = re.compile(r"(.+\.(?:npz|h5|hdf5|hdf)):(.+)", re.IGNORECASE)
_NM = {"nm": 1.0, "µm": 1e3, "μm": 1e3, "um": 1e3, "micron": 1e3, "microns": 1e3, "mm": 1e6}

Box = tuple[slice, slice, slice]
VoxelSize = tuple[float, float, float]


@dataclass(frozen=True)
class StackKind:
    """What a stack is read as, and so which arrays will do.

    Parameters
    ----------
    name : str
        For messages.
    array_names : tuple of str
        Names such an array usually has in a file of several.
    accepts : callable
        Tells whether voxels may have a dtype.
    """

    name: str
    array_names: tuple[str, ...]
    accepts: Callable[[np.dtype], bool]


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
        Path, with the array inside the file where there is a choice.
    shape : tuple of int
        (Z, Y, X).
    dtype : dtype
        Of the voxels, as stored.
    voxel_size : tuple of float or None
        (z, y, x) in nm; None when the file does not say.
    load : callable
        Returns a box of the array; told of the sections it has finished.
    """

    uri: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    voxel_size: VoxelSize | None
    load: Callable[[Box, Progress], np.ndarray]

    def read(
        self,
        origin: tuple[int, int, int],
        shape: tuple[int, int, int],
        progress: Progress = ignore_progress,
    ) -> np.ndarray:
        """Return a box as a native-endian array of its own.

        Parameters
        ----------
        origin, shape : tuple of int
            Corner and size, (z, y, x).
        progress : callable
            Told of finished sections.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        box = tuple(slice(at, at + n) for at, n in zip(origin, shape, strict=True))
        with _reading(self.uri):
            return np.array(self.load(box, progress), self.dtype.newbyteorder("="), order="C")


def open_stack(uri: str, kind: StackKind = EM) -> Stack:
    """Find out what a file or folder holds, without reading its voxels.

    Parameters
    ----------
    uri : str
        ``.npy``, ``.npz[:array]``, multi-page TIFF, folder of TIFF or PNG sections in the natural
        order of their names, or ``file.h5:/dataset``.
    kind : Kind
        What it should hold.

    Returns
    -------
    Stack

    Raises
    ------
    UsageError
        If this is not something that can be read, or it must be said which array is meant.
    DataError
        If it is missing, damaged, not 3D, or not of this kind.
    """
    inside = _INSIDE.fullmatch(uri)
    path, name = (Path(inside[1]), inside[2]) if inside else (Path(uri), "")
    path = path.expanduser()
    opener = _opener(path, uri)
    if not path.exists():
        near = difflib.get_close_matches(path.name, _names_in(path.parent), n=1)
        raise DataError(
            f"there is no {path}",
            "nothing was read",
            str(path.with_name(near[0])) if near else "the path of a stack, or phantom://neuropil",
        )
    with _reading(uri):
        stack = opener(path, name, kind)
    _check(stack, kind)
    return stack


def _opener(path: Path, uri: str) -> Callable[[Path, str, StackKind], Stack]:
    if path.is_dir():
        return _open_folder
    suffix = path.suffix.lower()
    for suffixes, opener in (
        ((".npy",), _open_npy),
        ((".npz",), _open_npz),
        (_TIFF, _open_tiff),
        (_HDF5, _open_hdf5),
    ):
        if suffix in suffixes:
            return opener
    maybe_remote = not path.exists() and uri.strip("/").count("/") in (2, 3)
    raise UsageError(
        f"{uri} is neither a stack nor a folder of sections",
        f"what can be read is {SUPPORTED_FORMATS}",
        f"bossdb://{uri.strip('/')}" if maybe_remote else "",
    )


def _names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    """Turn what readers raise on damaged files into an error that names the file."""
    try:
        yield
    except ConnectomeError:
        raise
    except (
        *(OSError, ValueError, KeyError, IndexError, TypeError, EOFError, SyntaxError),
        *(zipfile.BadZipFile, zlib.error, struct.error, ElementTree.ParseError),
    ) as error:
        # numpy's own words tell how to load a pickle all the same.
        why = "it is a pickle or no array" if "pickle" in str(error) else error
        raise DataError(
            f"{uri} cannot be read: {why}",
            "nothing was read; the file may be damaged",
            "a fresh copy of it, or export the stack again",
        ) from error


def _check(stack: Stack, kind: StackKind) -> None:
    shape = stack.shape
    if len(shape) != 3 or shape[-1] in (3, 4):
        colour = len(shape) > 2 and shape[-1] in (3, 4)
        what = "colours" if colour else f"{len(shape)} dimensions"
        raise DataError(
            f"{stack.uri} has shape {shape}: {what} instead of (Z, Y, X)",
            "sections, rows and columns cannot be told apart",
            "save one grey channel, and sections as a stack or as files in a folder",
        )
    if 0 in shape:
        raise DataError(f"{stack.uri} is empty: shape {shape}", "nothing to read")
    if not kind.accepts(stack.dtype):
        raise DataError(
            f"{stack.uri} has voxels of type {stack.dtype}, which is not {kind.name}",
            "its values would be misread",
        )


# --- numpy --------------------------------------------------------------------------------------


def _open_npy(path: Path, _name: str, _kind: StackKind) -> Stack:
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)

    def load(box: Box, progress: Progress) -> np.ndarray:
        data = np.load(path, mmap_mode="r", allow_pickle=False)[box]
        progress(data.shape[0])
        return data

    meta = sidecar_path(path)
    about = json.loads(meta.read_text()) if meta.exists() else {}
    # Another program's file of that name may say nothing about voxels.
    size = about.get("voxel_size_nm") if isinstance(about, dict) else None
    return Stack(str(path), mapped.shape, mapped.dtype, _as_size(size), load)


def _open_npz(path: Path, name: str, kind: StackKind) -> Stack:
    with zipfile.ZipFile(path) as archive:
        headers = {
            entry.removesuffix(".npy"): _npy_header(archive, entry)
            for entry in archive.namelist()
            if entry.endswith(".npy")
        }
    key = name or _likely(path, headers, kind)
    if key not in headers:
        raise _choose(path, f"has no array {key}", headers, ":")
    with np.load(path, allow_pickle=False) as arrays:
        size = arrays["voxel_size_nm_zyx"] if "voxel_size_nm_zyx" in headers else None

    def load(box: Box, progress: Progress) -> np.ndarray:
        with np.load(path, allow_pickle=False) as arrays:
            data = arrays[key][box]
        progress(data.shape[0])
        return data

    return Stack(f"{path}:{key}", *headers[key], _as_size(size), load)


def _npy_header(archive: zipfile.ZipFile, entry: str) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and dtype of an array in an ``.npz`` without unpacking it."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _fortran, dtype = read_header(file)
        return shape, dtype


def _likely(path: Path, headers: dict, kind: StackKind) -> str:
    """Return the array that is meant when nobody named one."""
    for key in kind.array_names:
        if key in headers:
            return key
    fitting = [
        key for key, (shape, dtype) in headers.items() if len(shape) == 3 and kind.accepts(dtype)
    ]
    if len(fitting) != 1:
        raise _choose(path, f"does not say which of its arrays is {kind.name}", headers, ":")
    return fitting[0]


def _choose(path: Path, problem: str, headers: dict, joint: str) -> UsageError:
    """Return the error that lists the 3D arrays in a file."""
    there = {key: header for key, header in headers.items() if len(header[0]) == 3}
    listed = ", ".join(f"{key} {shape} {dtype}" for key, (shape, dtype) in there.items())
    return UsageError(
        f"{path} {problem}",
        f"the 3D arrays there are: {listed or 'none'}",
        f"{path}{joint}{next(iter(there))}" if there else "",
    )


# --- HDF5 ---------------------------------------------------------------------------------------


def _open_hdf5(path: Path, name: str, _kind: StackKind) -> Stack:
    import h5py

    with h5py.File(path) as file:
        headers: dict[str, tuple] = {}

        def collect(key: str, item) -> None:
            if isinstance(item, h5py.Dataset):
                headers[f"/{key}"] = item.shape, item.dtype

        file.visititems(collect)
        key = "/" + name.strip("/")
        if key not in headers:
            problem = f"has no dataset {key}" if name else "does not say which dataset is meant"
            raise _choose(path, problem, headers, ":")
        size = file[key].attrs.get("resolution")  # (z, y, x) in nm, as CREMI writes it

    def load(box: Box, progress: Progress) -> np.ndarray:
        with h5py.File(path) as file:
            data = file[key][box]
        progress(data.shape[0])
        return data

    return Stack(f"{path}:{key}", *headers[key], _as_size(size), load)


# --- TIFF and PNG -------------------------------------------------------------------------------


def _open_tiff(path: Path, _name: str, _kind: StackKind) -> Stack:
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong is said below
    with tifffile.TiffFile(path) as tif:
        if len(tif.series) > 1:
            shapes = ", ".join(str(series.shape) for series in tif.series)
            raise DataError(
                f"{path} holds several images of shapes {shapes}",
                "which of them are sections of one stack cannot be told",
                "save the sections as one stack, or as files in a folder",
            )
        series = tif.series[0]
        # Many writers call a z axis C by default, and no EM has five channels.
        channels = dict(zip(series.axes, series.shape, strict=True)).get("C", 0)
        if "S" in series.axes or 0 < channels < 5:
            raise DataError(
                f"{path} has axes {series.axes}: colours or channels instead of sections",
                "sections, rows and columns cannot be told apart",
                "save one grey channel as a z stack",
            )
        size = _ome_size(tif.ome_metadata) if tif.is_ome else _imagej_size(tif)

    def load(box: Box, progress: Progress) -> np.ndarray:
        sections, *plane = box
        with tifffile.TiffFile(path) as tif:
            if tif.series[0].dataoffset is not None:
                data = tifffile.memmap(path, mode="r")[box]
                progress(data.shape[0])
                return data
            return _gathered(lambda z: tif.asarray(key=z), sections, tuple(plane), progress)

    return Stack(str(path), series.shape, series.dtype, _as_size(size), load)


def _open_folder(path: Path, _name: str, _kind: StackKind) -> Stack:
    files = sorted(
        (
            entry
            for entry in path.iterdir()
            if entry.suffix.lower() in _SECTIONS and not entry.name.startswith(".")
        ),
        key=lambda entry: _natural(entry.name),
    )
    if not files:
        raise DataError(f"{path} has no TIFF or PNG sections in it", "nothing to read")
    first = _section_header(files[0])
    for file in files:
        if _section_header(file) != first:
            shape, dtype = _section_header(file)
            raise DataError(
                f"{file} is {shape} {dtype} but {files[0].name} is {first[0]} {first[1]}",
                "sections of one stack have one shape and type",
                "move the odd one out, or crop all alike",
            )
    shape, dtype = first
    if len(shape) != 2:
        raise DataError(
            f"{files[0]} has shape {shape}: colours or several pages instead of one grey section",
            "sections, rows and columns cannot be told apart",
            "save every section as one grey image",
        )

    def load(box: Box, progress: Progress) -> np.ndarray:
        sections, *plane = box
        return _gathered(lambda z: _section(files[z]), sections, tuple(plane), progress)

    return Stack(str(path), (len(files), *shape), dtype, None, load)


def _gathered(
    section: Callable[[int], np.ndarray],
    sections: slice,
    plane: tuple[slice, slice],
    progress: Progress,
) -> np.ndarray:
    """Return sections one by one cropped to a plane, so that only one is in memory whole."""
    gathered = []
    for z in range(sections.start, sections.stop):
        gathered.append(np.array(section(z)[plane]))
        progress(1)
    return np.stack(gathered)


def _natural(name: str) -> list:
    """Sort key by which s2 comes before s10."""
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", name)]


def _section_header(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    if path.suffix.lower() in _TIFF:
        import tifffile

        with tifffile.TiffFile(path) as tif:
            return tif.series[0].shape, tif.series[0].dtype
    import imageio.v3 as iio

    properties = iio.improps(path, plugin="pillow")
    return properties.shape, properties.dtype


def _section(path: Path) -> np.ndarray:
    if path.suffix.lower() in _TIFF:
        import tifffile

        return tifffile.imread(path)
    import imageio.v3 as iio

    return iio.imread(path, plugin="pillow")


# --- voxel sizes --------------------------------------------------------------------------------


def _as_size(size) -> VoxelSize | None:
    if size is None:
        return None
    lengths = np.asarray(size, float)
    if lengths.shape != (3,) or not np.all(np.isfinite(lengths) & (lengths > 0)):
        raise ValueError(f"its voxel size {size!r} is not three positive lengths (z, y, x)")
    return tuple(lengths.tolist())


def _ome_size(xml: str) -> list[float] | None:
    """Return (z, y, x) in nm from OME metadata, or None when any of the three is missing."""
    pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
    lengths = []
    for axis in "ZYX":
        length = pixels.get(f"PhysicalSize{axis}")
        unit = _NM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        if length is None or unit is None:
            return None
        lengths.append(float(length) * unit)
    return lengths


def _imagej_size(tif) -> list[float] | None:
    """Return (z, y, x) in nm from ImageJ's calibration, or None when it is not complete.

    Other TIFFs have resolution tags too, but those speak of printing.
    """
    meta = tif.imagej_metadata or {}
    unit = _NM.get(str(meta.get("unit", "")).replace("\\u00B5", "µ"))
    tags = tif.pages[0].tags
    per_unit = [tags[f"{axis}Resolution"].value for axis in "YX" if f"{axis}Resolution" in tags]
    if unit is None or "spacing" not in meta or len(per_unit) < 2 or not all(map(all, per_unit)):
        return None
    return [meta["spacing"] * unit, *(unit * below / above for above, below in per_unit)]
