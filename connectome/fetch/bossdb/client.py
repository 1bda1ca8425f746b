"""Requests to a BossDB server through ``intern``, with time-outs, retries and errors in words.

``intern`` is used as it is, with an explicit remote, so that neither its configuration file nor its
environment variables decide where the data come from. Like ``intern``, this goes straight to the
host: proxies named in the environment are not used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import requests
from blosc.blosc_extension import error as BloscError
from intern.remote.boss import BossRemote
from intern.resource.boss import ChannelResource
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from connectome.core.errors import ConnectomeError, DataError, SourceUnreachable
from connectome.fetch.bossdb.retry import RetryPolicies, RetryPolicy, call_with_retries
from connectome.fetch.bossdb.uri import Address

Answer = TypeVar("Answer")

# Faults of the line, which may be gone the next time.
_LINE = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
# What intern raises on a slab that arrived damaged: not blosc, or of another size.
_DAMAGED = (BloscError, ValueError)
# What intern raises on metadata that are not what BossDB sends.
_MISREAD = (ValueError, KeyError, TypeError, AttributeError)

_BUSY = (408, 425, 429)
_REMEDIES = {
    400: "another --origin, --cutout or --resolution",
    404: "check the names in bossdb://collection/experiment/channel",
    413: "a smaller --cutout",
}


class BossHost:
    """A BossDB server and a token for it.

    Parameters
    ----------
    protocol : {"http", "https"}
        How to speak to it.
    host : str
        Name and optional port.
    token : str
        API token.
    waits : Waits
        How long to wait for metadata and for voxels.
    """

    def __init__(self, protocol: str, host: str, token: str, waits: RetryPolicies):
        self.host = host
        self._waits = waits
        # intern writes these into an INI text, where % introduces an interpolation.
        self._remote = BossRemote(
            {"protocol": protocol, "host": host, "token": token.replace("%", "%%")}
        )
        _set_timeouts(self._remote.project_service, waits.metadata)
        _set_timeouts(self._remote.volume_service, waits.voxels)

    def resources(self, address: Address) -> tuple:
        """Return the channel, its experiment and its coordinate frame, as ``intern`` has them.

        Raises
        ------
        SourceUnreachable, DataError
            If the server cannot be reached, refuses, or does not have the channel.
        """
        request = _Request(self.host, f"metadata of {address}", "nothing was fetched", _LINE)
        names = (address.collection, address.experiment)

        def ask(get: Callable, *names: str):
            return request.answer(lambda: get(*names), self._waits.metadata)

        channel = ask(self._remote.get_channel, address.channel, *names)
        experiment = ask(self._remote.get_experiment, *names)
        return channel, experiment, ask(self._remote.get_coordinate_frame, experiment.coord_frame)

    def cutout(self, address: Address, datatype: str, ranges: list[list[int]]) -> np.ndarray:
        """Return a box small enough for one request.

        Parameters
        ----------
        address : Address
            The channel and its mip.
        datatype : str
            Type of its voxels.
        ranges : list of [start, stop]
            Along z, y and x, in the server's coordinates.

        Returns
        -------
        ndarray, shape (Z, Y, X)

        Raises
        ------
        SourceUnreachable, DataError
            If it does not come, or comes damaged every time.
        """
        names = (address.channel, address.collection, address.experiment)
        resource = ChannelResource(*names, datatype=datatype)
        z, y, x = ranges
        request = _Request(
            self.host,
            f"sections {z[0]} to {z[1] - 1} of {address}",
            "what came before them is kept, and running again fetches only the rest",
            (*_LINE, *_DAMAGED),
        )
        return request.answer(
            lambda: self._remote.get_cutout(resource, address.mip, x, y, z, parallel=False),
            self._waits.voxels,
        )


def _set_timeouts(service, patience: RetryPolicy) -> None:
    timeouts = (patience.connect_s, patience.read_s)
    service.session_send_opts = {**service.session_send_opts, "timeout": timeouts}


@dataclass(frozen=True)
class _Request:
    """What is asked of whom, what follows if it fails, and which errors may pass."""

    host: str
    what: str
    consequence: str
    transient: tuple[type[Exception], ...]

    def answer(self, call: Callable[[], Answer], patience: RetryPolicy) -> Answer:
        """Return what the call returns, or raise an error in words."""
        try:
            return call_with_retries(call, patience, self.least_wait)
        except (requests.RequestException, TimeoutError, BloscError, *_MISREAD) as error:
            raise self.in_words(error) from error

    def least_wait(self, error: Exception) -> float | None:
        """Tell whether an error may pass (seconds to wait at least) or not (None)."""
        if isinstance(error, requests.HTTPError):
            status = error.response.status_code
            return _retry_after(error.response) if status in _BUSY or status >= 500 else None
        if isinstance(error, requests.exceptions.SSLError):  # a ConnectionError that will not pass
            return None
        return 0.0 if isinstance(error, self.transient) else None

    def in_words(self, error: Exception) -> ConnectomeError:
        """Return what a person should read when the request has finally failed."""
        if isinstance(error, requests.HTTPError):
            return self._refusal(error.response)
        if isinstance(error, requests.exceptions.SSLError):
            return SourceUnreachable(
                f"{self.host} cannot prove who it is (TLS): {_cause(error)}",
                self.consequence,
                "check the clock and the network's login page; http:// for a host without TLS",
            )
        if isinstance(error, requests.Timeout | TimeoutError):
            return SourceUnreachable(
                f"{self.host} did not send {self.what} in time",
                self.consequence,
                "check the network connection and --boss_host",
            )
        if isinstance(error, requests.JSONDecodeError):
            return SourceUnreachable(
                f"{self.host} answered with something other than BossDB's JSON",
                self.consequence,
                "check --boss_host, and whether the network has a login page",
            )
        if isinstance(error, requests.RequestException):
            return SourceUnreachable(
                f"the connection to {self.host} failed for {self.what}: {_cause(error)}",
                self.consequence,
                "check the network connection and --boss_host",
            )
        return DataError(
            f"{self.host} sent {self.what}, but damaged or in another form: {error}",
            self.consequence,
            "again later, or another channel",
        )

    def _refusal(self, response: requests.Response) -> ConnectomeError:
        status = response.status_code
        says = f"{self.host} answers {status}{_message(response)} to {self.what}"
        if status in (401, 403):
            return SourceUnreachable(
                says, self.consequence, "--boss_token TOKEN of an account that may read it"
            )
        if status in _BUSY or status >= 500:
            return SourceUnreachable(says, self.consequence, "again later")
        return DataError(says, self.consequence, _REMEDIES.get(status, ""))


def _retry_after(response: requests.Response) -> float:
    try:
        return Retry().get_retry_after(response) or 0.0
    except InvalidHeader:
        return 0.0


def _message(response: requests.Response) -> str:
    """Return BossDB's own words, if the answer has any (a proxy's HTML page has none)."""
    try:
        return f" ({response.json()['message']})"
    except (requests.JSONDecodeError, KeyError, TypeError):
        return ""


def _cause(error: requests.RequestException) -> str:
    """Return the reason at the bottom of a chain of wrapped errors."""
    cause: object = error
    while isinstance(cause, BaseException):
        inner = getattr(cause, "reason", None) or (cause.args[-1] if cause.args else None)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return str(cause).rpartition("): ")[2]  # what urllib3 says after the connection it means
