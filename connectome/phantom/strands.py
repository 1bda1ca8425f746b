"""Strands of the phantom: curves with a radius, packed side by side, that make up neurites.

Strands run along z. They are packed on a torus as soft discs that push each other apart from one
level to the next, as growing neurites do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from connectome.phantom.params import Frame, PhantomParams
from connectome.phantom.random_fields import draw_normal, draw_smooth_curves

KNOT_SPACING_NM = 40.0  # distance in z of the levels at which strands are packed
MARGIN_NM = 250.0  # packed tissue beyond each edge of the image
TAPER_NM = 120.0  # length over which an ending neurite narrows


@dataclass(frozen=True, eq=False)
class Strands:
    """Curves with a radius that make up neurites, on a torus.

    Parameters
    ----------
    z : ndarray, shape (K,)
        Heights of the knots in nm.
    centres : ndarray, shape (K, N, 2)
        (y, x) in nm, unwrapped.
    radius : ndarray, shape (K, N)
        In nm; negative beyond an ending.
    neurite : ndarray, shape (N,)
        Index of the neurite each strand belongs to.
    period : ndarray, shape (2,)
        Size of the torus in nm, (y, x).
    """

    z: np.ndarray
    centres: np.ndarray
    radius: np.ndarray
    neurite: np.ndarray
    period: np.ndarray

    @property
    def calibre(self) -> np.ndarray:
        """Mean radius of each strand in nm, shape (N,)."""
        return np.maximum(self.radius, 0).mean(axis=0)

    def interpolate(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Interpolate at heights (P,): centres (P, N, 2), radii (P, N) and slopes (P, N, 2)."""
        position = (z - self.z[0]) / KNOT_SPACING_NM
        first = np.clip(np.floor(position).astype(np.intp), 0, len(self.z) - 2)
        t = (position - first)[:, None]
        radius = (1 - t) * self.radius[first] + t * self.radius[first + 1]
        step = self.centres[first + 1] - self.centres[first]
        return self.centres[first] + t[..., None] * step, radius, step / KNOT_SPACING_NM


def grow_strands(rng: np.random.Generator, frame: Frame, params: PhantomParams) -> Strands:
    """Pack neurites with a heavy-tailed distribution of calibres and extend them along z.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    frame : Frame
        Geometry of the image, which is filled with a margin.
    params : PhantomParams
        Calibres, slopes, branches and endings.

    Returns
    -------
    Strands
    """
    depth_nm, *extent = np.multiply(frame.shape, frame.voxel_size)
    z = np.arange(-2 * KNOT_SPACING_NM, depth_nm + 3 * KNOT_SPACING_NM, KNOT_SPACING_NM)
    period = np.maximum(np.array(extent) + 2 * MARGIN_NM, 4 * params.largest_radius_nm)
    calibre = _draw_radii(rng, period[0] * period[1], params)
    strands_each = 1 + (rng.random(len(calibre)) < params.lobed_fraction) * (calibre > 65)
    strands_each += (rng.random(len(calibre)) < params.lobed_fraction) * (calibre > 200)
    neurite = np.repeat(np.arange(len(calibre)), strands_each)
    base = (calibre / np.sqrt(strands_each))[neurite]
    n = len(neurite)

    radius = base * (1 + 0.22 * draw_smooth_curves(rng, z, 350.0, n))
    radius *= _draw_tapers(rng, z, n, params.endings_per_um)
    slope = params.slope * draw_normal(rng, n, 2)[neurite]
    slope *= np.where(rng.random(n) < params.oblique_fraction, 4.0, 1.0)[neurite][:, None]
    slope = slope + params.slope * draw_smooth_curves(rng, z, 300.0, n, 2)
    branches = rng.random(n) < params.branches_per_um * depth_nm / 1000
    branch_z = np.where(branches, rng.random(n) * depth_nm, np.inf)
    start = (rng.random((len(calibre), 2)) * period)[neurite]
    start = start + base[:, None] * draw_normal(rng, n, 2)
    centres = _propagate_strands(z, start, slope, radius, neurite, branch_z, period)
    return Strands(z, centres, radius, neurite, period)


