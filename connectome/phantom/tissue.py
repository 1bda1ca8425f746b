"""Tissue of the phantom: labels of space-filling neurites and the membranes between them.

A point belongs to the strand whose surface is nearest (an additively weighted Voronoi diagram,
whose walls are curved), after the surface of each strand has been roughened by smooth noise. Points
out of the reach of all strands belong to the concave, sheet-like processes between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from skimage.measure import label as connected_components

from connectome.phantom.params import Frame, PhantomParams
from connectome.phantom.random_fields import SmoothNoise
from connectome.phantom.strands import Strands

REACH_NM = 40.0  # distance beyond its radius within which a strand occupies space
PLANES_AT_ONCE = 12
NOISE_PAD = 64  # px by which the shared roughness is shifted, so that strands differ
FRAGMENT_NM3 = 3e5  # smaller fragments are assigned to the neurite around them


@dataclass(frozen=True, eq=False)
class Tissue:
    """Neurites in the imaged sections; arrays of shape (Z, Y, X).

    Parameters
    ----------
    labels : ndarray of int32
        Neurite ids 1…n, without 0: neighbours meet at the middle of the cleft. Every id is one
        face-connected component.
    depth : ndarray of float32
        Distance in nm to the nearest membrane midline, at the middle of the section.
    membrane : ndarray of float32
        Fraction of each voxel's projection that is membrane, 0…1.
    """

    labels: np.ndarray
    depth: np.ndarray
    membrane: np.ndarray


def rasterise_strands(
    rng: np.random.Generator, frame: Frame, strands: Strands, params: PhantomParams
) -> Tissue:
    """Assign every voxel to a neurite and compute the membranes between neurites.

    Parameters
    ----------
    rng : Generator
        Source of randomness for the roughness of outlines.
    frame : Frame
        Geometry of the image.
    strands : Strands
        Strands of the neurites.
    params : PhantomParams
        Roughness and membrane thickness.

    Returns
    -------
    Tissue
    """
    coarse = SmoothNoise(rng, frame, 200.0, NOISE_PAD)
    fine = SmoothNoise(rng, frame, 80.0, NOISE_PAD)
    noise_corner = (rng.random((len(strands.neurite), 2)) * NOISE_PAD).astype(int)
    bodies = np.empty(frame.shape, np.int32)
    depth = np.empty(frame.shape, np.float32)
    membrane = np.empty(frame.shape, np.float32)
    step = max(1, PLANES_AT_ONCE // frame.subplanes)
    for low in range(0, frame.shape[0], step):
        block = slice(low, min(low + step, frame.shape[0]))
        noise = coarse.sections(low, block.stop) + np.float32(0.5) * fine.sections(low, block.stop)
        noise *= np.float32(params.roughness_nm)
        owner, nearest, second = _nearest_surfaces(frame, block, strands, noise, noise_corner)
        midline = _midline_distance(second - nearest, frame)
        middle = frame.subplanes // 2
        bodies[block] = owner[:, middle]
        depth[block] = midline[:, middle]
        membrane[block] = _membrane_profile(midline, params.membrane_nm).mean(axis=1)
    return Tissue(_relabel_components(bodies, frame.voxel_size), depth, membrane)


def _membrane_profile(midline_nm: np.ndarray, thickness_nm: float) -> np.ndarray:
    """Return the darkness of two apposed membranes at distances from the middle of their cleft."""
    inside = np.clip((thickness_nm / 2 + 3 - midline_nm) / 6, 0, 1)
    cleft = np.clip(1 - midline_nm / 4, 0, 1)
    return inside - 0.3 * cleft


# --- distance to surfaces -----------------------------------------------------------------------


def _nearest_surfaces(
    frame: Frame, block: slice, strands: Strands, noise: np.ndarray, noise_corner: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the neurites with the nearest and the second nearest surface for every sampled point.

    Parameters
    ----------
    frame : Frame
        Geometry of the image.
    block : slice
        Sections.
    strands : Strands
        Strands of the neurites.
    noise : ndarray of float32, shape (S, Y + pad, X + pad)
        Roughness in nm.
    noise_corner : ndarray of int, shape (N, 2)
        Corner of the part of ``noise`` that roughens each strand.

    Returns
    -------
    owner : ndarray of int32, shape (S, subplanes, Y, X)
        Neurite, or −1 where no strand reaches.
    nearest, second : ndarray of float32, shape (S, subplanes, Y, X)
        Signed distance in nm to the surface of the owner and of the next neurite.
    """
    sections = np.arange(block.start, block.stop)
    centres, radius, slope = strands.interpolate(frame.plane_heights(sections).ravel())
    shape = (len(sections), frame.subplanes, *frame.shape[1:])
    nearest = np.full(shape, REACH_NM, np.float32)
    second = np.full(shape, 1e4, np.float32)
    owner = np.full(shape, -1, np.int32)
    has_siblings = np.bincount(strands.neurite)[strands.neurite] > 1
    displaced = np.repeat(frame.shifts[block] * frame.voxel_size[1:], frame.subplanes, axis=0)
    centres = centres - displaced[:, None]
    for i, home, window in _visible_strands(frame, strands.period, centres, radius):
        offsets = [
            np.arange(span.start, span.stop) * size - (centres[:, i, k, None] + home[k])
            for k, (span, size) in enumerate(zip(window, frame.voxel_size[1:], strict=True))
        ]
        surface = _surface_distance(offsets, slope[:, i], radius[:, i])
        surface = surface.reshape(*shape[:2], *surface.shape[1:])
        part = (
            slice(w.start + c, w.stop + c) for w, c in zip(window, noise_corner[i], strict=True)
        )
        surface += noise[(slice(None), None, *part)]
        index = (slice(None), slice(None), *window)
        _update_nearest(
            nearest[index],
            second[index],
            owner[index],
            surface=surface,
            neurite=strands.neurite[i],
            has_siblings=has_siblings[i],
        )
    return owner, nearest, second


