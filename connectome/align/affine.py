"""Find how sections are turned and stretched against each other, from patches of them.

A map is a 3 × 3 matrix on (y, x, 1), in pixels from the middle of the section: what it makes of a
place in one section is where that belongs in another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage, optimize

from connectome.align.translation import Link, reduced, register, residual, tukey

# Patches overlap by half; more of them than this along an axis tell nothing new.
PATCH_PX, MOST_PATCHES = 128, 7
# Patches that are smaller show too little to be found again.
LEAST_PATCH_PX = 32
# A map is fitted to no fewer patches that resemble each other at least this much.
LEAST_MATCHES, LEAST_FIT = 6, 0.15
PASSES, PRECISE_PX = 6, 0.02  # at most, and when to stop
# Patches that miss a map by more than this lose their say in it.
STRAY_PX = 0.5
# Content comes and goes at the rim of the view: it counts little.
TAPER = 0.7
# Turns that are looked for where patches would not be found, first roughly.
FARTHEST_TURN, TURN_STEP = np.radians(30.0), np.radians(3.0)
# As they are, sections fit less than this share of how they fit turned, or they are not turned.
UNTURNED_FIT = 0.85


@dataclass(frozen=True, eq=False)
class Match:
    """How a section lies on another, and the patches that say so.

    Parameters
    ----------
    placed : ndarray, shape (3, 3)
        Map from the second section to the first.
    fit : float
        Correlation of the two where they overlap.
    here, there : ndarray, shape (N, 2)
        Middles of the patches in the first section and where the same is in the second.
    weight : ndarray, shape (N,)
        How alike each patch is in both.
    """

    placed: np.ndarray
    fit: float
    here: np.ndarray
    there: np.ndarray
    weight: np.ndarray


def mapping(matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the map that turns and stretches by a matrix (2, 2), then moves by (dy, dx)."""
    result = np.eye(3)
    result[:2, :2], result[:2, 2] = matrix, shift
    return result


def carried(places: np.ndarray, placed: np.ndarray) -> np.ndarray:
    """Carry places (N, 2), in pixels from the middle, through a map."""
    return places @ placed[:2, :2].T + placed[:2, 2]


def warped(section: np.ndarray, placed: np.ndarray, order: int, cval: float) -> np.ndarray:
    """Resample a section (Y, X) through a map; ``cval`` where nothing was imaged."""
    back = np.linalg.inv(placed)
    middle = _middle(section.shape)
    offset = middle + back[:2, 2] - back[:2, :2] @ middle
    return ndimage.affine_transform(section, back[:2, :2], offset, order=order, cval=cval)


def rotation(turn: float) -> np.ndarray:
    """Return the matrix (2, 2) that turns by an angle in radians, from y towards x."""
    return np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])


def register_turned(fixed: np.ndarray, moving: np.ndarray) -> Link:
    """Find by how much a section is turned and moved against another, to about a degree.

    Turns of up to 30° are tried, on sections reduced to what tells them apart. One that is too
    small to show is taken for none: patches will tell (`match`).
    O(A log A) time for sections of area A.

    Parameters
    ----------
    fixed, moving : ndarray of float32, shape (Y, X)
        As from `registration.smoothed`.
    """
    every, fixed, moving = reduced(fixed, moving)

    def turned(turn):
        link = register(fixed, warped(moving, mapping(rotation(turn), np.zeros(2)), 1, np.nan))
        return Link(every * link.shift, link.fit, turn)

    def best(links):
        return max(links, key=lambda link: link.fit)

    n = round(FARTHEST_TURN / TURN_STEP)
    unturned = turned(0.0)
    rough = best([unturned, *(turned(k * TURN_STEP) for k in range(-n, n + 1) if k)])
    fine = best([rough, *(turned(rough.turn + by) for by in (-TURN_STEP / 2, TURN_STEP / 2))])
    return fine if fine.fit >= max(LEAST_FIT, unturned.fit / UNTURNED_FIT) else unturned