def _draw_radii(rng: np.random.Generator, area_nm2: float, params: PhantomParams) -> np.ndarray:
    """Draw radii in nm from a truncated Pareto law of index 8/3 until they fill an area."""
    least, most = params.smallest_radius_nm, params.largest_radius_nm
    count = int(area_nm2 / (least * least)) + 8
    # Square roots are rounded identically everywhere, powers are not.
    fourth = np.sqrt(np.sqrt(1 - rng.random(count)))
    radii = np.minimum(least / (fourth * np.sqrt(fourth)), most)
    filled = np.cumsum(np.pi * radii * radii)
    return radii[: max(int(np.searchsorted(filled, area_nm2)), 8)]


def _draw_tapers(rng: np.random.Generator, z: np.ndarray, n: int, per_um: float) -> np.ndarray:
    """Return factors (K, N) of the radii, from 1 to −1 where a strand ends."""
    depth = z[-1] - z[0]
    factor = np.ones((len(z), n))
    for direction in (1, -1):
        ends = rng.random(n) < per_um * depth / 2000
        tip = np.where(ends, z[0] + rng.random(n) * depth, direction * np.inf)
        factor = np.minimum(factor, np.clip(direction * (tip - z[:, None]) / TAPER_NM, -1, 1))
    return factor


def _propagate_strands(
    z: np.ndarray,
    start: np.ndarray,
    slope: np.ndarray,
    radius: np.ndarray,
    neurite: np.ndarray,
    branch_z: np.ndarray,
    period: np.ndarray,
) -> np.ndarray:
    """Move strands from level to level along their slopes, separating those that overlap.

    Returns
    -------
    ndarray, shape (K, N, 2)
        Centres (y, x) in nm.
    """
    centres = np.empty((len(z), len(start), 2))
    current = _separate_discs(start, radius[0], neurite, branch_z > z[0], period, 60)
    for k, height in enumerate(z):
        current = _separate_discs(current, radius[k], neurite, branch_z > height, period, 4)
        centres[k] = current
        current = current + KNOT_SPACING_NM * slope[k]
    for _ in range(2):
        centres[1:-1] = 0.25 * centres[:-2] + 0.5 * centres[1:-1] + 0.25 * centres[2:]
    return centres


def _separate_discs(
    centres: np.ndarray,
    radius: np.ndarray,
    neurite: np.ndarray,
    joined: np.ndarray,
    period: np.ndarray,
    iterations: int,
) -> np.ndarray:
    """Separate overlapping discs, moving lighter ones more; keep strands of a neurite together.

    Parameters
    ----------
    centres : ndarray, shape (N, 2)
        (y, x) in nm on a torus.
    radius : ndarray, shape (N,)
        In nm; zero or less occupies no space.
    neurite, joined : ndarray, shape (N,)
        Neurite of each strand, and whether the strand is still joined to its siblings.
    period : ndarray, shape (2,)
        Size of the torus in nm.
    iterations : int
        Steps of relaxation.
    """
    size = np.maximum(radius, 0.0)
    weight = size * size + 1.0
    a, b = _find_neighbours(centres, 2 * size.max() + 40.0, period)
    siblings = (neurite[a] == neurite[b]) & joined[a] & joined[b]
    wanted = np.where(siblings, 0.9, 0.95) * (size[a] + size[b])
    share_a = weight[b] / (weight[a] + weight[b])
    for _ in range(iterations):
        offset = centres[b] - centres[a]
        offset -= period * np.rint(offset / period)
        distance = np.sqrt(offset[:, 0] * offset[:, 0] + offset[:, 1] * offset[:, 1]) + 1e-3
        push = np.where(siblings, wanted - distance, np.maximum(wanted - distance, 0.0))
        step = (0.4 * push / distance)[:, None] * offset
        centres = centres.copy()
        for axis in (0, 1):
            on_a = np.bincount(a, step[:, axis] * share_a, len(centres))
            on_b = np.bincount(b, step[:, axis] * (1 - share_a), len(centres))
            centres[:, axis] += on_b - on_a
    return centres


def _find_neighbours(
    centres: np.ndarray, max_distance: float, period: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of strands within a distance of each other on a torus, in a fixed order."""
    wrapped = centres - period * np.floor(centres / period)
    wrapped = np.where(wrapped < period, wrapped, 0.0)
    tree = cKDTree(wrapped, boxsize=period)
    pairs = tree.query_pairs(min(max_distance, period.min() / 2.01), output_type="ndarray")
    key = np.sort(pairs[:, 0] * len(centres) + pairs[:, 1])
    return key // len(centres), key % len(centres)
