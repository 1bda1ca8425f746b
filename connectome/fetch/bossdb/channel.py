"""Channels in BossDB: their mips and voxel sizes, and their voxels, read slab by slab.

Voxels and metadata are cached. If every slab of a request is cached, the cached metadata are used,
too, and nothing is requested from the server, because published EM does not change. Otherwise the
metadata and the missing slabs are fetched.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from connectome.core.errors import DataError, UsageError
from connectome.core.progress import Progress
from connectome.fetch.bossdb.cache import SlabCache, default_cache_folder
from connectome.fetch.bossdb.uri import Address
from connectome.fetch.plan import Shape, VoxelSize
from connectome.fetch.retry import DEFAULT_RETRIES, RetryPolicies
from connectome.io.files import write_json

if TYPE_CHECKING:
    from connectome.fetch.bossdb.client import BossHost

PREFERRED_PIXEL_NM = 8.0
SLAB_SECTIONS = 16
MAX_SLAB_VOXELS = 30_000_000  # intern may split larger requests

_NM = {"nanometers": 1.0, "micrometers": 1e3, "millimeters": 1e6, "centimeters": 1e7}
_DATATYPES = ("uint8", "uint16")

Slab = tuple[slice, slice, slice]


@dataclass(frozen=True)
class ChannelInfo:
    """Metadata of a channel, its experiment and its coordinate frame.

    Parameters
    ----------
    kind : str
        ``image`` or ``annotation``.
    datatype : str
        ``uint8``, ``uint16`` or ``uint64``.
    start, stop : tuple of int
        Range of the coordinate frame in native voxels, (z, y, x).
    native_voxel_size : tuple of float
        In nm, (z, y, x).
    levels : int
        Number of mips.
    isotropic : bool
        True when a mip halves z as well as y and x.
    downsampled : bool
        Whether mips above 0 exist according to the server.
    """

    kind: str
    datatype: str
    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    native_voxel_size: tuple[float, float, float]
    levels: int
    isotropic: bool
    downsampled: bool

    def factors(self, mip: int) -> Shape:
        """Return the number of native voxels per voxel of a mip, (z, y, x)."""
        return (2**mip if self.isotropic else 1, 2**mip, 2**mip)

    def shape(self, mip: int) -> Shape:
        """Return the shape (Z, Y, X) of the whole channel at a mip."""
        ranges = zip(self.start, self.stop, self.factors(mip), strict=True)
        z, y, x = ((stop - start) // factor for start, stop, factor in ranges)
        return z, y, x

    def first_voxel(self, mip: int) -> Shape:
        """Return the coordinate (z, y, x) of the first voxel at a mip, as the server counts."""
        factors = zip(self.start, self.factors(mip), strict=True)
        z, y, x = (math.ceil(start / factor) for start, factor in factors)
        return z, y, x

    def voxel_size(self, mip: int) -> VoxelSize:
        """Return the voxel size (z, y, x) in nm at a mip."""
        sizes = zip(self.native_voxel_size, self.factors(mip), strict=True)
        z, y, x = (size * factor for size, factor in sizes)
        return z, y, x

    def nearest_mip(self, pixel_nm: float) -> int:
        """Return the mip whose pixel size is nearest by ratio; of two equal ones, the finer."""

        def distance(mip: int) -> float:
            _, y, x = self.voxel_size(mip)
            return round(abs(math.log2(math.sqrt(y * x) / pixel_nm)), 9)

        return min(range(self.levels), key=distance)


@dataclass(frozen=True)
class Channel:
    """One mip of an image channel, read from the cache or the server.

    Parameters
    ----------
    archive : Archive
        Server and cache.
    address : Address
        Address of the channel, with the mip.
    info : ChannelInfo
        Metadata.
    """

    archive: Archive
    address: Address
    info: ChannelInfo

    @property
    def mip(self) -> int:
        """Resolution level."""
        assert self.address.mip is not None
        return self.address.mip

    @property
    def shape(self) -> Shape:
        """Shape (Z, Y, X) of the whole channel at this mip."""
        return self.info.shape(self.mip)

    @property
    def voxel_size(self) -> VoxelSize:
        """Voxel size (z, y, x) in nm at this mip."""
        return self.info.voxel_size(self.mip)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user about this channel."""
        notes = []
        if any(self.info.start):
            z, y, x = self.info.first_voxel(self.mip)
            notes.append(
                f"the coordinate frame starts at {x} {y} {z} (X Y Z); origins count from there"
            )
        if self.mip > 0 and not self.info.downsampled:
            notes.append(
                "according to the server this channel has no mip above 0; it may be all black"
            )
        return tuple(notes)

    def is_cached(self, origin: Shape, shape: Shape) -> bool:
        """Return whether every slab of a box is in the cache."""
        slabs = (slab for row in split_into_slabs(shape) for slab in row)
        return all(self.archive.cache.contains(self._key(origin, slab)) for slab in slabs)

    def read(self, origin: Shape, shape: Shape, progress: Progress) -> np.ndarray:
        """Read a box, fetching only the slabs that are not cached.

        Parameters
        ----------
        origin, shape : tuple of int
            Corner and shape of the box, (z, y, x), counted from the first voxel of the channel.
        progress : callable
            Called with the number of sections just completed.

        Returns
        -------
        ndarray of uint8 or uint16, shape (Z, Y, X)

        Raises
        ------
        SourceUnreachable, DataError
            If a slab cannot be fetched; those fetched before stay in the cache.
        """
        data = np.empty(shape, self.info.datatype)
        for row in split_into_slabs(shape):
            for slab in row:
                data[slab] = self._read_slab(origin, slab)
            progress(row[0][0].stop - row[0][0].start)
        return data

    def _read_slab(self, origin: Shape, slab: Slab) -> np.ndarray:
        """Read a slab from the cache, or fetch it and add it to the cache."""
        cache, key = self.archive.cache, self._key(origin, slab)
        shape = tuple(part.stop - part.start for part in slab)
        data = cache.read(key, shape, np.dtype(self.info.datatype))
        if data is None:
            data = self.archive.remote.fetch_cutout(
                self.address, self.info.datatype, self._ranges(origin, slab)
            )
            cache.write(key, data)
        return data

    def _ranges(self, origin: Shape, slab: Slab) -> list[list[int]]:
        """Return [start, stop] of a slab along z, y and x, as the server counts."""
        corner = np.add(self.info.first_voxel(self.mip), origin)
        return [
            [int(start) + part.start, int(start) + part.stop]
            for start, part in zip(corner, slab, strict=True)
        ]

    def _key(self, origin: Shape, slab: Slab) -> str:
        """Return the cache key of a slab."""
        ranges = zip("zyx", self._ranges(origin, slab), strict=True)
        bounds = "_".join(f"{axis}{start}-{stop}" for axis, (start, stop) in ranges)
        folder = self.archive.folder(self.address)
        return f"{folder}/mip{self.mip}/{bounds}_{self.info.datatype}"


