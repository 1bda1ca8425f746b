"""Link the sound sections of a stack by pairwise registration, and refine the chain.

Sections that correlate poorly with both neighbours are damaged and bridged. Sections torn far
apart are found by a wider search. The residuals of the links are then measured and removed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from connectome.align.translation import (
    NOT_REGISTERED,
    PairShift,
    measure_residual,
    register_distant,
    register_translation,
    shift_section,
    tukey_window,
)
from connectome.core.progress import Progress, ignore_progress, map_sections

# A section is damaged if its correlation with its neighbours is below this fraction of the median
# of the stack while the sections around it correlate with each other.
MIN_RELATIVE_CORRELATION = 0.6
# Longest run of damaged sections to bridge: across more, too little of the tissue is the same.
MAX_DAMAGED_RUN = 3
# Shifts of a lower correlation are not used: sections of noise reach this, too.
MIN_CORRELATION = 0.15
# A distant registration is accepted at the median correlation, or at this fraction of it if the
# registration by way of the following section agrees to within this distance.
DISTANT_RELATIVE_CORRELATION, AGREEMENT_PX = 0.8, 10.0
# Standard deviation of the Gaussian that separates the path of the images from its jitter.
PATH_SIGMA_SECTIONS = 8
# Content enters and leaves at the edge of displaced images, so the edge has little weight.
TAPER = 0.7
MAX_ITERATIONS, TOLERANCE_PX = 4, 0.01

PairRegistration = Callable[[np.ndarray, np.ndarray], PairShift]
Links = dict[tuple[int, int], PairShift]


@dataclass(frozen=True, eq=False)
class Chain:
    """Sound sections of a stack, each linked to the next.

    Parameters
    ----------
    sections : list of int
        Sound sections in order.
    links : list of PairShift
        Registration of each section but the first onto the one before it.
    """

    sections: list[int]
    links: list[PairShift]


def link_sections(
    images: Sequence[np.ndarray],
    usable: list[int],
    *,
    register: PairRegistration = register_translation,
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> Chain:
    """Link sound sections by pairwise registration, leaving out damaged ones.

    Parameters
    ----------
    images : sequence of ndarray, shape (Y, X)
        Sections smoothed by `translation.smooth_tissue`.
    usable : list of int
        Sections that are not blank.
    register : callable
        Registers the second of two images onto the first.
    threads : int
        Pairs registered in parallel.
    progress : callable
        Called with the number of pairs of neighbours just registered.

    Returns
    -------
    Chain
    """
    neighbours = list(pairwise(usable))
    links = register_pairs(images, neighbours, register, threads, progress)
    typical = float(np.median([link.correlation for link in links.values()])) if links else 0.0
    sound, i = usable[:1], 0
    while i + 1 < len(usable):
        i += _next_sound(images, usable[i:], links, typical, register)
        sound.append(usable[i])
    links |= _register_torn(images, sound, links, typical, threads)
    # A run at an end of the stack has sound sections on one side only.
    sound = _drop_poor_end(sound, links, typical)
    sound = _drop_poor_end(sound[::-1], links, typical)[::-1]
    return Chain(sound, [links[pair] for pair in pairwise(sound)])


def register_pairs(
    images: Sequence[np.ndarray],
    pairs: Sequence[tuple[int, int]],
    register: PairRegistration,
    threads: int,
    progress: Progress = ignore_progress,
) -> Links:
    """Register the second section of each pair onto the first."""

    def register_pair(pair: tuple[int, int]) -> PairShift:
        return register(images[pair[0]], images[pair[1]])

    return dict(zip(pairs, map_sections(register_pair, pairs, threads, progress), strict=True))


def refine_path(
    images: Sequence[np.ndarray], chain: Chain, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sum up the links of a chain, and refine them where they place the sections.

    Parameters
    ----------
    images : sequence of ndarray, shape (Y, X)
        All sections of the stack.
    chain : Chain
        Initial links.
    threads : int
        Sections processed in parallel.

    Returns
    -------
    path : ndarray, shape (S, 2)
        Shift of each of the S sound sections, with mean 0.
    correlations : ndarray, shape (S - 1,)
        Correlation of each sound section with the next; 0 where they could not be registered.
    """
    usable = [
        link if link.correlation >= MIN_CORRELATION else NOT_REGISTERED for link in chain.links
    ]
    steps = np.array([link.shift for link in usable]).reshape(-1, 2)
    correlations = np.array([link.correlation for link in usable])
    registered = np.flatnonzero(correlations)
    for _ in range(MAX_ITERATIONS if len(registered) else 0):
        residuals = _measure_residuals(
            images, chain.sections, _sum_steps(steps), registered, threads
        )
        steps[registered] += [residual.shift for residual in residuals]
        correlations[registered] = np.clip([residual.correlation for residual in residuals], 0, 1)
        if max(np.abs(residual.shift).max() for residual in residuals) < TOLERANCE_PX:
            break
    return _sum_steps(steps), correlations


