"""How long work reports how far it is, without the worker knowing who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

Progress = Callable[[int], None]
"""Called with the number of sections (or other units) just finished."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def ignore_progress(_finished: int) -> None:
    """Ignore progress."""


def map_sections(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> Iterator[Result]:
    """Apply a function to each section, several at a time, in order.

    Parameters
    ----------
    function : callable
        Pure function of one item. Threads help where it spends its time in compiled code.
    items : sequence
        One per section.
    threads : int
        Items worked on at a time.
    progress : callable
        Told of each finished item.

    Yields
    ------
    object
        Results in the order of ``items``, whatever finishes first: the outcome does not
        depend on the number of threads.
    """
    if threads <= 1:
        for item in items:
            result = function(item)
            progress(1)
            yield result
        return
    with ThreadPoolExecutor(threads) as pool:
        for result in pool.map(function, items):
            progress(1)
            yield result


def map_stacks(
    function: Callable[..., np.ndarray],
    *stacks: np.ndarray,
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> np.ndarray:
    """Apply a function to the sections of one or more stacks, and stack what it returns.

    Parameters
    ----------
    function : callable
        Takes what each stack has for a section, returns a section (Y, X).
    *stacks : ndarray, shape (Z, ...)
        Something for each section: the section itself, its tissue, its shift.
    threads, progress
        As `map_sections`.

    Returns
    -------
    ndarray, shape (Z, Y, X)
    """
    sections = list(zip(*stacks, strict=True))
    return np.stack(list(map_sections(lambda each: function(*each), sections, threads, progress)))
