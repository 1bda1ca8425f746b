"""Bring sections into register by translation, leaving the tissue the way it runs.

The sign, which is easy to get wrong: a shift (dy, dx) found here is the one to *apply*, so
``scipy.ndimage.shift(section, shift)`` is the aligned section. Where sections are turned or
stretched too, each is first taken through its matrix about the middle of the image, then shifted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import linalg, ndimage

from connectome.align.affine import (
    PairTransform,
    compose_transform,
    register_patches,
    register_rotation,
    rotation_matrix,
    warp_section,
)
from connectome.align.translation import (
    NOT_REGISTERED,
    PairShift,
    measure_residual,
    register_distant,
    register_translation,
    shift_section,
    smooth_tissue,
    tukey_window,
)
from connectome.core.params import AlignParams
from connectome.core.progress import Progress, ignore_progress, map_sections, map_stacks
from connectome.core.volume import in_plane_px

Pair = tuple[int, int]

# Sections are damaged when they fit their neighbours less than this share of what sections of the
# stack usually do, while those to either side fit each other: the share once for every step.
MIN_RELATIVE_CORRELATION = 0.6
MAX_DAMAGED_RUN = 3  # in a row: across more, too little of the tissue is the same
# Sections that correlate less than this, as any do with noise, say nothing about their shift.
MIN_CORRELATION = 0.15
# What is found far away is believed if it fits as well as usual, or nearly, and going by way of
# the next section leads to about the same place.
SIMILAR, AGREEMENT_PX = 0.8, 10.0
DRIFT_SIGMA_SECTIONS = 8  # width of the Gaussian that takes the jitter from where sections meet
# Content comes and goes at the rim of the view when sections are displaced: it counts little.
TAPER = 0.7
MAX_ITERATIONS, TOLERANCE_PX = 4, 0.01  # at most, and when to stop
# Over fewer sections, jitter that adds up looks like a trend.
MIN_DRIFT_SECTIONS = 24
# Of turns, fewer tell: nobody means them to add up. Tissue does not twist to and fro, either: what
# does within some ten sections is jitter.
FEWEST_TURNED, STIFF_TWIST = 4, 10.0
# A step this many times as far from the median as steps usually are, and a bit, is no trend.
JUMP_FACTOR, MIN_SPREAD_PX = 6.0, 0.25
# Weights of smoothness against fidelity that are tried: from no jitter at all to a straight line.
STIFFNESS = 10.0 ** np.arange(-3, 10, 0.25)
# A trend that takes up more of the jitter than this is not told.
MAX_DRIFT_ERROR_PX = 2.0
FLOOR_PX = 0.01  # of the jitter: no registration is better
MODELS = "translation", "rigid", "affine"
# A model is taken for the one before it if its patches lie this much closer together.
MODEL_GAIN = 0.7


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where each section belongs.

    Parameters
    ----------
    shifts : ndarray of float, shape (Z, 2)
        Shift (dy, dx) in pixels to apply to each section; their mean is zero.
    confidence : ndarray of float, shape (Z,)
        Correlation of the aligned section with the sections it was placed by, 0 to 1; 0 where
        the section could not be placed by its own content.
    damaged : tuple of int
        Sections that are blank or do not fit the sections around them; placed between their
        neighbours rather than by their content.
    trend : ndarray of float, shape (Z, 2)
        How the tissue leans on the whole, (dy, dx) in pixels, of mean zero: to straighten it too,
        sections would have to move by ``shifts + trend``. Zero where it cannot be told from
        jitter, or was not to be kept; the shifts then straighten the tissue.
    matrices : ndarray of float, shape (Z, 2, 2), optional
        What turns and stretches each section about the middle of the image, on (y, x), before it
        is shifted. None where sections are only shifted.
    askew : tuple of int
        Those of the damaged sections that were not to be turned, and would fit if they were.
    """

    shifts: np.ndarray
    confidence: np.ndarray
    damaged_sections: tuple[int, ...]
    drift: np.ndarray
    matrices: np.ndarray | None = None
    rotated_sections: tuple[int, ...] = ()


