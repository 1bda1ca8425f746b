"""The tissue of the phantom: space-filling neurites, their labels and membranes.

Neurites are bundles of strands: curves along z with a radius. Strands are packed on a torus
as soft discs that jostle each other from one level to the next, as growing neurites do. A point
belongs to the strand whose surface is nearest (an additively weighted Voronoi diagram, whose
walls are curved), after each strand's surface has been roughened by smooth noise. What no strand
reaches is left to the concave, sheet-like processes between them.

Same seed, same bytes, on every machine: random numbers come from raw generator output, and a
voxel's fate depends on +, −, ×, ÷, √ and comparisons alone, which IEEE 754 rounds alike
everywhere. ``exp``, ``sin``, BLAS and compiled filters, whose last bit depends on the processor,
are not used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from skimage.measure import label as connected_components

KNOT_SPACING_NM = 40.0  # distance in z between the levels at which strands are packed
MARGIN_NM = 250.0  # packed tissue beyond each edge of the image
REACH_NM = 40.0  # how far beyond its radius a strand claims space
SUBPLANE_NM = 10.0  # a section is imaged as the mean of planes this far apart
PLANES_AT_ONCE = 12
NOISE_PAD = 64  # px by which the shared roughness is shifted, so that strands differ
TAPER_NM = 120.0  # length over which an ending neurite narrows
FRAGMENT_NM3 = 3e5  # smaller scraps belong to the neurite around them


@dataclass(frozen=True)
class PhantomParams:
    """What the phantom's tissue is like and how it is imaged; lengths in nm.

    Parameters
    ----------
    smallest_radius_nm, largest_radius_nm : float
        Calibres, between which radii follow a heavy-tailed law; a neurite that tapers or is
        squeezed gets thinner still.
    lobed_fraction : float
        Share of neurites whose profile has more than one lobe.
    slope : float
        Spread of the lateral run of neurites per unit of z.
    oblique_fraction : float
        Share of neurites that run several times as obliquely.
    branches_per_um, endings_per_um : float
        Chance per µm of depth that strands of a neurite part, and that a strand ends.
    roughness_nm : float
        Amplitude of the irregularity of outlines.
    membrane_nm : float
        Thickness of two apposed membranes with the cleft between them.
    mitochondria_per_um : float
        Chance per µm that a neurite wide enough holds a mitochondrion.
    synapses_per_um3 : float
        Density of synapses.
    jitter_nm, drift_nm : float
        Displacement of sections: independent, and slowly wandering.
    blur_nm : float
        Standard deviation of the microscope's point spread.
    shot_noise : float
        Standard deviation of the noise at full brightness, of the grey range.
    """

    smallest_radius_nm: float = 50.0
    largest_radius_nm: float = 450.0
    lobed_fraction: float = 0.4
    slope: float = 0.18
    oblique_fraction: float = 0.1
    branches_per_um: float = 0.05
    endings_per_um: float = 0.1
    roughness_nm: float = 45.0
    membrane_nm: float = 20.0
    mitochondria_per_um: float = 0.4
    synapses_per_um3: float = 4.0
    jitter_nm: float = 8.0
    drift_nm: float = 20.0
    blur_nm: float = 4.5
    shot_noise: float = 0.05


def draw_normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Draw normal variates as sums of twelve uniform integers: exact, so alike everywhere."""
    draws = np.frombuffer(rng.bytes(24 * int(np.prod(shape))), dtype="<u2")
    return draws.reshape(12, *shape).sum(axis=0, dtype=np.int64) / 65536 - 6


