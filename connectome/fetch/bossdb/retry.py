"""Asking a remote source again, for a limited time, when it may do better the next time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait for one answer, and how often to ask.

    Parameters
    ----------
    connect_s, read_s : float
        Time-outs of one request in seconds: to connect, and between two pieces of the reply.
    attempts : int
        Requests made before giving up.
    first_wait_s, longest_wait_s : float
        The pause doubles from the first to the longest, shortened at random by up to half so
        that many clients do not come back together.
    deadline_s : float
        Seconds for all attempts and pauses together. It also bounds what time-outs do not: name
        resolution, and a body that trickles in.
    """

    connect_s: float = 4.0
    read_s: float = 30.0
    attempts: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 20.0
    deadline_s: float = 180.0

    def pause(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row."""
        longest = min(self.longest_wait_s, self.first_wait_s * 2 ** (failures - 1))
        return longest * random.uniform(0.5, 1.0)


@dataclass(frozen=True)
class RetryPolicies:
    """Brief for metadata, which tell whether the source is there at all; patient for voxels."""

    metadata: RetryPolicy = RetryPolicy(read_s=5.0, attempts=3, deadline_s=6.0)
    voxels: RetryPolicy = RetryPolicy()


DEFAULT_RETRIES = RetryPolicies()


def call_with_retries(
    ask: Callable[[], Answer],
    patience: RetryPolicy,
    least_wait: Callable[[Exception], float | None],
) -> Answer:
    """Ask until there is an answer, an error that will not pass, or no time left.

    Parameters
    ----------
    ask : callable
        One attempt.
    patience : Patience
        How often, and for how long.
    least_wait : callable
        Judges an error: None when asking again is pointless, otherwise the least seconds to wait
        first (0 unless the server named a time).

    Returns
    -------
    object
        What ``ask`` returned.

    Raises
    ------
    TimeoutError
        If the deadline passed during an attempt.
    Exception
        The last error of ``ask``.
    """
    end = time.monotonic() + patience.deadline_s
    failures = 0
    while True:
        try:
            return _call_within(end - time.monotonic(), ask)
        except Exception as error:
            failures += 1
            least = least_wait(error)
            if least is None or failures >= patience.attempts:
                raise
            wait = max(least, patience.pause(failures))
            if time.monotonic() + wait >= end:
                raise
        time.sleep(wait)


def _call_within(seconds: float, ask: Callable[[], Answer]) -> Answer:
    """Return what ``ask`` returns, or raise TimeoutError and leave it behind."""
    answer: Future[Answer] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    # A daemon: a resolver or server that never answers must not keep the program from ending.
    threading.Thread(target=work, daemon=True).start()
    return answer.result(timeout=max(seconds, 0.0))