def estimate_alignment(
    sections: np.ndarray,
    voxel_size: tuple[float, float, float],
    blank_sections: Sequence[int] = (),
    params: AlignParams | None = None,
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> Alignment:
    """Find the translation, or more, that takes the jitter from every section.

    Each section is registered with the next, to the pixel by cross-correlation (see
    `registration`); damaged sections are bridged. All sections are then put where the steps
    between them lead, and the steps refined there, within a window that is the same for all:
    it shows the same tissue however far sections are displaced.

    What fits two sections best includes how far their neurites lean on average. The steps add up
    to jitter and a slow trend; the trend is left in the stack as far as the path tells it from
    jitter (see `estimate_drift`), unless it is to be straightened. O(V log A) time for V voxels in
    sections of area A.

    For a rigid or an affine model sections are first registered turned by all angles, too (see
    `deformation.register_turned`): one that lies askew fits nowhere as it is. Patches of each are
    then found again in the next (see `deformation.match`), what turns and stretches one onto the
    other is chained along the stack, and again the slow trend is the tissue's; shifts are then
    refined anew. ``auto`` measures how far patches lie from the same ones in the next section,
    beyond the slow trend: the median of each pair, and the mean of these. It takes rotations only
    if they leave less than 0.7 times what translation does, and affine maps only if they leave
    less than 0.7 times what the model chosen so far does.

    Parameters
    ----------
    sections : ndarray, shape (Z, Y, X)
        Preprocessed EM in [0, 1]; 0 outside the tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    blank : sequence of int
        Sections known to hold nothing.
    params : AlignParams, optional
        How sections are smoothed before they are compared, and what they may be taken through.
    threads : int
        Pairs of sections registered at a time.
    progress : callable
        Told of each registered pair.

    Returns
    -------
    Alignment
        Shifts, confidence, damaged sections and trend; matrices if need be.
    """
    params = params or AlignParams()
    sigma = in_plane_px(params.smoothing_nm, voxel_size)
    smooth = list(map_sections(lambda section: smooth_tissue(section, sigma), sections, threads))
    usable = [z for z in range(len(sections)) if z not in set(blank_sections)]
    sound, links = _sound_sections(smooth, usable, threads, progress)
    path, fits = _refined(smooth, sound, links, threads)
    found = _placed(len(sections), sound, path, fits)
    if params.model == "translation":
        found = replace(
            found, rotated_sections=_askew(smooth, usable, sound, found.confidence, threads)
        )
    else:
        found = _deformed(smooth, usable, found, params.model, threads)
    if params.straighten:
        found = replace(found, shifts=found.shifts + found.drift, drift=np.zeros_like(found.drift))
    return found


def apply_transforms(
    sections: np.ndarray,
    shifts: np.ndarray,
    order: int = 3,
    threads: int = 1,
    progress: Progress = ignore_progress,
    matrices: np.ndarray | None = None,
) -> np.ndarray:
    """Move every section by its shift, and turn and stretch it first if it has a matrix.

    Parameters
    ----------
    sections : ndarray, shape (Z, Y, X)
        Images (``order`` 3) or labels (``order`` 0, nearest neighbour).
    shifts : ndarray of float, shape (Z, 2)
        (dy, dx) in pixels.
    order : int
        Spline order of `scipy.ndimage.shift`.
    threads : int
        Sections moved at a time.
    progress : callable
        Told of each moved section.
    matrices : ndarray of float, shape (Z, 2, 2), optional
        As in `Alignment`.

    Returns
    -------
    ndarray, shape (Z, Y, X)
        Same type as ``sections``; 0 where nothing was imaged. Splines overshoot at sharp edges,
        so images keep to the range they had.
    """
    low, high = sections.min(), sections.max()

    def placed(section, shift, matrix=None):
        if matrix is not None:
            result = warp_section(section, compose_transform(matrix, shift), order, 0.0)
        elif np.any(shift):
            result = ndimage.shift(section, shift, order=order)
        else:
            return section
        return result if order == 0 else np.clip(result, min(low, 0), high)

    moves = [np.asarray(shifts, float)] + ([] if matrices is None else [np.asarray(matrices)])
    return map_stacks(placed, sections, *moves, threads=threads, progress=progress)


def transform_points(
    places: np.ndarray,
    shifts: np.ndarray,
    matrices: np.ndarray | None = None,
    shape: tuple[int, int] | None = None,
) -> np.ndarray:
    """Carry places (z, y, x) of the cutout as imaged to where their sections were moved.

    Parameters
    ----------
    places : ndarray of float, shape (N, 3)
        Voxel coordinates; z may lie between sections.
    shifts : ndarray of float, shape (Z, 2)
        (dy, dx) in pixels.
    matrices : ndarray of float, shape (Z, 2, 2), optional
        As in `Alignment`.
    shape : tuple of int, optional
        (Y, X) of a section, in whose middle matrices leave everything as it is.

    Returns
    -------
    ndarray of float, shape (N, 3)
        The same places in the aligned stack.
    """
    sections = np.arange(len(shifts))
    moved = np.array(places, float)

    def between(numbers):
        return np.interp(moved[:, 0], sections, numbers)

    if matrices is not None:
        middle = (np.array(shape) - 1) / 2
        turns = [[between(numbers) for numbers in row] for row in np.moveaxis(matrices, 0, 2)]
        moved[:, 1:] = np.einsum("ijn,nj->ni", turns, moved[:, 1:] - middle) + middle
    for axis in (0, 1):
        moved[:, axis + 1] += between(shifts[:, axis])
    return moved


def simulate_shifts(n_sections: int, sigma_px: float, seed: int) -> np.ndarray:
    """Draw a random displacement (dy, dx) in pixels for every section, N(0, sigma)."""
    return np.random.default_rng(seed).normal(0.0, sigma_px, (n_sections, 2))


def estimate_drift(
    path: np.ndarray,
    sound: Sequence[int],
    most_error: float = MAX_DRIFT_ERROR_PX,
    fewest: int = MIN_DRIFT_SECTIONS,
    least_stiffness: float = 0.0,
) -> np.ndarray:
    """Tell the slow trend of a path from its jitter.

    A path is a smooth curve and independent jitter (a discrete smoothing spline; Hodrick and
    Prescott 1997). How smooth, its own likelihood says (restricted, as in Wahba 1985): a stack
    that is in register shows hardly any jitter, and its whole path is the tissue's; one that is
    not hides all but the slowest trend. Steps far beyond the usual belong to the jitter. A trend
    takes up some of the jitter, with K degrees of freedom σ√(2K/Z) px of it; where that is too
    much, or the stack too short, there is none. O(Z) time.

    A steady drift of the sections looks just like neurites that lean, and stays as they do.

    Parameters
    ----------
    path : ndarray of float, shape (Z, N)
        (dy, dx), or the like, in pixels.
    sound : sequence of int
        Sections whose place is known.
    most_error : float
        How much of the jitter, in pixels, a trend may take up.
    fewest : int
        Sound sections that tell of a trend.
    least_stiffness : float
        Weight of the trend's smoothness from which it is told from jitter.

    Returns
    -------
    ndarray of float, shape (Z, 2)
        The trend, of mean zero; zero if it cannot be told.
    """
    n = len(path)
    if len(sound) < fewest:
        return np.zeros_like(path)
    known = np.zeros((n, 1))
    known[list(sound)] = 1
    smooth_path = _without_jumps(path)
    free = path.shape[1] * (len(sound) - 2)
    best = (np.inf, None, 0.0)
    for stiffness in STIFFNESS[least_stiffness <= STIFFNESS]:
        curve, determinant = fit_smoothing_spline(smooth_path, known, stiffness)
        jitter = (known * smooth_path * (smooth_path - curve)).sum() / free + FLOOR_PX**2
        spread = determinant - (n - 2) * np.log(stiffness)
        unlikely = free * np.log(jitter) + path.shape[1] * spread
        # A spline of n points has about this many degrees of freedom beyond its mean.
        error = np.sqrt(jitter * 2 * (1 + n * stiffness**-0.25 / np.sqrt(8)) / n)
        best = min(best, (unlikely, curve, error), key=lambda each: each[0])
    _, curve, error = best
    return curve - curve.mean(axis=0) if error <= most_error else np.zeros_like(path)


def fit_smoothing_spline(
    path: np.ndarray, known: np.ndarray, stiffness: float
) -> tuple[np.ndarray, float]:
    """Draw a smooth curve through a path (Hodrick and Prescott 1997). O(Z) time.

    Parameters
    ----------
    path : ndarray of float, shape (Z, N)
    known : ndarray of float, shape (Z, 1)
        1 where the path is known, 0 elsewhere.
    stiffness : float
        Weight of its squared second differences against its squared distances from the path.

    Returns
    -------
    curve : ndarray of float, shape (Z, N)
    determinant : float
        Logarithm of that of the equations it solves.
    """
    factor = linalg.cholesky_banded(_banded(known.ravel(), stiffness), lower=True)
    curve = linalg.cho_solve_banded((factor, True), known * path)
    return curve, 2 * np.log(factor[0]).sum()


def _banded(known: np.ndarray, stiffness: float) -> np.ndarray:
    """Return diag(known) + stiffness · DᵀD for second differences D, as lower diagonals."""
    n = len(known)
    bands = np.zeros((3, n))
    for i, weight in enumerate((1.0, -2.0, 1.0)):
        for j, other in enumerate((1.0, -2.0, 1.0)[: i + 1]):
            bands[i - j, j : n - 2 + j] += stiffness * weight * other
    bands[0] += known
    return bands


def _without_jumps(path: np.ndarray) -> np.ndarray:
    """Replace every step that is far from usual by the usual one."""
    steps = np.diff(path, axis=0)
    usual = np.median(steps, axis=0)
    off = np.abs(steps - usual)
    jump = (off > JUMP_FACTOR * (np.median(off, axis=0) + MIN_SPREAD_PX)).any(axis=1)
    steps[jump] = usual
    return path[0] + np.concatenate([np.zeros((1, path.shape[1])), np.cumsum(steps, axis=0)])


def _registered(
    how: Callable, smooth, pairs, threads, progress=ignore_progress
) -> dict[Pair, PairShift]:
    """Register pairs of sections."""

    def one(pair):
        return how(smooth[pair[0]], smooth[pair[1]])

    return dict(zip(pairs, map_sections(one, pairs, threads, progress), strict=True))


def _all_turned(smooth, matrices, threads) -> list[np.ndarray]:
    """Turn and stretch sections about their middles."""

    def turned(section, matrix):
        if np.array_equal(matrix, np.eye(2)):
            return section
        return warp_section(section, compose_transform(matrix, np.zeros(2)), 1, np.nan)

    return list(map_sections(lambda z: turned(smooth[z], matrices[z]), range(len(smooth)), threads))


def _arm(shape) -> float:
    """Return the typical distance from the middle of a section in pixels."""
    return np.sqrt(np.square(shape).sum() / 12)


def _sound_sections(
    smooth,
    usable,
    threads,
    progress: Progress = ignore_progress,
    how: Callable = register_translation,
) -> tuple[list[int], dict[Pair, PairShift]]:
    """Link sound sections; leave out those that fit nowhere."""
    links = _registered(how, smooth, list(pairwise(usable)), threads, progress)
    usual = float(np.median([link.fit for link in links.values()])) if links else 0.0
    sound, i = usable[:1], 0
    while i + 1 < len(usable):
        i += _stride(smooth, usable[i:], links, usual, how)
        sound.append(usable[i])
    links |= _torn_apart(smooth, sound, links, usual, threads)
    # Nothing vouches for what lies beyond the ends.
    sound = _without_stray_end(sound, links, usual)
    return _without_stray_end(sound[::-1], links, usual)[::-1], links


def _stride(smooth, ahead, links, usual, how) -> int:
    """Tell how many sections on the next sound one lies; register with it if need be."""
    poor = [
        links[pair].fit < MIN_RELATIVE_CORRELATION * usual
        for pair in pairwise(ahead[: MAX_DAMAGED_RUN + 2])
    ]
    for k in range(2, len(poor) + 1):
        if not (poor[0] and poor[k - 1]):
            continue
        pair = ahead[0], ahead[k]
        across = how(smooth[pair[0]], smooth[pair[1]])
        through = max(links[ahead[0], ahead[1]].fit, links[ahead[k - 1], ahead[k]].fit)
        if across.fit > max(through, MIN_CORRELATION):
            links[pair] = across
            return k
    return 1


def _torn_apart(smooth, sound, links, usual, threads) -> dict[Pair, PairShift]:
    """Look farther for the shifts of sections that do not fit where they were looked for."""
    gaps = [
        (a, b, c)
        for a, b, c in zip(sound[:-2], sound[1:-1], sound[2:], strict=True)
        if links[a, b].fit < MIN_RELATIVE_CORRELATION * usual <= links[b, c].fit
    ]
    pairs = [pair for a, b, c in gaps for pair in ((a, b), (a, c))]
    far = _registered(register_distant, smooth, pairs, threads)
    found = {}
    for a, b, c in gaps:
        missed = far[a, b].shift + links[b, c].shift - far[a, c].shift
        agreed = np.hypot(*missed) <= AGREEMENT_PX
        if far[a, b].fit >= (SIMILAR if agreed else 1) * usual:
            found[a, b] = far[a, b]
    return found


def _without_stray_end(sound: list[int], links, usual: float) -> list[int]:
    """Drop the first sections if what follows does not fit them."""
    for k in range(min(MAX_DAMAGED_RUN, (len(sound) - 1) // 2), 0, -1):
        if links[tuple(sorted(sound[k - 1 : k + 1]))].fit < MIN_RELATIVE_CORRELATION * usual:
            return sound[k:]
    return sound


def _refined(smooth, sound, links, threads) -> tuple[np.ndarray, np.ndarray]:
    """Follow the links along the stack, and refine them where they put the sections.

    Returns
    -------
    path : ndarray, shape (len(sound), 2)
        Shift of every sound section.
    fits : ndarray, shape (len(sound) - 1,)
        How well each fits the next.
    """
    pairs = list(pairwise(sound))
    links = [
        links[pair] if links[pair].fit >= MIN_CORRELATION else NOT_REGISTERED for pair in pairs
    ]
    steps = np.array([link.shift for link in links]).reshape(-1, 2)
    fits = np.array([link.fit for link in links])
    held = np.flatnonzero(fits)
    for _ in range(MAX_ITERATIONS if len(held) else 0):
        path = _added_up(steps)
        finer = _residuals(smooth, sound, path, held, threads)
        steps[held] += [link.shift for link in finer]
        fits[held] = np.clip([link.fit for link in finer], 0, 1)
        if max(np.abs(link.shift).max() for link in finer) < TOLERANCE_PX:
            break
    return _added_up(steps), fits


def _residuals(smooth, sound, path, held, threads) -> list[PairShift]:
    """Register sections with their next where a path puts them, as far as they miss it."""
    window = tukey_window(smooth[0].shape, TAPER)
    # Sections meet where the path leads on the whole, whatever jitter there is on it.
    slow = ndimage.gaussian_filter1d(path, DRIFT_SIGMA_SECTIONS, axis=0, mode="nearest")
    views = np.round(slow).astype(int)

    def seen(i):
        return shift_section(smooth[sound[i]], path[i] - views[i])

    images = list(map_sections(seen, range(len(sound)), threads))

    def missed(i):
        here, there = _same_place(window.shape, views[i + 1] - views[i])
        return measure_residual(images[i][here], images[i + 1][there], window[here])

    return list(map_sections(missed, held, threads))


def _same_place(shape, offset) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Cut out what two views have in common of which the second lies whole pixels further."""
    sides = list(zip(offset, shape, strict=True))
    here = tuple(slice(max(d, 0), n + min(d, 0)) for d, n in sides)
    there = tuple(slice(max(-d, 0), n + min(-d, 0)) for d, n in sides)
    return here, there


def _added_up(steps: np.ndarray) -> np.ndarray:
    """Add steps up to a path of mean zero."""
    path = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    return path - path.mean(axis=0)


def _placed(n_sections: int, sound: list[int], path, fits) -> Alignment:
    """Place what is not sound between its neighbours, and leave the trend where it is."""
    damaged = tuple(z for z in range(n_sections) if z not in set(sound))
    shifts, confidence = np.zeros((n_sections, 2)), np.zeros(n_sections)
    if not sound:
        return Alignment(shifts, confidence, damaged, shifts)
    for axis in (0, 1):
        shifts[:, axis] = np.interp(np.arange(n_sections), sound, path[:, axis])
    shifts -= shifts.mean(axis=0)
    confidence[sound] = np.maximum(np.append(fits, 0), np.append(0, fits))
    trend = estimate_drift(shifts, sound)
    return Alignment(shifts - trend, confidence, damaged, trend)


def _askew(smooth, usable, sound, confidence, threads) -> tuple[int, ...]:
    """Find sections that fit the nearest sound one about as well as is usual, but turned."""
    left_out = [z for z in usable if z not in set(sound)] if sound else []
    pairs = [(min(sound, key=lambda other: abs(other - z)), z) for z in left_out]
    links = _registered(register_rotation, smooth, pairs, threads)
    least = MIN_RELATIVE_CORRELATION * np.median(confidence[sound]) if sound else 0.0
    return tuple(z for (_, z), link in links.items() if link.turn and link.fit >= least)


def _deformed(smooth, usable, shifted: Alignment, model: str, threads) -> Alignment:
    """Turn and stretch sound sections onto each other; else they are as ``shifted``."""
    sound, links = _sound_sections(smooth, usable, threads, how=register_rotation)
    if len(sound) < 2:
        return shifted

    def matched(pair):
        start = compose_transform(rotation_matrix(links[pair].turn), links[pair].shift)
        return register_patches(
            *(smooth[z] for z in pair), start, "rigid" if model == "rigid" else "affine"
        )

    matches = list(map_sections(matched, list(pairwise(sound)), threads))
    slow, jitter = _turned(matches, sound, len(shifted.shifts), smooth[0].shape)
    if model == "auto":
        model = _least_needed(matches, sound, slow, jitter)
    if model == "translation":
        return shifted
    matrices = linalg.expm(_share(jitter, model))
    steps = _steps(matches, sound, matrices)
    links = {
        pair: PairShift(step, one.fit)
        for pair, step, one in zip(pairwise(sound), steps, matches, strict=True)
    }

    # The whole view tells shifts better than patches do.
    images = _all_turned(smooth, matrices, threads)
    path, fits = _refined(images, sound, links, threads)
    return replace(_placed(len(matrices), sound, path, fits), matrices=matrices)


def _least_needed(matches: list[PairTransform], sound, slow, jitter) -> str:
    """Choose the simplest model that brings patches of neighbouring sections together."""
    left = {
        each: _apart(matches, sound, linalg.expm(slow + _share(jitter, each))) for each in MODELS
    }
    chosen = MODELS[0]
    for each in MODELS[1:]:
        if left[each] < MODEL_GAIN * left[chosen]:
            chosen = each
    return chosen


def _turned(
    matches: list[PairTransform], sound, n_sections: int, shape
) -> tuple[np.ndarray, np.ndarray]:
    """Add up how sections are turned and stretched; tell what is slow from what is jitter.

    Both are logarithms of matrices (Z, 2, 2), as these add up.
    """
    turned = [np.eye(2)]
    for one in matches:
        turned.append(turned[-1] @ one.placed[:2, :2])
    distance = _arm(shape)  # so that turns are in pixels, as shifts are
    logs = distance * np.array([linalg.logm(matrix).real.ravel() for matrix in turned])
    sections = np.arange(n_sections)
    logs = np.column_stack([np.interp(sections, sound, column) for column in logs.T])
    logs -= logs.mean(axis=0)
    # Mistaken for jitter, a slow turn would grow along the stack: what may be slow stays.
    slow = estimate_drift(logs, sound, np.inf, FEWEST_TURNED, STIFF_TWIST)
    return slow.reshape(-1, 2, 2) / distance, (logs - slow).reshape(-1, 2, 2) / distance


def _share(logs: np.ndarray, model: str) -> np.ndarray:
    """Keep of the logarithms of matrices what a model allows: nothing, rotation, everything."""
    if model == "translation":
        return 0 * logs
    return logs if model == "affine" else (logs - logs.transpose(0, 2, 1)) / 2


def _steps(matches: list[PairTransform], sound, matrices) -> np.ndarray:
    """Return the shifts between sections, each seen in a frame that is itself turned."""
    return np.array([matrices[z] @ m.placed[:2, 2] for z, m in zip(sound, matches, strict=False)])


def _apart(matches: list[PairTransform], sound, matrices) -> float:
    """Measure how far apart patches that show the same lie once sections are in place, in px."""
    apart = [
        np.median(np.hypot(*(m.here @ matrices[a].T - (m.there @ matrices[b].T + step)).T))
        for m, (a, b), step in zip(
            matches, pairwise(sound), _steps(matches, sound, matrices), strict=True
        )
        if len(m.here)
    ]
    return float(np.mean(apart)) if apart else 0.0
