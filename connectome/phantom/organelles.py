"""Organelles of the phantom: mitochondria, vesicles, microtubules and cisternae.

Everything is added to one array, ``stain``: the darkness of a voxel's projection relative to
cytoplasm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from connectome.phantom.params import Frame, PhantomParams
from connectome.phantom.random_fields import SmoothNoise, draw_normal, draw_smooth_curves
from connectome.phantom.strands import Strands
from connectome.phantom.synapses import Synapse
from connectome.phantom.tissue import Tissue

CLOUD_RADIUS_NM = 230.0  # of the cloud of vesicles behind a density
CLOUD_CANDIDATES = 600
VESICLE_SPACING_NM = 37.0
VESICLES_PER_UM3 = 60  # outside clouds

Profile = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Stain as a function of the distance from the centre and of the radius, in nm."""


# --- cross-sections of small objects ------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class CrossSections:
    """Cross-sections of small round or tubular objects, one for each plane.

    Parameters
    ----------
    section : ndarray of int, shape (M,)
        Section each plane belongs to.
    y, x : ndarray, shape (M,)
        Centre in nm.
    dz : ndarray, shape (M,)
        Distance in nm of the plane from the centre.
    radius : ndarray, shape (M,)
        In nm.
    axis : ndarray, shape (M, 2)
        Direction (y, x) of elongation: 0 for round objects; the closer its length is to 1, the
        longer the object.
    """

    section: np.ndarray
    y: np.ndarray
    x: np.ndarray
    dz: np.ndarray
    radius: np.ndarray
    axis: np.ndarray

    def select(self, mask: np.ndarray) -> CrossSections:
        """Return the cross-sections for which a mask (M,) is true."""
        return CrossSections(*(getattr(self, field.name)[mask] for field in fields(self)))


def draw_cross_sections(
    stain: np.ndarray, frame: Frame, objects: CrossSections, profile: Profile
) -> None:
    """Draw small objects into the sections that cut them.

    Parameters
    ----------
    stain : ndarray of float32, shape (Z, Y, X)
        Added to, in place.
    frame : Frame
        Geometry of the image.
    objects : CrossSections
        Objects to draw.
    profile : callable
        Stain as a function of the distance from the centre and of the radius, in nm.
    """
    if not len(objects.section):
        return
    row, column = frame.to_pixels(objects.section, objects.y, objects.x)
    reach = objects.radius.max() * (2 if objects.axis.any() else 1) + frame.pixel_nm + 4
    half = int(reach / min(frame.voxel_size[1:]))
    rows = np.rint(row).astype(np.intp)[:, None] + np.arange(-half, half + 1)
    columns = np.rint(column).astype(np.intp)[:, None] + np.arange(-half, half + 1)
    dy = _expand((rows - row[:, None]) * frame.voxel_size[1], -1)
    dx = _expand((columns - column[:, None]) * frame.voxel_size[2], 1)
    square = dy * dy + dx * dx + _expand(objects.dz * objects.dz)
    if objects.axis.any():
        lengthwise = dy * _expand(objects.axis[:, 0]) + dx * _expand(objects.axis[:, 1])
        square = np.maximum(square - lengthwise * lengthwise, 0)
    value = profile(np.sqrt(square), _expand(objects.radius))
    inside = ((rows >= 0) & (rows < frame.shape[1]))[:, :, None]
    inside = inside & ((columns >= 0) & (columns < frame.shape[2]))[:, None, :] & (value != 0)
    row_start = (objects.section[:, None] * frame.shape[1] + rows) * frame.shape[2]
    voxel = row_start[:, :, None] + columns[:, None, :]
    np.add.at(stain.reshape(-1), voxel[inside], value[inside] / np.float32(frame.subplanes))


def _expand(values: np.ndarray, *axes: int) -> np.ndarray:
    """Return float32 values with axes of length 1, to broadcast with (M, rows, columns)."""
    return np.expand_dims(values.astype(np.float32), axes or (1, 2))


def _shell_profile(
    distance: np.ndarray, radius: np.ndarray | float, half_nm: float, pixel_nm: float
) -> np.ndarray:
    """Return how much of a pixel at a distance from the centre a thin shell occupies."""
    half = np.float32(half_nm + 0.5 * pixel_nm)
    return np.clip(1 - np.abs(distance - radius) / half, 0, 1) * np.float32(half_nm / half + 0.15)


