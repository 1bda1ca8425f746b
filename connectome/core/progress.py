"""Process sections in parallel and report progress through a callback."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Progress = Callable[[int], object]
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
    """Apply a function to each section, several in parallel.

    Parameters
    ----------
    function : callable
        Pure function of one item. Threads help if it spends its time in compiled code.
    items : sequence
        One per section.
    threads : int
        Number of items processed in parallel.
    progress : callable
        Called with 1 after each item.

    Yields
    ------
    object
        Results in the order of ``items``, so that they do not depend on the number of threads.
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
    function: Callable[..., NDArray[Any]],
    *stacks: Sequence[Any] | NDArray[Any],
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> NDArray[Any]:
    """Apply a function to the sections of one or more stacks, and stack the results.

    Parameters
    ----------
    function : callable
        Takes one element of each stack, returns a section (Y, X).
    *stacks : sequence or ndarray, shape (Z, ...)
        One element per section: the section itself, its mask, its shift.
    threads, progress
        As for `map_sections`.

    Returns
    -------
    ndarray, shape (Z, Y, X)
    """
    sections = list(zip(*stacks, strict=True))
    return np.stack(list(map_sections(lambda each: function(*each), sections, threads, progress)))