def _visible_strands(
    frame: Frame, period: np.ndarray, centres: np.ndarray, radius: np.ndarray
) -> Iterator[tuple[int, np.ndarray, tuple[slice, slice]]]:
    """Yield strands whose copies on the torus reach the image: index, offset in nm, window."""
    size = frame.voxel_size[1:]
    middle = centres.mean(axis=0)
    nearest_copy = frame.wrap(middle, period) - middle
    reach = np.maximum(radius.max(axis=0), 0)[:, None] + 2.2 * REACH_NM
    alive = radius.max(axis=0) > -REACH_NM
    for copy in np.ndindex(3, 3):
        home = nearest_copy + (np.array(copy) - 1) * period
        low = np.ceil((centres.min(axis=0) + home - reach) / size)
        high = np.floor((centres.max(axis=0) + home + reach) / size) + 1
        low, high = (np.clip(edge, 0, frame.shape[1:]).astype(int) for edge in (low, high))
        for i in np.flatnonzero((high > low).all(axis=1) & alive):
            rows, columns = (slice(*ends) for ends in zip(low[i], high[i], strict=True))
            yield int(i), home[i], (rows, columns)


def _surface_distance(
    offsets: list[np.ndarray], slope: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    """Return signed distances (P, h, w) in nm to a possibly oblique tube.

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
    factor_y, factor_x = (
        (1 - shrink * slope[:, k] * slope[:, k]).astype(np.float32)[:, None] for k in (0, 1)
    )
    cross = (-2 * shrink * slope[:, 0] * slope[:, 1]).astype(np.float32)[:, None]
    square = (cross * dy)[:, :, None] * dx[:, None, :]
    square += (factor_y * dy * dy)[:, :, None]
    square += (factor_x * dx * dx)[:, None, :]
    np.maximum(square, 0, out=square)
    distance = np.sqrt(square, out=square)
    distance -= radius.astype(np.float32)[:, None, None]
    return distance


def _update_nearest(
    nearest: np.ndarray,
    second: np.ndarray,
    owner: np.ndarray,
    *,
    surface: np.ndarray,
    neurite: int,
    has_siblings: bool,
) -> None:
    """Update, in place, the points for which a strand has the nearest or second nearest surface."""
    runner_up = np.minimum(np.maximum(surface, nearest), second)
    if has_siblings:
        # There is no membrane between strands of the same neurite.
        np.copyto(second, runner_up, where=owner != neurite)
    else:
        second[...] = runner_up
    np.copyto(owner, neurite, where=surface < nearest)
    np.minimum(nearest, surface, out=nearest)


def _midline_distance(lead: np.ndarray, frame: Frame) -> np.ndarray:
    """Convert the lead of the nearest surface over the next to nm from the membrane midline.

    Parameters
    ----------
    lead : ndarray of float32, shape (S, subplanes, Y, X)
        Zero on the midline. It increases at a rate that depends on the angle between the two
        surfaces; divided by its gradient it is a distance.
    frame : Frame
        Geometry of the image.
    """
    dz, dy, dx = frame.voxel_size
    square = np.zeros_like(lead)
    climb = (lead[:, -1] - lead[:, 0]) / np.float32(dz * (1 - 1 / frame.subplanes))
    square += (climb * climb)[:, None]
    for axis, size in ((-2, dy), (-1, dx)):
        along, target = np.moveaxis(lead, axis, 0), np.moveaxis(square, axis, 0)
        slope = np.empty_like(along)
        slope[1:-1] = (along[2:] - along[:-2]) / np.float32(2 * size)
        slope[0] = (along[1] - along[0]) / np.float32(size)
        slope[-1] = (along[-1] - along[-2]) / np.float32(size)
        target += slope * slope
    return lead / np.maximum(np.sqrt(square), np.float32(0.6))


# --- connected components -----------------------------------------------------------------------


def _relabel_components(bodies: np.ndarray, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """Give every face-connected component its own id; assign small fragments to a neighbour.

    Parameters
    ----------
    bodies : ndarray of int32, shape (Z, Y, X)
        Neurites, some in several components.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Ids 1…n without gaps.
    """
    components = connected_components(bodies, background=-2, connectivity=1)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    least = min(FRAGMENT_NM3 / np.prod(voxel_size), sizes.max())
    kept = sizes >= least
    ids = (np.cumsum(kept) * kept).astype(np.int32)
    labels = np.take(ids, components)
    while not labels.all():
        _grow_labels(labels)
    return labels


def _grow_labels(labels: np.ndarray) -> None:
    """Grow labels by one voxel, in place, into voxels that are 0."""
    before = labels.copy()
    for axis in range(3):
        for to, source in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            to_index = (slice(None),) * axis + (to,)
            source_index = (slice(None),) * axis + (source,)
            np.copyto(labels[to_index], before[source_index], where=labels[to_index] == 0)