# --- vesicles -----------------------------------------------------------------------------------


def draw_vesicles(
    rng: np.random.Generator,
    stain: np.ndarray,
    frame: Frame,
    tissue: Tissue,
    synapses: list[Synapse],
) -> None:
    """Draw clear vesicles in a cloud behind each density, and some dense-core vesicles.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    stain : ndarray of float32, shape (Z, Y, X)
        Added to, in place.
    frame : Frame
        Geometry of the image.
    tissue : Tissue
        Neurites.
    synapses : list of Synapse
        Densities, already drawn.
    """
    clouds = [_sample_cloud(rng, stain, frame, tissue, synapse) for synapse in synapses]
    clouds.append(_sample_cytoplasm(rng, frame, tissue))
    centres = np.concatenate(clouds)
    n = len(centres)
    isolated = np.arange(n) >= n - len(clouds[-1])
    dense = rng.random(n) < np.where(isolated, 0.35, 0.06)
    radius = np.where(dense, 22 + 3 * draw_normal(rng, n), 17.5 + 1.3 * draw_normal(rng, n))
    pixel = frame.pixel_nm

    def clear_profile(distance, r):
        lumen = np.clip((r - 2 - distance) / 6, 0, 1)
        return 0.85 * _shell_profile(distance, r - 3, 4.0, pixel) - 0.16 * lumen

    def dense_core_profile(distance, r):
        core = np.clip((0.68 * r - distance) / 5, 0, 1)
        return 0.75 * core + 0.35 * _shell_profile(distance, r - 3, 3.5, pixel)

    for kind, profile in ((~dense, clear_profile), (dense, dense_core_profile)):
        spheres = _cut_spheres(frame, centres[kind], radius[kind])
        draw_cross_sections(stain, frame, spheres, profile)


def _sample_cloud(
    rng: np.random.Generator, stain: np.ndarray, frame: Frame, tissue: Tissue, synapse: Synapse
) -> np.ndarray:
    """Sample centres (M, 3), (z, y, x) in nm, of vesicles that do not overlap near a density."""
    thickness = frame.voxel_size[0]
    y, x = synapse.track[synapse.section]
    reach = int(0.8 * CLOUD_RADIUS_NM / thickness)
    found = []
    first, last = synapse.section - reach, synapse.section + reach
    for z in range(max(first, 0), min(last + 1, frame.shape[0])):
        index, dy, dx = frame.window(z, y, x, CLOUD_RADIUS_NM)
        free = (tissue.labels[index] == synapse.pre_id) & (tissue.depth[index] > 26)
        i, j = np.nonzero(free & (stain[index] < 0.1))
        found.append(np.stack([np.full(len(i), z * thickness), y + dy[i, 0], x + dx[0, j]], axis=1))
    free = np.concatenate(found)
    if not len(free):
        return free
    points = free[(rng.random(CLOUD_CANDIDATES) * len(free)).astype(np.intp)]
    points = points + (rng.random((CLOUD_CANDIDATES, 3)) - 0.5) * frame.voxel_size
    offset = points - (synapse.z_nm, y, x)
    distance = np.sqrt((offset * offset).sum(axis=1))
    order = np.argsort(distance * (0.5 + rng.random(CLOUD_CANDIDATES)), kind="stable")
    return _space_apart(points[order], VESICLE_SPACING_NM)[: int(25 + 50 * rng.random())]


def _space_apart(points: np.ndarray, spacing_nm: float) -> np.ndarray:
    """Keep, in order, the points (M, 3) that are not close to one kept before."""
    z, y, x = ((axis[:, None] - axis) ** 2 for axis in points.T)
    close = z + y + x < spacing_nm * spacing_nm
    kept: list[int] = []
    for i in range(len(points)):
        if not close[i, kept].any():
            kept.append(i)
    return points[kept]


def _sample_cytoplasm(rng: np.random.Generator, frame: Frame, tissue: Tissue) -> np.ndarray:
    """Sample centres (M, 3), (z, y, x) in nm, of isolated vesicles in the cytoplasm."""
    count = int(VESICLES_PER_UM3 * frame.volume_um3) + 1
    z, row, column = ((rng.random(count) * n).astype(np.intp) for n in frame.shape)
    inside = tissue.depth[z, row, column] > 30
    y, x = frame.to_tissue(z, row, column)
    return np.stack([z * frame.voxel_size[0], y, x], axis=1)[inside]


