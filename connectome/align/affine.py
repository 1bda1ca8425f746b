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

from connectome.align.translation import (
    PairShift,
    measure_residual,
    register_translation,
    subsample,
    tukey_window,
)

# Patches overlap by half; more of them than this along an axis tell nothing new.
PATCH_PX, MAX_PATCHES = 128, 7
# Patches that are smaller show too little to be found again.
MIN_PATCH_PX = 32
# A map is fitted to no fewer patches that resemble each other at least this much.
MIN_MATCHES, MIN_CORRELATION = 6, 0.15
MAX_ITERATIONS, TOLERANCE_PX = 6, 0.02  # at most, and when to stop
# Patches that miss a map by more than this lose their say in it.
OUTLIER_PX = 0.5
# Content comes and goes at the rim of the view: it counts little.
TAPER = 0.7
# Turns that are looked for where patches would not be found, first roughly.
MAX_ROTATION, ROTATION_STEP = np.radians(30.0), np.radians(3.0)
# As they are, sections fit less than this share of how they fit turned, or they are not turned.
UNROTATED_SHARE = 0.85


@dataclass(frozen=True, eq=False)
class PairTransform:
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


def compose_transform(matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the map that turns and stretches by a matrix (2, 2), then moves by (dy, dx)."""
    result = np.eye(3)
    result[:2, :2], result[:2, 2] = matrix, shift
    return result


def map_points(places: np.ndarray, placed: np.ndarray) -> np.ndarray:
    """Carry places (N, 2), in pixels from the middle, through a map."""
    return places @ placed[:2, :2].T + placed[:2, 2]


def warp_section(section: np.ndarray, placed: np.ndarray, order: int, cval: float) -> np.ndarray:
    """Resample a section (Y, X) through a map; ``cval`` where nothing was imaged."""
    back = np.linalg.inv(placed)
    middle = _centre(section.shape)
    offset = middle + back[:2, 2] - back[:2, :2] @ middle
    return ndimage.affine_transform(section, back[:2, :2], offset, order=order, cval=cval)


def rotation_matrix(turn: float) -> np.ndarray:
    """Return the matrix (2, 2) that turns by an angle in radians, from y towards x."""
    return np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])


def register_rotation(fixed: np.ndarray, moving: np.ndarray) -> PairShift:
    """Find by how much a section is turned and moved against another, to about a degree.

    Turns of up to 30° are tried, on sections reduced to what tells them apart. One that is too
    small to show is taken for none: patches will tell (`register_patches`).
    O(A log A) time for sections of area A.

    Parameters
    ----------
    fixed, moving : ndarray of float32, shape (Y, X)
        As from `registration.smoothed`.
    """
    every, fixed, moving = subsample(fixed, moving)

    def turned(turn):
        link = register_translation(
            fixed,
            warp_section(moving, compose_transform(rotation_matrix(turn), np.zeros(2)), 1, np.nan),
        )
        return PairShift(every * link.shift, link.fit, turn)

    def best(links):
        return max(links, key=lambda link: link.fit)

    n = round(MAX_ROTATION / ROTATION_STEP)
    unturned = turned(0.0)
    rough = best([unturned, *(turned(k * ROTATION_STEP) for k in range(-n, n + 1) if k)])
    fine = best(
        [rough, *(turned(rough.turn + by) for by in (-ROTATION_STEP / 2, ROTATION_STEP / 2))]
    )
    return fine if fine.fit >= max(MIN_CORRELATION, unturned.fit / UNROTATED_SHARE) else unturned


def register_patches(
    fixed: np.ndarray, moving: np.ndarray, start: np.ndarray, model: str
) -> PairTransform:
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
    patches, window = _patch_grid(fixed.shape), tukey_window(fixed.shape, TAPER)

    def fit(placed):
        return measure_residual(fixed, warp_section(moving, placed, 1, np.nan), window).fit

    def improved(placed, how):
        found = _match_patches(fixed, moving, placed, patches, how)
        return found, fit_transform(*found, model) if len(found[0]) >= MIN_MATCHES else placed

    at_first = fit(start)
    _, placed = improved(start, register_translation)
    if not fit(placed) > at_first:  # nor where the sections do not meet at all
        placed = start
    corners = np.array(list(product(*[(-n / 2, n / 2) for n in fixed.shape])))
    for _ in range(MAX_ITERATIONS):
        found, finer = improved(placed, _patch_residual)
        change = np.abs(map_points(corners, finer) - map_points(corners, placed)).max()
        placed = finer
        if change < TOLERANCE_PX:
            break
    fits = fit(placed)
    if not fits > at_first:
        placed, fits = start, at_first
    return PairTransform(placed, fits, *found)


def fit_transform(
    here: np.ndarray, there: np.ndarray, weight: np.ndarray, model: str
) -> np.ndarray:
    """Fit a map from ``there`` to ``here``, robustly (soft L1).

    Parameters
    ----------
    here, there, weight
        As in `PairTransform`.
    model : {"rigid", "affine"}
        A rotation and a translation, or any linear map and a translation.
    """

    def rigid(angle, dy, dx):
        return compose_transform(rotation_matrix(angle), (dy, dx))

    def affine(*numbers):
        return compose_transform(np.eye(2) + np.reshape(numbers[:4], (2, 2)), numbers[4:])

    make, n_numbers = {"rigid": (rigid, 3), "affine": (affine, 6)}[model]

    def missed(numbers):
        return (np.sqrt(weight)[:, None] * (map_points(there, make(*numbers)) - here)).ravel()

    start = np.zeros(n_numbers)
    start[-2:] = np.median(here - there, axis=0)
    found = optimize.least_squares(missed, start, loss="soft_l1", f_scale=OUTLIER_PX, x_scale="jac")
    return make(*found.x)


def _centre(shape) -> np.ndarray:
    return (np.asarray(shape) - 1) / 2


def _patch_grid(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Cut a section into overlapping patches, three or more along each axis; none if small."""
    side = [min(PATCH_PX, n // 2) for n in shape]
    if min(side) < MIN_PATCH_PX:
        return []
    axes = []
    for n, width in zip(shape, side, strict=True):
        count = min(MAX_PATCHES, 1 + round((n - width) / (width / 2)))
        firsts = np.linspace(0, n - width, count).round().astype(int)
        axes.append([slice(first, first + width) for first in firsts])
    return list(product(*axes))


def _match_patches(fixed, moving, placed, patches, how: Callable[..., PairShift]):
    """Find patches of a section again in another, near where a map leads."""
    image = warp_section(moving, placed, 1, np.nan)
    links = [how(fixed[patch], image[patch]) for patch in patches]
    sure = [k for k, link in enumerate(links) if link.fit >= MIN_CORRELATION]
    middles = np.array([[(s.start + s.stop - 1) / 2 for s in patches[k]] for k in sure])
    middles = middles.reshape(-1, 2) - _centre(fixed.shape)
    here = middles + np.array([links[k].shift for k in sure]).reshape(-1, 2)
    return here, map_points(middles, np.linalg.inv(placed)), np.array([links[k].fit for k in sure])


def _patch_residual(fixed, placed) -> PairShift:
    """Find by how little a patch misses another, its middle counting most."""
    return measure_residual(fixed, placed, tukey_window(fixed.shape, 1.0))