class Archive:
    """A BossDB host accessed with a token, and the cache of what it has sent.

    Parameters
    ----------
    host : str
        ``https://api.bossdb.io``, ``http://127.0.0.1:8080``, or a bare host (then ``https``).
    token : str
        API token.
    cache_dir : str, optional
        Folder of cached slabs and metadata; None for the user's cache folder.
    retries : RetryPolicies
        Timeouts and retries of requests.

    Raises
    ------
    UsageError
        If ``host`` is not a host.
    """

    def __init__(
        self,
        host: str,
        token: str,
        cache_dir: str | None = None,
        retries: RetryPolicies = DEFAULT_RETRIES,
    ):
        parts = urlsplit(host if "://" in host else f"https://{host}")
        name = parts.hostname or ""
        invalid = parts.path.strip("/") or not re.fullmatch(r"[\w.:-]+", name)
        if parts.scheme not in ("http", "https") or invalid:
            raise UsageError(
                f"--boss_host {host} is not a host",
                "nothing was fetched",
                "--boss_host https://api.bossdb.io",
            )
        self.protocol, self.host, self.token = parts.scheme, parts.netloc, token
        self.cache = SlabCache(Path(cache_dir) if cache_dir else default_cache_folder())
        self.retries = retries

    def cached_channel(self, address: Address) -> Channel | None:
        """Return a channel from cached metadata, or None if there are none."""
        try:
            stored: dict[str, Any] = json.loads(self._info_path(address).read_text())
            values: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in stored.items()
            }
            info = ChannelInfo(**values)
        except (FileNotFoundError, ValueError, TypeError):
            # Not cached, damaged, or written by another version.
            return None
        return self._channel_at_mip(address, info)

    def fetch_channel(self, address: Address) -> Channel:
        """Fetch the metadata of a channel from the server, and cache them.

        Raises
        ------
        SourceUnreachable
            If the server gives no usable answer within seconds.
        DataError
            If there is no such channel, or it is not EM.
        UsageError
            If the channel has no such mip.
        """
        info = _channel_info(*self.remote.fetch_metadata(address))
        if info.kind != "image":
            raise DataError(
                f"{address} is an annotation channel",
                "its voxels are object ids, not EM",
                f"the image channel, often bossdb://{address.collection}/{address.experiment}/em",
            )
        if info.datatype not in _DATATYPES:
            raise DataError(
                f"{address} has voxels of type {info.datatype}, not {' or '.join(_DATATYPES)}",
                "nothing was fetched",
            )
        channel = self._channel_at_mip(address, info)
        write_json(self._info_path(address), asdict(info))
        return channel

    def folder(self, address: Address) -> str:
        """Return the path of a channel relative to the cache folder."""
        return f"{self.host}/{address.collection}/{address.experiment}/{address.channel}"

    @cached_property
    def remote(self) -> BossHost:
        """The server; ``intern`` is imported only when a request is necessary."""
        from connectome.fetch.bossdb.client import BossHost

        return BossHost(self.protocol, self.host, self.token, self.retries)

    def _info_path(self, address: Address) -> Path:
        return self.cache.folder / self.folder(address).replace(":", "_") / "channel.json"

    def _channel_at_mip(self, address: Address, info: ChannelInfo) -> Channel:
        mip = info.nearest_mip(PREFERRED_PIXEL_NM) if address.mip is None else address.mip
        if mip >= info.levels or 0 in info.shape(mip):
            raise UsageError(
                f"{address} has no such mip: there are mips 0 to {info.levels - 1}",
                "nothing was fetched",
                "another --resolution, or none for the one nearest to 8 nm",
            )
        return Channel(self, replace(address, mip=mip), info)