def _cut_spheres(frame: Frame, centres: np.ndarray, radius: np.ndarray) -> CrossSections:
    """Return every plane that cuts spheres with centres (M, 3), (z, y, x) in nm."""
    z, y, x = centres.T
    planes = frame.subplanes
    step = frame.voxel_size[0] / planes
    # The middle plane of section 0 is at z = 0, with planes // 2 planes before it.
    level = z / step + planes // 2
    half = int((radius.max(initial=0) + 4) / step) + 1
    plane = np.rint(level).astype(np.intp)[:, None] + np.arange(-half, half + 1)
    dz = (plane - level[:, None]) * step
    cut = (np.abs(dz) < radius[:, None] + 4) & (plane >= 0) & (plane < planes * frame.shape[0])
    which = np.nonzero(cut)[0]
    return CrossSections(
        section=plane[cut] // planes,
        y=y[which],
        x=x[which],
        dz=dz[cut],
        radius=radius[which],
        axis=np.zeros((len(which), 2)),
    )


# --- microtubules and cisternae -----------------------------------------------------------------


def draw_tubules(
    rng: np.random.Generator, stain: np.ndarray, frame: Frame, tissue: Tissue, strands: Strands
) -> None:
    """Draw microtubules and flat cisternae of smooth endoplasmic reticulum along the neurites.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    stain : ndarray of float32, shape (Z, Y, X)
        Added to, in place.
    frame : Frame
        Geometry of the image.
    tissue : Tissue
        Neurites.
    strands : Strands
        Strands of the neurites.
    """
    pixel = frame.pixel_nm
    calibre = strands.calibre

    def microtubule_profile(distance, r):
        return 0.5 * _shell_profile(distance, r - 4, 4.0, pixel)

    def cisterna_profile(distance, r):
        lumen = np.clip((r - 5 - distance) / 4, 0, 1)
        return 0.42 * _shell_profile(distance, r - 2, 3.5, pixel) - 0.08 * lumen

    microtubules = np.rint(calibre / 22 * (0.5 + rng.random(len(calibre))))
    microtubules = np.clip(microtubules, 1, 40).astype(int)
    cisternae = ((calibre > 75) & (rng.random(len(calibre)) < 0.6)).astype(int)
    for count, radius, flatness, profile in (
        (microtubules, 12.0, 0.0, microtubule_profile),
        (cisternae, 17.0, 0.86, cisterna_profile),
    ):
        which = np.repeat(np.arange(len(count)), count)
        tubules = _cut_tubules(rng, frame, strands, which, radius, flatness)
        clearance = radius / np.sqrt(1 - flatness * flatness) + 6
        free = _in_cytoplasm(stain, frame, tissue, tubules, clearance)
        draw_cross_sections(stain, frame, tubules.select(free), profile)


def _cut_tubules(
    rng: np.random.Generator,
    frame: Frame,
    strands: Strands,
    which: np.ndarray,
    radius_nm: float,
    flatness: float,
) -> CrossSections:
    """Return cross-sections of tubules along the strands ``which``, slightly curved and twisted."""
    z = frame.plane_heights(np.arange(frame.shape[0])).ravel()
    n = len(which)
    centres, radius, _ = strands.interpolate(z)
    # Position in the profile of the strand, as a fraction of its radius.
    position = 1.3 * (rng.random((n, 2)) - 0.5) + 0.06 * draw_smooth_curves(rng, z, 200.0, n, 2)
    centres = centres[:, which] + position * np.maximum(radius[:, which], 0)[..., None]
    y, x = frame.wrap(centres, strands.period).reshape(-1, 2).T
    axis = draw_smooth_curves(rng, z, 250.0, n, 2) + draw_normal(rng, n, 2)
    axis *= flatness / np.sqrt((axis * axis).sum(axis=-1, keepdims=True) + 1e-6)
    return CrossSections(
        section=np.repeat(np.arange(frame.shape[0]), frame.subplanes * n),
        y=y,
        x=x,
        dz=np.zeros_like(y),
        radius=np.full_like(y, radius_nm),
        axis=axis.reshape(-1, 2),
    )


