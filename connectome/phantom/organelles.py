"""What the phantom's neurites contain: mitochondria, synapses, vesicles, microtubules, cisternae.

Everything is added to one array, ``ink``: how much darker than cytoplasm a voxel's projection is.
As in `phantom_tissue`, only exactly rounded arithmetic touches a voxel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from connectome.phantom.tissue import (
    Frame,
    PhantomParams,
    SmoothNoise,
    Strands,
    Tissue,
    draw_normal,
    draw_smooth_curves,
)

CONTACT_REACH_NM = 100.0  # neurites facing a density this near are its partners
MIN_PARTNER_SHARE = 0.15  # of the membrane facing a density, to count as postsynaptic
MAX_PARTNERS = 3
SYNAPSE_SPACING_NM = 280.0
TERMINAL_DEPTH_NM = 62.0  # how far from its membrane a presynaptic neurite must reach
FOOT_DEPTH_NM = 25.0  # a density stands no farther than this from the membrane's middle
CLOUD_NM = 230.0  # radius of the vesicle cloud
VESICLE_SPACING_NM = 37.0


@dataclass(frozen=True, eq=False)
class Synapse:
    """A presynaptic density and the neurites that meet at it.

    Parameters
    ----------
    pre : int
        Id of the presynaptic neurite.
    posts : tuple of int
        Ids of the postsynaptic neurites, most contact first.
    track : dict
        Section → tissue coordinates (y, x) in nm of the density's foot on the membrane.
    section : int
        The middle one.
    z_nm, half_length_nm : float
        Middle and half extent of the density along z.
    half_width_nm, height_nm : float
        Half extent along the membrane, and into the presynaptic neurite.
    """

    pre: int
    posts: tuple[int, ...]
    track: dict[int, tuple[float, float]]
    section: int
    z_nm: float
    half_length_nm: float
    half_width_nm: float
    height_nm: float


# --- Synapses -----------------------------------------------------------------------------------


def place_synapses(
    rng: np.random.Generator, frame: Frame, tissue: Tissue, params: PhantomParams
) -> list[Synapse]:
    """Choose where neurites in contact form synapses.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    frame : Frame
        Where each imaged pixel lies.
    tissue : Tissue
        Neurites.
    params : PhantomParams
        Number of synapses per µm³.

    Returns
    -------
    list of Synapse
        Fewer than asked where the tissue offers too few terminals wide enough.
    """
    wanted = int(np.rint(frame.volume_um3 * params.synapses_per_um3))
    placed: list[Synapse] = []
    feet: list[np.ndarray] = []
    for z, row, col, pre in _contact_sites(rng, tissue, 150 * wanted):
        if len(placed) == wanted:
            break
        foot = np.array([z * frame.voxel_size[0], *frame.position(z, row, col)])
        away = np.array(feet).reshape(-1, 3) - foot
        crowded = ((away * away).sum(axis=1) < SYNAPSE_SPACING_NM * SYNAPSE_SPACING_NM).any()
        if crowded or not _is_terminal(frame, tissue, z, *foot[1:], pre):
            continue
        sociable, length, width, height = rng.random(4)
        half_length = 40 + 45 * length
        track = _follow_membrane(frame, tissue, z, tuple(foot[1:]), pre, half_length)
        posts = _find_partners(frame, tissue.labels, track, pre)
        # Most synapses of the worm are polyadic: a single partner is accepted now and then.
        if len(track) < 2 or len(posts) < (2 if sociable > 0.3 else 1):
            continue
        feet.append(foot)
        placed.append(
            Synapse(pre, posts, track, z, foot[0], half_length, 38 + 22 * width, 45 + 25 * height)
        )
    return placed


def _contact_sites(rng, tissue: Tissue, count: int):
    """Yield (section, row, column, id) of random voxels at which their neurite touches another."""
    labels = tissue.labels
    edge = np.zeros(labels.shape, bool)
    for axis in (1, 2):
        along = np.moveaxis(labels, axis, 0)
        touching = along[1:] != along[:-1]
        np.moveaxis(edge, axis, 0)[1:] |= touching
        np.moveaxis(edge, axis, 0)[:-1] |= touching
    found = np.flatnonzero(edge & (tissue.depth < FOOT_DEPTH_NM))
    chosen = found[(rng.random(count if len(found) else 0) * len(found)).astype(np.intp)]
    for site in zip(*np.unravel_index(chosen, labels.shape), strict=True):
        yield *(int(v) for v in site), int(labels[site])


def _is_terminal(frame: Frame, tissue: Tissue, z: int, y: float, x: float, pre: int) -> bool:
    """Tell whether the presynaptic neurite is wide enough here to hold a vesicle cloud."""
    reach = 1.6 * TERMINAL_DEPTH_NM
    index, dy, dx = frame.window(z, y, x, reach)
    inside = (tissue.labels[index] == pre) & (dy * dy + dx * dx < reach * reach)
    return bool((tissue.depth[index][inside] > TERMINAL_DEPTH_NM).any())


def _follow_membrane(frame, tissue, z, foot, pre, half_length_nm) -> dict:
    """Follow the presynaptic membrane from a foot up and down, as it slants."""
    track = {z: foot}
    reach = int(half_length_nm / frame.voxel_size[0])
    for direction in (1, -1):
        y, x = foot
        for section in range(z + direction, z + direction * (reach + 1), direction):
            if not 0 <= section < frame.shape[0]:
                break
            index, dy, dx = frame.window(section, y, x, 60.0)
            rim = (tissue.labels[index] == pre) & (tissue.depth[index] < 5 + 0.5 * frame.pixel_nm)
            if not rim.any():
                break
            away = np.where(rim, dy * dy + dx * dx, np.inf)
            i, j = np.unravel_index(np.argmin(away), away.shape)
            y, x = y + float(dy[i, 0]), x + float(dx[0, j])
            track[section] = (y, x)
    return track


def _find_partners(frame: Frame, labels: np.ndarray, track: dict, pre: int) -> tuple[int, ...]:
    """Return the neurites that face the density, by the area of membrane they share with it."""
    facing = []
    for z, (y, x) in track.items():
        index, dy, dx = frame.window(z, y, x, CONTACT_REACH_NM)
        here = labels[index]
        near = dy * dy + dx * dx < CONTACT_REACH_NM * CONTACT_REACH_NM
        for a, b, both in (
            (here[1:], here[:-1], near[1:] & near[:-1]),
            (here[:, 1:], here[:, :-1], near[:, 1:] & near[:, :-1]),
        ):
            facing += [b[both & (a == pre) & (b != pre)], a[both & (b == pre) & (a != pre)]]
    ids, contact = np.unique(np.concatenate(facing), return_counts=True)
    order = np.argsort(-contact, kind="stable")[:MAX_PARTNERS]
    return tuple(int(ids[i]) for i in order if contact[i] >= MIN_PARTNER_SHARE * contact.sum())


def draw_density(
    ink: np.ndarray, frame: Frame, tissue: Tissue, synapse: Synapse
) -> tuple[np.ndarray, int]:
    """Draw a presynaptic density: a dark dome that stands on the membrane.

    Returns
    -------
    centroid : ndarray, shape (3,)
        (z, y, x) in voxels as imaged.
    n_sections : int
        Sections it is seen in.
    """
    dark = []
    width, half_length = synapse.half_width_nm, synapse.half_length_nm + frame.voxel_size[0] / 2
    for z, (y, x) in synapse.track.items():
        index, dy, dx = frame.window(z, y, x, width)
        along = (z * frame.voxel_size[0] - synapse.z_nm) / half_length
        spread = (dy * dy + dx * dx) / (width * width) + along * along
        depth = tissue.depth[index]
        dome = np.clip((synapse.height_nm * (1 - spread) - depth) / 8, 0, 1)
        dome *= tissue.labels[index] == synapse.pre
        cleft = np.clip((12 - depth) / 8, 0, 1) * np.clip(2 - 2 * spread, 0, 1)
        ink[index] += 0.55 * dome + 0.2 * cleft
        rows, cols = np.nonzero(dome > 0.5)
        sections = np.full(len(rows), z)
        dark.append(np.stack([sections, rows + index[1].start, cols + index[2].start], axis=1))
    voxels = np.concatenate(dark)
    return voxels.sum(axis=0) / len(voxels), len(np.unique(voxels[:, 0]))


@dataclass(frozen=True, eq=False)
class CrossSections:
    """Planes through small round or tubular things.

    Parameters
    ----------
    section : ndarray of int, shape (M,)
        Section each plane is part of.
    y, x : ndarray, shape (M,)
        Centre in nm.
    dz : ndarray, shape (M,)
        Distance in nm of the plane from the centre.
    radius : ndarray, shape (M,)
        In nm.
    axis : ndarray, shape (M, 2)
        Direction (y, x) in which the thing is drawn out: zero for round ones, and the nearer
        its length to 1, the longer the thing.
    """

    section: np.ndarray
    y: np.ndarray
    x: np.ndarray
    dz: np.ndarray
    radius: np.ndarray
    axis: np.ndarray

    def chosen(self, mask: np.ndarray) -> CrossSections:
        """Return some of the cuts."""
        return CrossSections(*(getattr(self, field.name)[mask] for field in fields(self)))


# --- Round and tubular things -------------------------------------------------------------------


def draw_cross_sections(
    ink: np.ndarray, frame: Frame, cuts: CrossSections, profile: Callable
) -> None:
    """Add the cross-sections of small things to the sections they are cut by.

    Parameters
    ----------
    ink : ndarray of float32, shape (Z, Y, X)
        Added to, in place.
    frame : Frame
        Where each pixel lies.
    cuts : Cuts
        What to draw.
    profile : callable
        Ink as a function of the distance from the centre and of the radius, in nm.
    """
    if not len(cuts.section):
        return
    row, col = frame.row_col(cuts.section, cuts.y, cuts.x)
    reach = cuts.radius.max() * (2 if cuts.axis.any() else 1) + frame.pixel_nm + 4
    half = int(reach / min(frame.voxel_size[1:]))
    rows = np.rint(row).astype(np.intp)[:, None] + np.arange(-half, half + 1)
    cols = np.rint(col).astype(np.intp)[:, None] + np.arange(-half, half + 1)
    dy = _column((rows - row[:, None]) * frame.voxel_size[1], -1)
    dx = _column((cols - col[:, None]) * frame.voxel_size[2], 1)
    square = dy * dy + dx * dx + _column(cuts.dz * cuts.dz)
    if cuts.axis.any():
        lengthwise = dy * _column(cuts.axis[:, 0]) + dx * _column(cuts.axis[:, 1])
        square = np.maximum(square - lengthwise * lengthwise, 0)
    value = profile(np.sqrt(square), _column(cuts.radius))
    inside = ((rows >= 0) & (rows < frame.shape[1]))[:, :, None]
    inside = inside & ((cols >= 0) & (cols < frame.shape[2]))[:, None, :] & (value != 0)
    first_in_row = (cuts.section[:, None] * frame.shape[1] + rows) * frame.shape[2]
    voxel = first_in_row[:, :, None] + cols[:, None, :]
    np.add.at(ink.reshape(-1), voxel[inside], value[inside] / np.float32(frame.subplanes))


def _column(values: np.ndarray, *axes: int) -> np.ndarray:
    """Return float32 values with length-1 axes, to meet (M, rows, columns)."""
    return np.expand_dims(values.astype(np.float32), axes or (1, 2))


def shell_profile(distance, radius, half_nm: float, pixel_nm: float):
    """Return how much of a thin shell a pixel at some distance from its centre holds."""
    half = np.float32(half_nm + 0.5 * pixel_nm)
    return np.clip(1 - np.abs(distance - radius) / half, 0, 1) * np.float32(half_nm / half + 0.15)


def draw_vesicles(rng, ink: np.ndarray, frame: Frame, tissue: Tissue, synapses) -> None:
    """Draw clear vesicles in a cloud behind each density, dense-core ones here and there."""
    clouds = [_sample_cloud(rng, ink, frame, tissue, s) for s in synapses]
    clouds.append(_sample_scattered(rng, frame, tissue))
    places = np.concatenate(clouds)
    n = len(places)
    lone = np.arange(n) >= n - len(clouds[-1])
    dense = rng.random(n) < np.where(lone, 0.35, 0.06)
    radius = np.where(dense, 22 + 3 * draw_normal(rng, n), 17.5 + 1.3 * draw_normal(rng, n))
    pixel = frame.pixel_nm

    def clear(distance, r):
        lumen = np.clip((r - 2 - distance) / 6, 0, 1)
        return 0.85 * shell_profile(distance, r - 3, 4.0, pixel) - 0.16 * lumen

    def dense_core(distance, r):
        core = np.clip((0.68 * r - distance) / 5, 0, 1)
        return 0.75 * core + 0.35 * shell_profile(distance, r - 3, 3.5, pixel)

    for kind, profile in ((~dense, clear), (dense, dense_core)):
        draw_cross_sections(ink, frame, _cut_spheres(frame, places[kind], radius[kind]), profile)


def _sample_cloud(rng, ink, frame: Frame, tissue: Tissue, synapse: Synapse) -> np.ndarray:
    """Choose places (M, 3), (z, y, x) in nm, near a density for vesicles that do not overlap."""
    thickness = frame.voxel_size[0]
    y, x = synapse.track[synapse.section]
    reach = int(0.8 * CLOUD_NM / thickness)
    found = []
    first, last = synapse.section - reach, synapse.section + reach
    for z in range(max(first, 0), min(last + 1, frame.shape[0])):
        index, dy, dx = frame.window(z, y, x, CLOUD_NM)
        free = (tissue.labels[index] == synapse.pre) & (tissue.depth[index] > 26)
        i, j = np.nonzero(free & (ink[index] < 0.1))
        found.append(np.stack([np.full(len(i), z * thickness), y + dy[i, 0], x + dx[0, j]], axis=1))
    free = np.concatenate(found)
    if not len(free):
        return free
    pick = free[(rng.random(600) * len(free)).astype(np.intp)]
    pick = pick + (rng.random((600, 3)) - 0.5) * frame.voxel_size
    away = pick - (synapse.z_nm, y, x)
    distance = np.sqrt((away * away).sum(axis=1))
    crowd = pick[np.argsort(distance * (0.5 + rng.random(600)), kind="stable")]
    return _space_apart(crowd, VESICLE_SPACING_NM)[: int(25 + 50 * rng.random())]


def _space_apart(places: np.ndarray, spacing_nm: float) -> np.ndarray:
    """Keep, in order, the places that are clear of all kept before them."""
    z, y, x = ((axis[:, None] - axis) ** 2 for axis in places.T)
    close = z + y + x < spacing_nm * spacing_nm
    kept: list[int] = []
    for i in range(len(places)):
        if not close[i, kept].any():
            kept.append(i)
    return places[kept]


def _sample_scattered(rng, frame: Frame, tissue: Tissue) -> np.ndarray:
    """Choose places (M, 3) in nm for lone vesicles anywhere in the cytoplasm."""
    count = int(60 * frame.volume_um3) + 1
    z, row, col = ((rng.random(count) * n).astype(np.intp) for n in frame.shape)
    inside = tissue.depth[z, row, col] > 30
    y, x = frame.position(z, row, col)
    return np.stack([z * frame.voxel_size[0], y, x], axis=1)[inside]


def _cut_spheres(frame: Frame, places: np.ndarray, radius: np.ndarray) -> CrossSections:
    """Return every plane that cuts some spheres at places (M, 3), (z, y, x) in nm."""
    z, y, x = places.T
    planes = frame.subplanes
    step = frame.voxel_size[0] / planes
    # The middle plane of section 0 is at z = 0, with planes // 2 planes before it.
    level = z / step + planes // 2
    half = int((radius.max(initial=0) + 4) / step) + 1
    plane = np.rint(level).astype(np.intp)[:, None] + np.arange(-half, half + 1)
    dz = (plane - level[:, None]) * step
    cut = (np.abs(dz) < radius[:, None] + 4) & (plane >= 0) & (plane < planes * frame.shape[0])
    which = np.nonzero(cut)[0]
    section = plane[cut] // planes
    return CrossSections(
        section, y[which], x[which], dz[cut], radius[which], np.zeros((len(which), 2))
    )


def draw_tubules(rng, ink: np.ndarray, frame: Frame, tissue: Tissue, strands: Strands) -> None:
    """Draw microtubules and flat cisternae of smooth endoplasmic reticulum along the neurites."""
    pixel = frame.pixel_nm
    calibre = np.maximum(strands.radius, 0).mean(axis=0)

    def microtubule(distance, r):
        return 0.5 * shell_profile(distance, r - 4, 4.0, pixel)

    def cisterna(distance, r):
        lumen = np.clip((r - 5 - distance) / 4, 0, 1)
        return 0.42 * shell_profile(distance, r - 2, 3.5, pixel) - 0.08 * lumen

    many = np.clip(np.rint(calibre / 22 * (0.5 + rng.random(len(calibre)))), 1, 40).astype(int)
    some = ((calibre > 75) & (rng.random(len(calibre)) < 0.6)).astype(int)
    for count, radius, flat, profile in (
        (many, 12.0, 0.0, microtubule),
        (some, 17.0, 0.86, cisterna),
    ):
        cuts = _cut_tubules(
            rng, frame, strands, np.repeat(np.arange(len(count)), count), radius, flat
        )
        room = radius / np.sqrt(1 - flat * flat) + 6
        draw_cross_sections(
            ink, frame, cuts.chosen(_in_cytoplasm(ink, frame, tissue, cuts, room)), profile
        )


def _cut_tubules(
    rng, frame: Frame, strands: Strands, which, radius_nm: float, flat: float
) -> CrossSections:
    """Let tubules run with the strands ``which``, wandering and turning a little."""
    z = frame.subplane_z(np.arange(frame.shape[0])).ravel()
    n = len(which)
    place, radius, _ = strands.at(z)
    # Where in the strand's profile, as a share of its radius.
    seat = 1.3 * (rng.random((n, 2)) - 0.5) + 0.06 * draw_smooth_curves(rng, z, 200.0, n, 2)
    place = place[:, which] + seat * np.maximum(radius[:, which], 0)[..., None]
    y, x = frame.wrap(place, strands.period).reshape(-1, 2).T
    turn = draw_smooth_curves(rng, z, 250.0, n, 2) + draw_normal(rng, n, 2)
    turn *= flat / np.sqrt((turn * turn).sum(axis=-1, keepdims=True) + 1e-6)
    section = np.repeat(np.arange(frame.shape[0]), frame.subplanes * n)
    return CrossSections(
        section, y, x, np.zeros_like(y), np.full_like(y, radius_nm), turn.reshape(-1, 2)
    )


def _in_cytoplasm(
    ink, frame: Frame, tissue: Tissue, cuts: CrossSections, room_nm: float
) -> np.ndarray:
    """Tell which cuts have room: in the image, off the membrane, where nothing else is drawn."""
    row, col = (np.rint(v).astype(np.intp) for v in frame.row_col(cuts.section, cuts.y, cuts.x))
    free = (row >= 0) & (row < frame.shape[1]) & (col >= 0) & (col < frame.shape[2])
    voxel = (cuts.section[free], row[free], col[free])
    free[free] = (tissue.depth[voxel] > room_nm) & (ink[voxel] < 0.12)
    return free


# --- Mitochondria -------------------------------------------------------------------------------


def draw_mitochondria(
    rng, ink: np.ndarray, frame: Frame, tissue: Tissue, strands: Strands, params: PhantomParams
) -> None:
    """Draw mitochondria along neurites wide enough to hold them.

    They are dark, with a double membrane and pale cristae, and keep clear of the neurite's
    own membrane.
    """
    depth_nm = frame.shape[0] * frame.voxel_size[0]
    calibre = np.maximum(strands.radius, 0).mean(axis=0)
    wobble = SmoothNoise(rng, frame, 60.0).sections(0, frame.shape[0])
    lucky = rng.random(len(calibre)) < params.mitochondria_per_um * (0.5 + depth_nm / 1000)
    for i in np.flatnonzero((calibre > 95) & lucky):
        length, width, where, *tilt = rng.random(5)
        half_length = 200 + 500 * length
        z_nm = -0.5 * half_length + where * (depth_nm + half_length)
        radius = min(calibre[i] * (0.6 + 0.25 * width), 180.0)
        first = max(int((z_nm - half_length) / frame.voxel_size[0]), 0)
        last = min(int((z_nm + half_length) / frame.voxel_size[0]) + 1, frame.shape[0])
        heights = np.arange(first, last) * frame.voxel_size[0]
        places = frame.wrap(strands.at(heights)[0][:, i], strands.period)
        for z, height, place in zip(range(first, last), heights, places, strict=True):
            along = (height - z_nm) / half_length
            half_width = radius * np.sqrt(max(1 - along * along * along * along, 0.0))
            _draw_profile(ink, wobble, frame, tissue, z, place, half_width, np.array(tilt) - 0.5)


def _draw_profile(ink, wobble, frame, tissue, z, place, half_width, tilt) -> None:
    """Draw a mitochondrion as one section shows it: an ellipse, flattened along ``tilt``."""
    row, col = (int(np.rint(v)) for v in frame.row_col(z, *place))
    if not (0 <= row < frame.shape[1] and 0 <= col < frame.shape[2]):
        return
    index, dy, dx = frame.window(z, *place, 1.3 * half_width)
    skew = tilt[0] * dy + tilt[1] * dx
    inside = half_width - np.sqrt(dy * dy + dx * dx + 3 * skew * skew) + 9 * wobble[index]
    inside = np.minimum(inside, tissue.depth[index] - 20)
    inside = np.where(tissue.labels[index] == tissue.labels[z, row, col], inside, -1)

    length = np.sqrt(tilt[0] * tilt[0] + tilt[1] * tilt[1]) + 1e-3
    across, beside = skew / length, (tilt[1] * dy - tilt[0] * dx) / length
    height = z * frame.voxel_size[0]
    bend = beside / 260 + height / 400
    phase = across / 41 + 0.9 * np.abs(bend - np.rint(bend)) + height / 300 + 0.55 * wobble[index]
    crista = np.clip(1 - 3.6 * np.abs(phase - np.rint(phase)), 0, 1)
    crista *= np.clip((inside - 12) / 8, 0, 1)
    envelope = shell_profile(inside, 4, 5.0, frame.pixel_nm)
    ink[index] += 0.34 * np.clip(inside / 6, 0, 1) + 0.22 * envelope - 0.2 * crista
