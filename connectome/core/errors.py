"""Errors that users can resolve: the problem, its consequence and the next step."""

from __future__ import annotations


class ConnectomeError(Exception):
    """An error to report without a traceback.

    Parameters
    ----------
    problem : str
        What is wrong, with the name of the file, flag or host.
    consequence : str, optional
        What follows from it: what was not done, or what would have gone wrong.
    remedy : str, optional
        The next thing to type or check.
    """

    exit_status = 1

    def __init__(self, problem: str, consequence: str = "", remedy: str = ""):
        super().__init__(problem)
        self.problem = problem
        self.consequence = consequence
        self.remedy = remedy

    def __str__(self) -> str:
        lines = [self.problem]
        if self.consequence:
            lines.append(self.consequence)
        if self.remedy:
            lines.append(f"try: {self.remedy}")
        return "\n".join(lines)


class UsageError(ConnectomeError):
    """A request that cannot be carried out as typed (exit status 2)."""

    exit_status = 2


class DataError(ConnectomeError):
    """Input of the wrong shape, type or content."""


class SourceUnreachable(ConnectomeError):
    """A remote source that is offline, timed out, or refused the request."""