def match(fixed: np.ndarray, moving: np.ndarray, start: np.ndarray, model: str) -> Match:
    """Find the map of a section onto another, close to one that is known roughly.

    Patches on a grid are each registered by translation: first to the pixel by correlation, as
    the rim of a turned section is pixels away, then by gradients where the map puts them, which
    is fitted to them all anew each time. A map that does not make the sections more alike than
    the first one did is not believed. O(A log A) time for sections of area A.

    Parameters
    ----------
    fixed, moving : ndarray of float32, shape (Y, X)
        As from `registration.smoothed`.
    start : ndarray, shape (3, 3)
        A translation, or a turn and a translation.
    model : {"rigid", "affine"}
        What the map may be.
    """
    patches, window = _grid(fixed.shape), tukey(fixed.shape, TAPER)

    def fit(placed):
        return residual(fixed, warped(moving, placed, 1, np.nan), window).fit

    def improved(placed, how):
        found = _matches(fixed, moving, placed, patches, how)
        return found, fitted(*found, model) if len(found[0]) >= LEAST_MATCHES else placed

    at_first = fit(start)
    _, placed = improved(start, register)
    if not fit(placed) > at_first:  # nor where the sections do not meet at all
        placed = start
    corners = np.array(list(product(*[(-n / 2, n / 2) for n in fixed.shape])))
    for _ in range(PASSES):
        found, finer = improved(placed, _residual)
        change = np.abs(carried(corners, finer) - carried(corners, placed)).max()
        placed = finer
        if change < PRECISE_PX:
            break
    fits = fit(placed)
    if not fits > at_first:
        placed, fits = start, at_first
    return Match(placed, fits, *found)


def fitted(here: np.ndarray, there: np.ndarray, weight: np.ndarray, model: str) -> np.ndarray:
    """Fit a map from ``there`` to ``here``, robustly (soft L1).

    Parameters
    ----------
    here, there, weight
        As in `Match`.
    model : {"rigid", "affine"}
        A rotation and a translation, or any linear map and a translation.
    """

    def rigid(angle, dy, dx):
        return mapping(rotation(angle), (dy, dx))

    def affine(*numbers):
        return mapping(np.eye(2) + np.reshape(numbers[:4], (2, 2)), numbers[4:])

    make, n_numbers = {"rigid": (rigid, 3), "affine": (affine, 6)}[model]

    def missed(numbers):
        return (np.sqrt(weight)[:, None] * (carried(there, make(*numbers)) - here)).ravel()

    start = np.zeros(n_numbers)
    start[-2:] = np.median(here - there, axis=0)
    found = optimize.least_squares(missed, start, loss="soft_l1", f_scale=STRAY_PX, x_scale="jac")
    return make(*found.x)


def _middle(shape) -> np.ndarray:
    return (np.asarray(shape) - 1) / 2


def _grid(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Cut a section into overlapping patches, three or more along each axis; none if small."""
    side = [min(PATCH_PX, n // 2) for n in shape]
    if min(side) < LEAST_PATCH_PX:
        return []
    axes = []
    for n, width in zip(shape, side, strict=True):
        count = min(MOST_PATCHES, 1 + round((n - width) / (width / 2)))
        firsts = np.linspace(0, n - width, count).round().astype(int)
        axes.append([slice(first, first + width) for first in firsts])
    return list(product(*axes))


def _matches(fixed, moving, placed, patches, how: Callable[..., Link]):
    """Find patches of a section again in another, near where a map leads."""
    image = warped(moving, placed, 1, np.nan)
    links = [how(fixed[patch], image[patch]) for patch in patches]
    sure = [k for k, link in enumerate(links) if link.fit >= LEAST_FIT]
    middles = np.array([[(s.start + s.stop - 1) / 2 for s in patches[k]] for k in sure])
    middles = middles.reshape(-1, 2) - _middle(fixed.shape)
    here = middles + np.array([links[k].shift for k in sure]).reshape(-1, 2)
    return here, carried(middles, np.linalg.inv(placed)), np.array([links[k].fit for k in sure])


def _residual(fixed, placed) -> Link:
    """Find by how little a patch misses another, its middle counting most."""
    return residual(fixed, placed, tukey(fixed.shape, 1.0))
