"""Requests to a BossDB server through ``intern``, with timeouts, retries and clear errors.

``intern`` is used with an explicit remote, so that neither its configuration file nor its
environment variables affect where data come from. Like ``intern``, this connects directly to the
host and ignores proxies in the environment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests
from blosc.blosc_extension import error as BloscError
from intern.remote.boss import BossRemote
from intern.resource.boss import ChannelResource
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from connectome.core.errors import ConnectomeError, DataError, SourceUnreachable
from connectome.fetch.bossdb.uri import Address
from connectome.fetch.retry import Response, RetryPolicies, RetryPolicy, call_with_retries

# Errors of the connection, which may not occur the next time.
_CONNECTION_ERRORS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)
# Errors of intern for a slab that arrives damaged: not blosc, or of another size.
_DAMAGED_SLAB_ERRORS = (BloscError, ValueError)
# Errors of intern for metadata that are not those of BossDB.
_METADATA_ERRORS = (ValueError, KeyError, TypeError, AttributeError)

_BUSY_STATUSES = (408, 425, 429)
_REMEDIES = {
    400: "another --origin, --cutout or --resolution",
    404: "check the names in bossdb://collection/experiment/channel",
    413: "a smaller --cutout",
}


class BossHost:
    """A BossDB server, accessed with a token.

    Parameters
    ----------
    protocol : {"http", "https"}
        Protocol of the server.
    host : str
        Name and optional port.
    token : str
        API token.
    retries : RetryPolicies
        Timeouts and retries for metadata and for voxels.
    """

    def __init__(self, protocol: str, host: str, token: str, retries: RetryPolicies):
        self.host = host
        self._retries = retries
        # intern writes these into an INI text, in which % introduces an interpolation.
        self._remote = BossRemote(
            {"protocol": protocol, "host": host, "token": token.replace("%", "%%")}
        )
        _set_timeouts(self._remote.project_service, retries.metadata)
        _set_timeouts(self._remote.volume_service, retries.voxels)

    def fetch_metadata(self, address: Address) -> tuple[Any, Any, Any]:
        """Fetch the channel, its experiment and its coordinate frame, as resources of ``intern``.

        Raises
        ------
        SourceUnreachable, DataError
            If the server cannot be reached, refuses, or does not have the channel.
        """
        request = _Request(
            host=self.host,
            content=f"metadata of {address}",
            consequence="nothing was fetched",
            transient_errors=_CONNECTION_ERRORS,
            policy=self._retries.metadata,
        )
        remote, collection = self._remote, address.collection
        channel = request.send(
            lambda: remote.get_channel(address.channel, collection, address.experiment)
        )
        experiment = request.send(lambda: remote.get_experiment(collection, address.experiment))
        frame = request.send(lambda: remote.get_coordinate_frame(experiment.coord_frame))
        return channel, experiment, frame

    def fetch_cutout(self, address: Address, datatype: str, ranges: list[list[int]]) -> np.ndarray:
        """Fetch a box that is small enough for one request.

        Parameters
        ----------
        address : Address
            The channel and its mip.
        datatype : str
            Type of its voxels.
        ranges : list of [start, stop]
            Along z, y and x, as the server counts.

        Returns
        -------
        ndarray, shape (Z, Y, X)

        Raises
        ------
        SourceUnreachable, DataError
            If it cannot be fetched, or arrives damaged every time.
        """
        resource = ChannelResource(
            address.channel, address.collection, address.experiment, datatype=datatype
        )
        z, y, x = ranges
        request = _Request(
            host=self.host,
            content=f"sections {z[0]} to {z[1] - 1} of {address}",
            consequence="earlier sections are kept; running again fetches only the rest",
            transient_errors=(*_CONNECTION_ERRORS, *_DAMAGED_SLAB_ERRORS),
            policy=self._retries.voxels,
        )
        return request.send(
            lambda: self._remote.get_cutout(resource, address.mip, x, y, z, parallel=False)
        )


def _set_timeouts(service: Any, policy: RetryPolicy) -> None:
    timeouts = (policy.connect_s, policy.read_s)
    service.session_send_opts = {**service.session_send_opts, "timeout": timeouts}


@dataclass(frozen=True)
class _Request:
    """A request, and how its failure is handled and reported.

    Parameters
    ----------
    host : str
        Name of the server.
    content : str
        What is requested, for messages.
    consequence : str
        What follows from a failure, for messages.
    transient_errors : tuple of type
        Errors after which the request is repeated, beside busy and failing servers.
    policy : RetryPolicy
        Retries.
    """

    host: str
    content: str
    consequence: str
    transient_errors: tuple[type[Exception], ...]
    policy: RetryPolicy

    def send(self, call: Callable[[], Response]) -> Response:
        """Return what the call returns, or raise an error for the user."""
        try:
            return call_with_retries(call, self.policy, self._minimum_wait)
        except (requests.RequestException, TimeoutError, BloscError, *_METADATA_ERRORS) as error:
            raise self._describe(error) from error

    def _minimum_wait(self, error: Exception) -> float | None:
        """Return the minimum seconds to wait after an error, or None if it is permanent."""
        if isinstance(error, requests.HTTPError) and error.response is not None:
            status = error.response.status_code
            return _retry_after(error.response) if _is_busy(status) else None
        if isinstance(error, requests.exceptions.SSLError):  # a ConnectionError, but permanent
            return None
        return 0.0 if isinstance(error, self.transient_errors) else None

    def _describe(self, error: Exception) -> ConnectomeError:
        """Return the error to show when the request has finally failed."""
        if isinstance(error, requests.HTTPError) and error.response is not None:
            return self._describe_refusal(error.response)
        if isinstance(error, requests.exceptions.SSLError):
            return SourceUnreachable(
                f"the TLS certificate of {self.host} could not be verified: {_cause(error)}",
                self.consequence,
                "check the clock and the network's login page; http:// for a host without TLS",
            )
        if isinstance(error, requests.Timeout | TimeoutError):
            return SourceUnreachable(
                f"{self.host} did not send {self.content} in time",
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
                f"the connection to {self.host} failed for {self.content}: {_cause(error)}",
                self.consequence,
                "check the network connection and --boss_host",
            )
        return DataError(
            f"{self.host} sent {self.content} damaged or in an unknown form: {error}",
            self.consequence,
            "again later, or another channel",
        )

    def _describe_refusal(self, response: requests.Response) -> ConnectomeError:
        status = response.status_code
        problem = f"{self.host} answered {status}{_message(response)} to {self.content}"
        if status in (401, 403):
            return SourceUnreachable(
                problem, self.consequence, "--boss_token TOKEN of an account with read permission"
            )
        if _is_busy(status):
            return SourceUnreachable(problem, self.consequence, "again later")
        return DataError(problem, self.consequence, _REMEDIES.get(status, ""))


def _is_busy(status: int) -> bool:
    """Return whether an HTTP status is that of a busy or failing server."""
    return status in _BUSY_STATUSES or status >= 500


def _retry_after(response: requests.Response) -> float:
    """Return the seconds that the server asks to wait."""
    try:
        # It reads only the headers, which both kinds of responses have.
        return Retry().get_retry_after(response) or 0.0  # type: ignore[arg-type]
    except InvalidHeader:
        return 0.0


def _message(response: requests.Response) -> str:
    """Return BossDB's own message, if the response has one (a proxy's HTML page has none)."""
    try:
        return f" ({response.json()['message']})"
    except (requests.JSONDecodeError, KeyError, TypeError):
        return ""


def _cause(error: requests.RequestException) -> str:
    """Return the message of the innermost of nested errors."""
    cause: object = error
    while isinstance(cause, BaseException):
        inner = getattr(cause, "reason", None) or (cause.args[-1] if cause.args else None)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return str(cause).rpartition("): ")[2]  # urllib3 puts the connection before its message
