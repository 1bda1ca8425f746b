"""Addresses of channels in BossDB: ``bossdb://collection/experiment/channel[/mip]``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from connectome.core.errors import UsageError

URI_FORM = "bossdb://collection/experiment/channel[/mip]"
_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class Address:
    """Where a channel is in BossDB, and the mip the user asked for, if any."""

    collection: str
    experiment: str
    channel: str
    mip: int | None = None

    def __str__(self) -> str:
        mip = "" if self.mip is None else f"/{self.mip}"
        return f"bossdb://{self.collection}/{self.experiment}/{self.channel}{mip}"


def parse_uri(uri: str, resolution: int | None = None) -> Address:
    """Take a ``bossdb://`` URI apart.

    Parameters
    ----------
    uri : str
        ``bossdb://collection/experiment/channel[/mip]``.
    resolution : int, optional
        Mip asked for apart from the URI.

    Raises
    ------
    UsageError
        If the URI is malformed, or names another mip than ``resolution``.
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
            "nothing was asked for",
            "--dataset bossdb://mulcahy2022/1h_L1/em",
        )
    if None not in (mip, resolution) and mip != resolution:
        raise UsageError(
            f"{uri} names mip {mip} but --resolution says {resolution}",
            "nothing was asked for",
            "leave one of the two out",
        )
    return Address(*names, mip=resolution if mip is None else mip)
