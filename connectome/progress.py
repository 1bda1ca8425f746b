"""How long work reports how far it is, without the worker knowing who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Progress = Callable[[int], None]
"""Called with the number of sections (or other units) just finished."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def silent(_finished: int) -> None:
    """Ignore progress."""


def map_sections(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    threads: int = 1,
    progress: Progress = silent,
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
