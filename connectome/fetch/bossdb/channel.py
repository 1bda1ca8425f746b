"""EM from BossDB: mips and voxel sizes, and boxes read slab by slab through a cache.

The cache holds the voxels and the metadata of what was read before. When every slab of a request is
there, the metadata kept with them are used too and nothing is asked for: published EM does not
change. Otherwise the server is asked for metadata anew and for the missing slabs.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

from connectome.core.errors import DataError, UsageError
from connectome.core.progress import Progress
from connectome.fetch.bossdb.cache import SlabCache, default_cache_folder
from connectome.fetch.bossdb.retry import DEFAULT_RETRIES, RetryPolicies
from connectome.fetch.bossdb.uri import Address
from connectome.io.files import write_json

if TYPE_CHECKING:
    from connectome.fetch.bossdb.client import BossHost

PREFERRED_PIXEL_NM = 8.0
SLAB_SECTIONS = 16
SLAB_VOXELS = 30_000_000  # above this, intern may split a request on its own terms

_NM = {"nanometers": 1.0, "micrometers": 1e3, "millimeters": 1e6, "centimeters": 1e7}
_DATATYPES = ("uint8", "uint16")


@dataclass(frozen=True)
class ChannelInfo:
    """What the server says of a channel, its experiment and its coordinate frame.

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
        Whether the server says that mips above 0 have been made.
    """

    kind: str
    datatype: str
    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    native_voxel_size: tuple[float, float, float]
    levels: int
    isotropic: bool
    downsampled: bool

    def factors(self, mip: int) -> tuple[int, int, int]:
        """Return how many native voxels one voxel of a mip spans, (z, y, x)."""
        return (2**mip if self.isotropic else 1, 2**mip, 2**mip)

    def shape(self, mip: int) -> tuple[int, int, int]:
        """Return the size (Z, Y, X) of the whole channel at a mip."""
        ranges = zip(self.start, self.stop, self.factors(mip), strict=True)
        return tuple((stop - start) // factor for start, stop, factor in ranges)

    def first(self, mip: int) -> tuple[int, int, int]:
        """Return the server's coordinate (z, y, x) of the first voxel at a mip."""
        return tuple(
            math.ceil(start / factor)
            for start, factor in zip(self.start, self.factors(mip), strict=True)
        )

    def voxel_size(self, mip: int) -> tuple[float, float, float]:
        """Return the voxel size (z, y, x) in nm at a mip."""
        return tuple(
            size * factor
            for size, factor in zip(self.native_voxel_size, self.factors(mip), strict=True)
        )

    def mip_nearest(self, pixel_nm: float) -> int:
        """Return the mip whose in-plane pixel is nearest by ratio; the finer of two equals."""

        def distance(mip: int) -> float:
            _, y, x = self.voxel_size(mip)
            return round(abs(math.log2(math.sqrt(y * x) / pixel_nm)), 9)

        return min(range(self.levels), key=distance)


@dataclass(frozen=True)
class Channel:
    """One mip of an image channel that can be read box by box, from the cache or the server."""

    archive: Archive
    address: Address
    info: ChannelInfo

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size (Z, Y, X) of the whole channel at this mip."""
        return self.info.shape(self.address.mip)

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) in nm at this mip."""
        return self.info.voxel_size(self.address.mip)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about this channel."""
        notes = []
        if any(self.info.start):
            z, y, x = self.info.first(self.address.mip)
            notes.append(f"the coordinate frame starts at {x} {y} {z} (X Y Z); corners count there")
        if self.address.mip > 0 and not self.info.downsampled:
            notes.append("the server says this channel has no mip above 0; it may come out black")
        return tuple(notes)

    def is_cached(self, origin: tuple[int, int, int], shape: tuple[int, int, int]) -> bool:
        """Tell whether every slab of a box is in the cache."""
        slabs = (slab for row in split_into_slabs(shape) for slab in row)
        return all(self.archive.cache.contains(self._key(origin, slab)) for slab in slabs)

    def read(
        self,
        origin: tuple[int, int, int],
        shape: tuple[int, int, int],
        progress: Progress,
    ) -> np.ndarray:
        """Return a box, fetching only what the cache does not have.

        Parameters
        ----------
        origin, shape : tuple of int
            Corner and size of the box, (z, y, x), counted from the first voxel of the channel.
        progress : callable
            Told of each group of sections that is complete.

        Returns
        -------
        ndarray of uint8 or uint16, shape (Z, Y, X)

        Raises
        ------
        SourceUnreachable, DataError
            If a slab does not come; those that did are kept.
        """
        data = np.empty(shape, self.info.datatype)
        for row in split_into_slabs(shape):
            for slab in row:
                data[slab] = self._slab(origin, slab)
            progress(row[0][0].stop - row[0][0].start)
        return data

    def _slab(self, origin: tuple[int, int, int], slab: tuple[slice, slice, slice]) -> np.ndarray:
        cache, key = self.archive.cache, self._key(origin, slab)
        shape = tuple(part.stop - part.start for part in slab)
        data = cache.read(key, shape, np.dtype(self.info.datatype))
        if data is None:
            data = self.archive.remote.cutout(
                self.address, self.info.datatype, self._ranges(origin, slab)
            )
            cache.write(key, data)
        return data

    def _ranges(self, origin, slab) -> list[list[int]]:
        """Return the server's coordinates of a slab: [start, stop] along z, y and x."""
        corner = np.add(self.info.first(self.address.mip), origin)
        return [
            [int(at) + part.start, int(at) + part.stop]
            for at, part in zip(corner, slab, strict=True)
        ]

    def _key(self, origin, slab) -> str:
        ranges = zip("zyx", self._ranges(origin, slab), strict=True)
        bounds = "_".join(f"{axis}{start}-{stop}" for axis, (start, stop) in ranges)
        folder = self.archive.folder(self.address)
        return f"{folder}/mip{self.address.mip}/{bounds}_{self.info.datatype}"