def split_into_slabs(shape: Shape) -> list[list[Slab]]:
    """Divide a box into slabs of at most 16 sections and 30 million voxels.

    Parameters
    ----------
    shape : tuple of int
        Shape (Z, Y, X) of the box.

    Returns
    -------
    list of list of tuple of slice
        One list for each group of sections, with its slabs along y: a single one unless sections
        are very large.
    """
    sections, height, width = shape
    rows = min(height, max(1, MAX_SLAB_VOXELS // width))
    depth = min(SLAB_SECTIONS, max(1, MAX_SLAB_VOXELS // (rows * width)))
    return [
        [(z, y, slice(0, width)) for y in _split_range(height, rows)]
        for z in _split_range(sections, depth)
    ]


def _split_range(length: int, step: int) -> list[slice]:
    """Divide 0 … length into slices of at most ``step``."""
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def _channel_info(channel: Any, experiment: Any, frame: Any) -> ChannelInfo:
    """Convert resources of ``intern`` to (z, y, x) order and nm."""
    nm = _NM[frame.voxel_unit]
    # Cloud volumes have their own mips, whatever the status.
    cloud = channel.raw.get("storage_type") == "cloudvol"
    return ChannelInfo(
        kind=channel.type,
        datatype=channel.datatype,
        start=(frame.z_start, frame.y_start, frame.x_start),
        stop=(frame.z_stop, frame.y_stop, frame.x_stop),
        native_voxel_size=(
            frame.z_voxel_size * nm,
            frame.y_voxel_size * nm,
            frame.x_voxel_size * nm,
        ),
        levels=experiment.num_hierarchy_levels,
        isotropic=experiment.hierarchy_method == "isotropic",
        downsampled=cloud or channel.downsample_status == "DOWNSAMPLED",
    )