def spline_weights(position: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Return the first of three knots and the quadratic B-spline weights at each position."""
    first = np.floor(position).astype(np.intp)
    t = position - first
    return first, (0.5 * (1 - t) * (1 - t), 0.5 + t * (1 - t), 0.5 * t * t)


def draw_smooth_curves(
    rng: np.random.Generator, z: np.ndarray, scale_nm: float, *shape: int
) -> np.ndarray:
    """Draw smooth random functions of z, of about unit variance.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    z : ndarray, shape (K,)
        Places to evaluate at, in nm, ascending.
    scale_nm : float
        Distance over which a function forgets its value.
    *shape : int
        Shape of the set of functions.

    Returns
    -------
    ndarray, shape (K, *shape)
    """
    first, weights = spline_weights((z - z[0]) / scale_nm)
    knots = 1.3 * draw_normal(rng, int(first[-1]) + 3, *shape)
    trailing = (-1,) + (1,) * len(shape)
    return sum(w.reshape(trailing) * knots[first + k] for k, w in enumerate(weights))


@dataclass(frozen=True, eq=False)
class Frame:
    """Where each imaged pixel lies in the tissue.

    Parameters
    ----------
    shape : tuple of int
        Sections, rows and columns (Z, Y, X).
    voxel_size : tuple of float
        (z, y, x) in nm.
    shifts : ndarray, shape (Z, 2)
        (dy, dx) in px that put each section back in its place.
    """

    shape: tuple[int, int, int]
    voxel_size: tuple[float, float, float]
    shifts: np.ndarray

    @property
    def volume_um3(self) -> float:
        """Volume of tissue imaged, in µm³."""
        return float(np.prod(self.shape) * np.prod(self.voxel_size) * 1e-9)

    @property
    def pixel_nm(self) -> float:
        """Longer side of a pixel."""
        return max(self.voxel_size[1:])

    @property
    def subplanes(self) -> int:
        """Planes averaged into a section: odd, so that one is its middle."""
        return max(3, 2 * int(self.voxel_size[0] / SUBPLANE_NM / 2) + 1)

    def subplane_z(self, sections: np.ndarray) -> np.ndarray:
        """Return the height in nm of every plane of some sections, shape (S, subplanes)."""
        offsets = (np.arange(self.subplanes) - self.subplanes // 2) / self.subplanes
        return (sections[:, None] + offsets) * self.voxel_size[0]

    def row_col(self, z, y_nm, x_nm):
        """Return fractional rows and columns where tissue coordinates are imaged."""
        return (
            y_nm / self.voxel_size[1] - self.shifts[z, 0],
            x_nm / self.voxel_size[2] - self.shifts[z, 1],
        )

    def position(self, z, row, col):
        """Return tissue coordinates (y, x) in nm of imaged pixels."""
        return (
            (row + self.shifts[z, 0]) * self.voxel_size[1],
            (col + self.shifts[z, 1]) * self.voxel_size[2],
        )

    def wrap(self, place: np.ndarray, period: np.ndarray) -> np.ndarray:
        """Return the copies, on a torus, of places (…, 2) in nm that lie nearest the image."""
        middle = np.multiply(self.shape[1:], self.voxel_size[1:]) / 2
        return place - period * np.rint((place - middle) / period)

    def window(self, z: int, y_nm: float, x_nm: float, reach_nm: float):
        """Return the pixels of a section within reach of a place, and how far they are.

        Returns
        -------
        index : tuple
            Selects the window from an array of shape (Z, Y, X).
        dy, dx : ndarray, shapes (h, 1) and (1, w)
            Offsets from the place in nm; empty where the window misses the image.
        """
        row, col = self.row_col(z, y_nm, x_nm)
        spans, offsets = [], []
        for centre, size, n in zip((row, col), self.voxel_size[1:], self.shape[1:], strict=True):
            low = min(max(int(np.ceil(centre - reach_nm / size)), 0), n)
            high = max(min(int(np.floor(centre + reach_nm / size)) + 1, n), low)
            spans.append(slice(low, high))
            offsets.append(((np.arange(low, high) - centre) * size).astype(np.float32))
        return (z, *spans), offsets[0][:, None], offsets[1][None, :]


class SmoothNoise:
    """Smooth random field that belongs to the tissue: displaced sections show it displaced.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    frame : Frame
        Where each imaged pixel lies.
    scale_nm : float
        Distance between knots; in plane it is rounded to a power of two in pixels.
    pad : int
        Rows and columns beyond the image.
    """

    def __init__(self, rng: np.random.Generator, frame: Frame, scale_nm: float, pad: int = 0):
        self.frame = frame
        self.size = tuple(n + pad for n in frame.shape[1:])
        self.slack = int(np.abs(frame.shifts).max()) + 1
        self.knots_per_section = frame.voxel_size[0] / scale_nm
        self.doublings = [
            max(round(scale_nm / v), 1).bit_length() - 1 for v in frame.voxel_size[1:]
        ]
        plane = (
            ((n + 2 * self.slack) >> doublings) + 4
            for n, doublings in zip(self.size, self.doublings, strict=True)
        )
        self.knots = draw_normal(rng, int(frame.shape[0] * self.knots_per_section) + 4, *plane)

    def sections(self, start: int, stop: int) -> np.ndarray:
        """Return the field in sections ``start:stop``, float32, of about half unit spread."""
        first, weights = spline_weights(np.arange(start, stop) * self.knots_per_section)
        field = sum(w[:, None, None] * self.knots[first + k] for k, w in enumerate(weights))
        field = field.astype(np.float32)
        for axis, doublings in enumerate(self.doublings, start=1):
            for _ in range(doublings):
                field = _double(field, axis)
        moved = np.empty((len(field), *self.size), np.float32)
        for section, shift, out in zip(field, self.frame.shifts[start:stop], moved, strict=True):
            out[...] = self._displaced(section, shift + self.slack)
        return moved

    def _displaced(self, section: np.ndarray, corner: np.ndarray) -> np.ndarray:
        """Cut the image out of a larger section at a fractional corner, linearly."""
        for axis, (at, n) in enumerate(zip(corner, self.size, strict=True)):
            whole = int(at)
            part = np.float32(at - whole)
            along = np.moveaxis(section, axis, 0)
            mixed = (1 - part) * along[whole : whole + n] + part * along[whole + 1 : whole + n + 1]
            section = np.moveaxis(mixed, 0, axis)
        return section


def _double(field: np.ndarray, axis: int) -> np.ndarray:
    """Refine a field twofold along an axis by Chaikin's corner cutting (quadratic B-splines)."""
    field = np.moveaxis(field, axis, 0)
    a, b = field[:-1], field[1:]
    fine = np.empty((2 * len(a), *field.shape[1:]), field.dtype)
    fine[0::2] = 0.75 * a + 0.25 * b
    fine[1::2] = 0.25 * a + 0.75 * b
    return np.moveaxis(fine, 0, axis)


@dataclass(frozen=True, eq=False)
class Strands:
    """Curves with a radius that make up neurites, on a torus.

    Parameters
    ----------
    z : ndarray, shape (K,)
        Heights of the knots in nm.
    place : ndarray, shape (K, N, 2)
        (y, x) in nm, unwrapped.
    radius : ndarray, shape (K, N)
        In nm; negative beyond an ending.
    neurite : ndarray, shape (N,)
        Which neurite each strand is part of.
    period : ndarray, shape (2,)
        Size of the torus in nm, (y, x).
    """

    z: np.ndarray
    place: np.ndarray
    radius: np.ndarray
    neurite: np.ndarray
    period: np.ndarray

    def at(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Interpolate to heights ``z`` (P,): places (P, N, 2), radii (P, N), slopes (P, N, 2)."""
        position = (z - self.z[0]) / KNOT_SPACING_NM
        first = np.clip(np.floor(position).astype(np.intp), 0, len(self.z) - 2)
        t = (position - first)[:, None]
        radius = (1 - t) * self.radius[first] + t * self.radius[first + 1]
        step = self.place[first + 1] - self.place[first]
        return self.place[first] + t[..., None] * step, radius, step / KNOT_SPACING_NM


def grow_strands(rng: np.random.Generator, frame: Frame, params: PhantomParams) -> Strands:
    """Pack neurites of heavy-tailed calibre and let them run through the volume.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    frame : Frame
        The image to fill, with a margin.
    params : PhantomParams
        Calibres, slopes, branchings and endings.

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
    branch = rng.random(n) < params.branches_per_um * depth_nm / 1000
    parting = np.where(branch, rng.random(n) * depth_nm, np.inf)
    start = (rng.random((len(calibre), 2)) * period)[neurite] + base[:, None] * draw_normal(
        rng, n, 2
    )
    place = _propagate_strands(z, start, slope, radius, neurite, parting, period)
    return Strands(z, place, radius, neurite, period)


def _draw_radii(rng: np.random.Generator, area_nm2: float, params: PhantomParams) -> np.ndarray:
    """Draw radii in nm from a Pareto law of index 8/3, truncated, until they fill the area."""
    least, most = params.smallest_radius_nm, params.largest_radius_nm
    count = int(area_nm2 / (least * least)) + 8
    # Roots are rounded alike everywhere, powers are not.
    fourth = np.sqrt(np.sqrt(1 - rng.random(count)))
    radii = np.minimum(least / (fourth * np.sqrt(fourth)), most)
    filled = np.cumsum(np.pi * radii * radii)
    return radii[: max(int(np.searchsorted(filled, area_nm2)), 8)]


def _draw_tapers(rng: np.random.Generator, z: np.ndarray, n: int, per_um: float) -> np.ndarray:
    """Return factors (K, N) from 1 to −1 by which radii taper towards where neurites end."""
    depth = z[-1] - z[0]
    factor = np.ones((len(z), n))
    for direction in (1, -1):
        ends = rng.random(n) < per_um * depth / 2000
        tip = np.where(ends, z[0] + rng.random(n) * depth, direction * np.inf)
        factor = np.minimum(factor, np.clip(direction * (tip - z[:, None]) / TAPER_NM, -1, 1))
    return factor


def _propagate_strands(z, start, slope, radius, neurite, parting, period) -> np.ndarray:
    """Carry strands from level to level along their slopes, pushing off those they overlap."""
    place = np.empty((len(z), len(start), 2))
    here = _separate_discs(start, radius[0], neurite, parting > z[0], period, 60)
    for k, height in enumerate(z):
        here = _separate_discs(here, radius[k], neurite, parting > height, period, 4)
        place[k] = here
        here = here + KNOT_SPACING_NM * slope[k]
    for _ in range(2):
        place[1:-1] = 0.25 * place[:-2] + 0.5 * place[1:-1] + 0.25 * place[2:]
    return place


def _separate_discs(place, radius, neurite, joined, period, rounds) -> np.ndarray:
    """Separate overlapping discs, the lighter giving way; keep a neurite's own strands together.

    Parameters
    ----------
    place : ndarray, shape (N, 2)
        Centres (y, x) in nm on a torus.
    radius : ndarray, shape (N,)
        In nm; zero or less takes no room.
    neurite, joined : ndarray, shape (N,)
        Neurite of each strand, and whether it still sticks to its siblings.
    period : ndarray, shape (2,)
        Size of the torus in nm.
    rounds : int
        Steps of relaxation.
    """
    room = np.maximum(radius, 0.0)
    weight = room * room + 1.0
    a, b = _find_neighbours(place, 2 * room.max() + 40.0, period)
    siblings = (neurite[a] == neurite[b]) & joined[a] & joined[b]
    wanted = np.where(siblings, 0.9, 0.95) * (room[a] + room[b])
    share_a = weight[b] / (weight[a] + weight[b])
    for _ in range(rounds):
        apart = place[b] - place[a]
        apart -= period * np.rint(apart / period)
        distance = np.sqrt(apart[:, 0] * apart[:, 0] + apart[:, 1] * apart[:, 1]) + 1e-3
        push = np.where(siblings, wanted - distance, np.maximum(wanted - distance, 0.0))
        step = (0.4 * push / distance)[:, None] * apart
        place = place.copy()
        for axis in (0, 1):
            back = np.bincount(a, step[:, axis] * share_a, len(place))
            forth = np.bincount(b, step[:, axis] * (1 - share_a), len(place))
            place[:, axis] += forth - back
    return place


def _find_neighbours(place, reach, period) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of strands within reach of each other, in a fixed order."""
    wrapped = place - period * np.floor(place / period)
    wrapped = np.where(wrapped < period, wrapped, 0.0)
    tree = cKDTree(wrapped, boxsize=period)
    pairs = tree.query_pairs(min(reach, period.min() / 2.01), output_type="ndarray")
    key = np.sort(pairs[:, 0] * len(place) + pairs[:, 1])
    return key // len(place), key % len(place)


@dataclass(frozen=True, eq=False)
class Tissue:
    """Neurites as they lie in the imaged sections; arrays of shape (Z, Y, X).

    Parameters
    ----------
    labels : ndarray of int32
        Neurite ids 1…n, dense: neighbours meet at the middle of the cleft. Every id is one
        face-connected piece.
    depth : ndarray of float32
        Distance in nm to the nearest membrane midline, at the middle of the section.
    membrane : ndarray of float32
        Share of each voxel's projection that is membrane, 0…1.
    """

    labels: np.ndarray
    depth: np.ndarray
    membrane: np.ndarray


def rasterise_strands(
    rng: np.random.Generator, frame: Frame, strands: Strands, params: PhantomParams
) -> Tissue:
    """Give every voxel to a neurite and draw the membranes between them.

    Parameters
    ----------
    rng : Generator
        Source of randomness for the roughness of outlines.
    frame : Frame
        Where each imaged pixel lies.
    strands : Strands
        What fills the tissue.
    params : PhantomParams
        Membrane thickness.

    Returns
    -------
    Tissue
    """
    coarse = SmoothNoise(rng, frame, 200.0, NOISE_PAD)
    fine = SmoothNoise(rng, frame, 80.0, NOISE_PAD)
    own_part = (rng.random((len(strands.neurite), 2)) * NOISE_PAD).astype(int)
    bodies = np.empty(frame.shape, np.int32)
    depth = np.empty(frame.shape, np.float32)
    membrane = np.empty(frame.shape, np.float32)
    step = max(1, PLANES_AT_ONCE // frame.subplanes)
    for low in range(0, frame.shape[0], step):
        block = slice(low, min(low + step, frame.shape[0]))
        noise = coarse.sections(low, block.stop) + np.float32(0.5) * fine.sections(low, block.stop)
        noise *= np.float32(params.roughness_nm)
        owner, nearest, second = _nearest_surfaces(frame, block, strands, noise, own_part)
        midline = _midline_distance(second - nearest, frame)
        middle = frame.subplanes // 2
        bodies[block] = owner[:, middle]
        depth[block] = midline[:, middle]
        membrane[block] = membrane_profile(midline, params.membrane_nm).mean(axis=1)
    return Tissue(_relabel_components(bodies, frame.voxel_size), depth, membrane)


def membrane_profile(midline_nm: np.ndarray, thickness_nm: float) -> np.ndarray:
    """Return how dark two apposed membranes are at a distance from the middle of their cleft."""
    inside = np.clip((thickness_nm / 2 + 3 - midline_nm) / 6, 0, 1)
    cleft = np.clip(1 - midline_nm / 4, 0, 1)
    return inside - 0.3 * cleft


def _nearest_surfaces(frame: Frame, block: slice, strands: Strands, noise, own_part):
    """Find for every sampled point the neurite whose surface is nearest, and the next.

    Parameters
    ----------
    frame : Frame
        Where each imaged pixel lies.
    block : slice
        Sections.
    strands : Strands
        What fills the tissue.
    noise : ndarray of float32, shape (S, Y + pad, X + pad)
        Roughness in nm.
    own_part : ndarray of int, shape (N, 2)
        Corner of the part of ``noise`` that roughens each strand.

    Returns
    -------
    owner : ndarray of int32, shape (S, subplanes, Y, X)
        Neurite, or −1 for what no strand reaches.
    nearest, second : ndarray of float32, shape (S, subplanes, Y, X)
        Signed distance in nm to the surface of the owner and of the next neurite.
    """
    sections = np.arange(block.start, block.stop)
    place, radius, slope = strands.at(frame.subplane_z(sections).ravel())
    shape = (len(sections), frame.subplanes, *frame.shape[1:])
    nearest = np.full(shape, REACH_NM, np.float32)
    second = np.full(shape, 1e4, np.float32)
    owner = np.full(shape, -1, np.int32)
    shared = np.bincount(strands.neurite)[strands.neurite] > 1
    displaced = np.repeat(frame.shifts[block] * frame.voxel_size[1:], frame.subplanes, axis=0)
    place = place - displaced[:, None]
    for i, home, window in _visible_strands(frame, strands.period, place, radius):
        offsets = [
            np.arange(span.start, span.stop) * size - (place[:, i, k, None] + home[k])
            for k, (span, size) in enumerate(zip(window, frame.voxel_size[1:], strict=True))
        ]
        surface = _surface_distance(offsets, slope[:, i], radius[:, i])
        surface = surface.reshape(*shape[:2], *surface.shape[1:])
        rough = (slice(w.start + o, w.stop + o) for w, o in zip(window, own_part[i], strict=True))
        surface += noise[(slice(None), None, *rough)]
        here = (..., *window)
        _update_nearest(
            surface, strands.neurite[i], nearest[here], second[here], owner[here], shared[i]
        )
    return owner, nearest, second


def _visible_strands(frame: Frame, period: np.ndarray, place: np.ndarray, radius: np.ndarray):
    """Yield strands whose copies on the torus reach the picture: index, offset in nm, window."""
    size = frame.voxel_size[1:]
    middle = place.mean(axis=0)
    nearest_copy = frame.wrap(middle, period) - middle
    reach = np.maximum(radius.max(axis=0), 0)[:, None] + 2.2 * REACH_NM
    alive = radius.max(axis=0) > -REACH_NM
    for copy in np.ndindex(3, 3):
        home = nearest_copy + (np.array(copy) - 1) * period
        low = np.ceil((place.min(axis=0) + home - reach) / size)
        high = np.floor((place.max(axis=0) + home + reach) / size) + 1
        low, high = (np.clip(edge, 0, frame.shape[1:]).astype(int) for edge in (low, high))
        for i in np.flatnonzero((high > low).all(axis=1) & alive):
            yield i, home[i], tuple(slice(*ends) for ends in zip(low[i], high[i], strict=True))


def _surface_distance(offsets, slope, radius) -> np.ndarray:
    """Return signed distances (P, h, w) in nm to a tube that may run obliquely.

    Parameters
    ----------
    offsets : list of ndarray, shapes (P, h) and (P, w)
        Distance in nm along y and along x from the axis of the tube.
    slope : ndarray, shape (P, 2)
        dy/dz and dx/dz of the axis.
    radius : ndarray, shape (P,)
        In nm.
    """
    dy, dx = (o.astype(np.float32) for o in offsets)
    shrink = 1 / (1 + slope[:, 0] * slope[:, 0] + slope[:, 1] * slope[:, 1])
    keep_y, keep_x = (
        (1 - shrink * slope[:, k] * slope[:, k]).astype(np.float32)[:, None] for k in (0, 1)
    )
    cross = (-2 * shrink * slope[:, 0] * slope[:, 1]).astype(np.float32)[:, None]
    square = (cross * dy)[:, :, None] * dx[:, None, :]
    square += (keep_y * dy * dy)[:, :, None]
    square += (keep_x * dx * dx)[:, None, :]
    np.maximum(square, 0, out=square)
    distance = np.sqrt(square, out=square)
    distance -= radius.astype(np.float32)[:, None, None]
    return distance


def _update_nearest(surface, neurite, nearest, second, owner, shared) -> None:
    """Let a strand take, in place, the points whose nearest or second nearest surface it is."""
    runner_up = np.minimum(np.maximum(surface, nearest), second)
    if shared:
        # A sibling strand of the owner is no neighbour: there is no membrane between them.
        np.copyto(second, runner_up, where=owner != neurite)
    else:
        second[...] = runner_up
    np.copyto(owner, neurite, where=surface < nearest)
    np.minimum(nearest, surface, out=nearest)


def _midline_distance(lead: np.ndarray, frame: Frame) -> np.ndarray:
    """Turn the lead of the nearest surface over the next into nm from the membrane's middle.

    Parameters
    ----------
    lead : ndarray of float32, shape (S, subplanes, Y, X)
        Zero on the midline, growing at a rate that depends on how the two surfaces face
        each other; dividing by the gradient makes it a distance.
    frame : Frame
        Gives the spacing.
    """
    dz, dy, dx = frame.voxel_size
    square = np.zeros_like(lead)
    climb = (lead[:, -1] - lead[:, 0]) / np.float32(dz * (1 - 1 / frame.subplanes))
    square += (climb * climb)[:, None]
    for axis, size in ((-2, dy), (-1, dx)):
        moved, target = np.moveaxis(lead, axis, 0), np.moveaxis(square, axis, 0)
        slope = np.empty_like(moved)
        slope[1:-1] = (moved[2:] - moved[:-2]) / np.float32(2 * size)
        slope[0] = (moved[1] - moved[0]) / np.float32(size)
        slope[-1] = (moved[-1] - moved[-2]) / np.float32(size)
        target += slope * slope
    return lead / np.maximum(np.sqrt(square), np.float32(0.6))


def _relabel_components(bodies: np.ndarray, voxel_size) -> np.ndarray:
    """Give every face-connected piece an id of its own; scraps go to a neighbour.

    Parameters
    ----------
    bodies : ndarray of int32, shape (Z, Y, X)
        Neurites, some in several pieces.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Ids 1…n without gaps.
    """
    pieces = connected_components(bodies, background=-2, connectivity=1)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    least = min(FRAGMENT_NM3 / np.prod(voxel_size), sizes.max())
    kept = sizes >= least
    ids = (np.cumsum(kept) * kept).astype(np.int32)
    labels = np.take(ids, pieces)
    while not labels.all():
        _grow_labels(labels)
    return labels


def _grow_labels(labels: np.ndarray) -> None:
    """Let labels grow by one voxel, in place, into what is still 0."""
    before = labels.copy()
    for axis in range(3):
        for here, there in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            to = (slice(None),) * axis + (here,)
            source = (slice(None),) * axis + (there,)
            np.copyto(labels[to], before[source], where=labels[to] == 0)