class Archive:
    """A BossDB host as seen with one token, and what it has sent before.

    Parameters
    ----------
    host : str
        ``https://api.bossdb.io``, ``http://127.0.0.1:8080``, or a bare host (then ``https``).
    token : str
        API token.
    cache_dir : str, optional
        Where slabs and metadata are kept; None takes the user's cache folder.
    waits : Waits
        How long to wait for what.

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
        waits: RetryPolicies = DEFAULT_RETRIES,
    ):
        parts = urlsplit(host if "://" in host else f"https://{host}")
        name = parts.hostname or ""
        odd = parts.path.strip("/") or not re.fullmatch(r"[\w.:-]+", name)
        if parts.scheme not in ("http", "https") or odd:
            raise UsageError(
                f"--boss_host {host} is not a host",
                "nothing was asked for",
                "--boss_host https://api.bossdb.io",
            )
        self.protocol, self.host, self.token = parts.scheme, parts.netloc, token
        self.cache = SlabCache(Path(cache_dir) if cache_dir else default_cache_folder())
        self.waits = waits

    def cached_channel(self, address: Address) -> Channel | None:
        """Return a channel from metadata asked for earlier, without any request."""
        try:
            known = json.loads(self._info_path(address).read_text())
            info = ChannelInfo(
                **{k: tuple(v) if isinstance(v, list) else v for k, v in known.items()}
            )
        except (FileNotFoundError, ValueError, TypeError):
            # Never asked, damaged, or written by another version: ask (again).
            return None
        return self._at_mip(address, info)

    def fetch_channel(self, address: Address) -> Channel:
        """Return a channel from the server's metadata, and remember them.

        Raises
        ------
        SourceUnreachable
            If the server gives no usable answer within seconds.
        DataError
            If there is no such channel, or it is not EM.
        UsageError
            If the channel has no such mip.
        """
        info = _channel_info(*self.remote.resources(address))
        if info.kind != "image":
            raise DataError(
                f"{address} is an annotation channel",
                "its voxels are ids of objects, not EM",
                f"the image channel, often bossdb://{address.collection}/{address.experiment}/em",
            )
        if info.datatype not in _DATATYPES:
            raise DataError(
                f"{address} has voxels of type {info.datatype}; EM is {' or '.join(_DATATYPES)}",
                "nothing was fetched",
            )
        channel = self._at_mip(address, info)
        write_json(self._info_path(address), asdict(info))
        return channel

    def folder(self, address: Address) -> str:
        """Return the place of a channel in the cache."""
        return f"{self.host}/{address.collection}/{address.experiment}/{address.channel}"

    @cached_property
    def remote(self) -> BossHost:
        """The server; ``intern`` is loaded only when something has to be asked for."""
        from connectome.fetch.bossdb.client import BossHost

        return BossHost(self.protocol, self.host, self.token, self.waits)

    def _info_path(self, address: Address) -> Path:
        return self.cache.folder / self.folder(address).replace(":", "_") / "channel.json"

    def _at_mip(self, address: Address, info: ChannelInfo) -> Channel:
        mip = info.mip_nearest(PREFERRED_PIXEL_NM) if address.mip is None else address.mip
        if mip >= info.levels or 0 in info.shape(mip):
            raise UsageError(
                f"{address} has no such mip: there are 0 to {info.levels - 1}",
                "nothing was fetched",
                "another --resolution, or none for the one nearest 8 nm",
            )
        return Channel(self, replace(address, mip=mip), info)


def split_into_slabs(shape: tuple[int, int, int]) -> list[list[tuple[slice, slice, slice]]]:
    """Cut a box into slabs of at most 16 sections and 30 million voxels.

    Parameters
    ----------
    shape : tuple of int
        Size (Z, Y, X) of the box.

    Returns
    -------
    list of list of tuple of slice
        One list for each group of sections, of slabs that differ in y; a single one unless the
        sections are huge.
    """
    sections, height, width = shape
    rows = min(height, max(1, SLAB_VOXELS // width))
    depth = min(SLAB_SECTIONS, max(1, SLAB_VOXELS // (rows * width)))
    return [
        [(at_z, at_y, slice(0, width)) for at_y in _split_range(height, rows)]
        for at_z in _split_range(sections, depth)
    ]


def _split_range(length: int, step: int) -> list[slice]:
    return [slice(at, min(at + step, length)) for at in range(0, length, step)]


def _channel_info(channel, experiment, frame) -> ChannelInfo:
    """Bring what ``intern`` returns into (z, y, x) order and nm."""
    nm = _NM[frame.voxel_unit]
    # Data held as a cloud volume bring their own mips, whatever the status says.
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