def _in_cytoplasm(
    stain: np.ndarray,
    frame: Frame,
    tissue: Tissue,
    objects: CrossSections,
    clearance_nm: float,
) -> np.ndarray:
    """Return a mask of objects inside the image, clear of membranes and other organelles."""
    position = frame.to_pixels(objects.section, objects.y, objects.x)
    row, column = (np.rint(v).astype(np.intp) for v in position)
    free = (row >= 0) & (row < frame.shape[1]) & (column >= 0) & (column < frame.shape[2])
    voxel = (objects.section[free], row[free], column[free])
    free[free] = (tissue.depth[voxel] > clearance_nm) & (stain[voxel] < 0.12)
    return free


# --- mitochondria -------------------------------------------------------------------------------


def draw_mitochondria(
    rng: np.random.Generator,
    stain: np.ndarray,
    frame: Frame,
    tissue: Tissue,
    strands: Strands,
    params: PhantomParams,
) -> None:
    """Draw mitochondria along sufficiently wide neurites.

    They are dark, with a double membrane and pale cristae, and do not touch the membrane of the
    neurite.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    stain : ndarray of float32, shape (Z, Y, X)
        Added to, in place.
    frame : Frame
        Geometry of the image.
    tissue : Tissue
        Neurites.
    strands : Strands
        Strands of the neurites.
    params : PhantomParams
        Probability of mitochondria.
    """
    depth_nm = frame.shape[0] * frame.voxel_size[0]
    calibre = strands.calibre
    noise = SmoothNoise(rng, frame, 60.0).sections(0, frame.shape[0])
    chosen = rng.random(len(calibre)) < params.mitochondria_per_um * (0.5 + depth_nm / 1000)
    for i in np.flatnonzero((calibre > 95) & chosen):
        length, width, position, *tilt = rng.random(5)
        half_length = 200 + 500 * length
        z_nm = -0.5 * half_length + position * (depth_nm + half_length)
        radius = min(calibre[i] * (0.6 + 0.25 * width), 180.0)
        first = max(int((z_nm - half_length) / frame.voxel_size[0]), 0)
        last = min(int((z_nm + half_length) / frame.voxel_size[0]) + 1, frame.shape[0])
        heights = np.arange(first, last) * frame.voxel_size[0]
        centres = frame.wrap(strands.interpolate(heights)[0][:, i], strands.period)
        for z, height, centre in zip(range(first, last), heights, centres, strict=True):
            along = (height - z_nm) / half_length
            half_width = radius * np.sqrt(max(1 - along * along * along * along, 0.0))
            _draw_mitochondrion(
                stain, noise, frame, tissue, z, centre, half_width, np.array(tilt) - 0.5
            )


def _draw_mitochondrion(
    stain: np.ndarray,
    noise: np.ndarray,
    frame: Frame,
    tissue: Tissue,
    z: int,
    centre: np.ndarray,
    half_width: float,
    tilt: np.ndarray,
) -> None:
    """Draw one section of a mitochondrion: an ellipse around (y, x) in nm, flattened by a tilt."""
    row, column = (int(np.rint(v)) for v in frame.to_pixels(z, *centre))
    if not (0 <= row < frame.shape[1] and 0 <= column < frame.shape[2]):
        return
    y, x = centre
    index, dy, dx = frame.window(z, y, x, 1.3 * half_width)
    skew = tilt[0] * dy + tilt[1] * dx
    inside = half_width - np.sqrt(dy * dy + dx * dx + 3 * skew * skew) + 9 * noise[index]
    inside = np.minimum(inside, tissue.depth[index] - 20)
    inside = np.where(tissue.labels[index] == tissue.labels[z, row, column], inside, -1)

    length = np.sqrt(tilt[0] * tilt[0] + tilt[1] * tilt[1]) + 1e-3
    across, beside = skew / length, (tilt[1] * dy - tilt[0] * dx) / length
    height = z * frame.voxel_size[0]
    bend = beside / 260 + height / 400
    phase = across / 41 + 0.9 * np.abs(bend - np.rint(bend)) + height / 300 + 0.55 * noise[index]
    crista = np.clip(1 - 3.6 * np.abs(phase - np.rint(phase)), 0, 1)
    crista *= np.clip((inside - 12) / 8, 0, 1)
    envelope = _shell_profile(inside, 4, 5.0, frame.pixel_nm)
    stain[index] += 0.34 * np.clip(inside / 6, 0, 1) + 0.22 * envelope - 0.2 * crista
