"""Retry requests to a remote source for a limited time.

Implemented here and not with a retry library, because the deadline must also end an attempt that
hangs, and the pause depends on the error (``Retry-After``): what a library would replace is the
loop.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

Response = TypeVar("Response")


@dataclass(frozen=True)
class RetryPolicy:
    """Timeouts and retries of one request.

    Parameters
    ----------
    connect_s, read_s : float
        Timeouts of one attempt in seconds: to connect, and between two parts of the response.
    attempts : int
        Maximum number of attempts.
    first_wait_s, longest_wait_s : float
        The pause doubles from the first to the longest. It is shortened at random by up to half,
        so that many clients do not return at the same time.
    deadline_s : float
        Seconds for all attempts and pauses together. It also limits what timeouts do not: name
        resolution, and a response that arrives very slowly.
    """

    connect_s: float = 4.0
    read_s: float = 30.0
    attempts: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 20.0
    deadline_s: float = 180.0

    def pause(self, failures: int) -> float:
        """Return the pause in seconds after a number of failures in a row."""
        longest = min(self.longest_wait_s, self.first_wait_s * 2 ** (failures - 1))
        return longest * random.uniform(0.5, 1.0)


@dataclass(frozen=True)
class RetryPolicies:
    """Policies for each kind of request.

    Parameters
    ----------
    metadata : RetryPolicy
        Short, because metadata show whether the source can be reached at all.
    voxels : RetryPolicy
        Longer, because large downloads fail more often.
    """

    metadata: RetryPolicy = RetryPolicy(read_s=5.0, attempts=3, deadline_s=6.0)
    voxels: RetryPolicy = RetryPolicy()


DEFAULT_RETRIES = RetryPolicies()


def call_with_retries(
    call: Callable[[], Response],
    policy: RetryPolicy,
    minimum_wait: Callable[[Exception], float | None],
) -> Response:
    """Call a function until it succeeds, fails permanently, or the deadline passes.

    Parameters
    ----------
    call : callable
        One attempt.
    policy : RetryPolicy
        Number of attempts, pauses and deadline.
    minimum_wait : callable
        Returns the minimum pause in seconds after an error (0 unless the server requests one), or
        None if the error is permanent.

    Returns
    -------
    object
        What ``call`` returned.

    Raises
    ------
    TimeoutError
        If the deadline passed during an attempt.
    Exception
        The last error of ``call``.
    """
    end = time.monotonic() + policy.deadline_s
    failures = 0
    while True:
        try:
            return _call_within(end - time.monotonic(), call)
        except Exception as error:
            failures += 1
            minimum = minimum_wait(error)
            if minimum is None or failures >= policy.attempts:
                raise
            wait = max(minimum, policy.pause(failures))
            if time.monotonic() + wait >= end:
                raise
        time.sleep(wait)


def _call_within(seconds: float, call: Callable[[], Response]) -> Response:
    """Return what a call returns, or raise TimeoutError and abandon it."""
    result: Future[Response] = Future()

    def work() -> None:
        try:
            result.set_result(call())
        except BaseException as error:
            result.set_exception(error)

    # A daemon thread, because a resolver or server that never answers must not keep the program
    # from ending.
    threading.Thread(target=work, daemon=True).start()
    return result.result(timeout=max(seconds, 0.0))