# --- sound sections -----------------------------------------------------------------------------


def _next_sound(
    images: Sequence[np.ndarray],
    ahead: list[int],
    links: Links,
    typical: float,
    register: PairRegistration,
) -> int:
    """Return how many sections ahead the next sound one is; add its registration to ``links``."""
    poor = [
        links[pair].correlation < MIN_RELATIVE_CORRELATION * typical
        for pair in pairwise(ahead[: MAX_DAMAGED_RUN + 2])
    ]
    for k in range(2, len(poor) + 1):
        if not (poor[0] and poor[k - 1]):
            continue
        pair = ahead[0], ahead[k]
        across = register(images[pair[0]], images[pair[1]])
        into, out_of = links[ahead[0], ahead[1]], links[ahead[k - 1], ahead[k]]
        if across.correlation > max(into.correlation, out_of.correlation, MIN_CORRELATION):
            links[pair] = across
            return k
    return 1


def _register_torn(
    images: Sequence[np.ndarray], sound: list[int], links: Links, typical: float, threads: int
) -> Links:
    """Search for large shifts where a section correlates with the next but not the previous."""
    triples = [
        (a, b, c)
        for a, b, c in zip(sound[:-2], sound[1:-1], sound[2:], strict=True)
        if links[a, b].correlation < MIN_RELATIVE_CORRELATION * typical <= links[b, c].correlation
    ]
    pairs = [pair for a, b, c in triples for pair in ((a, b), (a, c))]
    distant = register_pairs(images, pairs, register_distant, threads)
    accepted = {}
    for a, b, c in triples:
        closure = distant[a, b].shift + links[b, c].shift - distant[a, c].shift
        agrees = np.hypot(*closure) <= AGREEMENT_PX
        required = (DISTANT_RELATIVE_CORRELATION if agrees else 1) * typical
        if distant[a, b].correlation >= required:
            accepted[a, b] = distant[a, b]
    return accepted


def _drop_poor_end(sound: list[int], links: Links, typical: float) -> list[int]:
    """Drop the first sections if the following ones do not correlate with them."""
    for k in range(min(MAX_DAMAGED_RUN, (len(sound) - 1) // 2), 0, -1):
        first, second = sorted(sound[k - 1 : k + 1])
        if links[first, second].correlation < MIN_RELATIVE_CORRELATION * typical:
            return sound[k:]
    return sound


# --- residuals ----------------------------------------------------------------------------------


def _measure_residuals(
    images: Sequence[np.ndarray],
    sound: list[int],
    path: np.ndarray,
    registered: np.ndarray,
    threads: int,
) -> list[PairShift]:
    """Measure the residual shift of each registered section and the next, placed along a path."""
    window = tukey_window(images[0].shape, TAPER)
    # Sections are compared in a view that follows the path in whole pixels but not its jitter.
    # They then overlap however far the stack drifts.
    slow = ndimage.gaussian_filter1d(path, PATH_SIGMA_SECTIONS, axis=0, mode="nearest")
    views = np.round(slow).astype(int)

    def place(i: int) -> np.ndarray:
        return shift_section(images[sound[i]], path[i] - views[i])

    placed = list(map_sections(place, range(len(sound)), threads))

    def measure(i: int) -> PairShift:
        here, there = _overlap(window.shape, views[i + 1] - views[i])
        return measure_residual(placed[i][here], placed[i + 1][there], window[here])

    return list(map_sections(measure, registered.tolist(), threads))


def _overlap(
    shape: tuple[int, ...], offset: np.ndarray
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the overlap of two views, the second displaced by whole pixels, in each of them."""
    sides = list(zip(offset, shape, strict=True))
    first = tuple(slice(max(d, 0), n + min(d, 0)) for d, n in sides)
    second = tuple(slice(max(-d, 0), n + min(-d, 0)) for d, n in sides)
    return first, second


def _sum_steps(steps: np.ndarray) -> np.ndarray:
    """Return the path of steps (N, 2), of mean 0, shape (N + 1, 2)."""
    path = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    return path - path.mean(axis=0)
