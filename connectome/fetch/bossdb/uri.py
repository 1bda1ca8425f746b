"""Addresses of channels in BossDB: ``bossdb://collection/experiment/channel[/mip]``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from connectome.core.errors import UsageError

URI_FORM = "bossdb://collection/experiment/channel[/mip]"
_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class Address:
    """Address of a channel in BossDB, and the requested mip, if any.

    Parameters
    ----------
    collection, experiment, channel : str
        Names in BossDB.
    mip : int or None
        Resolution level; None for the one nearest to 8 nm in plane.
    """

    collection: str
    experiment: str
    channel: str
    mip: int | None = None

    def __str__(self) -> str:
        mip = "" if self.mip is None else f"/{self.mip}"
        return f"bossdb://{self.collection}/{self.experiment}/{self.channel}{mip}"


def parse_uri(uri: str, resolution: int | None = None) -> Address:
    """Parse a ``bossdb://`` URI.

    Parameters
    ----------
    uri : str
        ``bossdb://collection/experiment/channel[/mip]``.
    resolution : int, optional
        Mip requested apart from the URI.

    Raises
    ------
    UsageError
        If the URI is malformed, or its mip differs from ``resolution``.
    """
    *names, last = uri.removeprefix("bossdb://").rstrip("/").split("/")
    mip = None
    if len(names) == 3 and last.isascii() and last.isdigit():
        mip = int(last)
    else:
        names.append(last)
    if len(names) != 3 or not all(_NAME.fullmatch(name) for name in names):
        raise UsageError(
            f"{uri} is not of the form {URI_FORM}",
            "nothing was fetched",
            "--dataset bossdb://mulcahy2022/1h_L1/em",
        )
    if mip is not None and resolution is not None and mip != resolution:
        raise UsageError(
            f"{uri} has mip {mip}, but --resolution is {resolution}",
            "nothing was fetched",
            "give only one of the two",
        )
    collection, experiment, channel = names
    mip = resolution if mip is None else mip
    return Address(collection, experiment, channel, mip)
