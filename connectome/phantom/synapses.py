"""Synapses of the phantom: presynaptic densities and the neurites in contact with them.

Everything inside neurites is added to one array, ``stain``: the darkness of a voxel's projection
relative to cytoplasm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from connectome.phantom.params import Frame, PhantomParams
from connectome.phantom.tissue import Tissue

Track = dict[int, tuple[float, float]]

CONTACT_REACH_NM = 100.0  # neurites facing a density within this distance are its partners
MIN_PARTNER_SHARE = 0.15  # of the membrane facing a density, to count as postsynaptic
MAX_PARTNERS = 3
SYNAPSE_SPACING_NM = 280.0
TERMINAL_DEPTH_NM = 62.0  # minimum distance from the membrane inside a presynaptic neurite
FOOT_DEPTH_NM = 25.0  # maximum distance of a density from the midline of the membrane


@dataclass(frozen=True, eq=False)
class Synapse:
    """A presynaptic density and the neurites in contact with it.

    Parameters
    ----------
    pre_id : int
        Id of the presynaptic neurite.
    post_ids : tuple of int
        Ids of the postsynaptic neurites, largest contact first.
    track : dict
        For each section, tissue coordinates (y, x) in nm of the foot of the density on the
        membrane.
    section : int
        The middle section.
    z_nm, half_length_nm : float
        Middle and half extent of the density along z.
    half_width_nm, height_nm : float
        Half extent along the membrane, and extent into the presynaptic neurite.
    """

    pre_id: int
    post_ids: tuple[int, ...]
    track: Track
    section: int
    z_nm: float
    half_length_nm: float
    half_width_nm: float
    height_nm: float


def place_synapses(
    rng: np.random.Generator, frame: Frame, tissue: Tissue, params: PhantomParams
) -> list[Synapse]:
    """Place synapses at contacts between neurites.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    frame : Frame
        Geometry of the image.
    tissue : Tissue
        Neurites.
    params : PhantomParams
        Number of synapses per µm³.

    Returns
    -------
    list of Synapse
        Fewer than requested where the tissue has too few sufficiently wide terminals.
    """
    wanted = int(np.rint(frame.volume_um3 * params.synapses_per_um3))
    placed: list[Synapse] = []
    feet: list[np.ndarray] = []
    for z, row, column, pre_id in _sample_contacts(rng, tissue, 150 * wanted):
        if len(placed) == wanted:
            break
        y, x = frame.to_tissue(z, row, column)
        foot = np.array([z * frame.voxel_size[0], y, x])
        offset = np.array(feet).reshape(-1, 3) - foot
        crowded = ((offset * offset).sum(axis=1) < SYNAPSE_SPACING_NM * SYNAPSE_SPACING_NM).any()
        if crowded or not _is_terminal(frame, tissue, z, y, x, pre_id):
            continue
        polyadic, length, width, height = rng.random(4)
        half_length = 40 + 45 * length
        track = _follow_membrane(frame, tissue, z, (y, x), pre_id, half_length)
        post_ids = _find_partners(frame, tissue.labels, track, pre_id)
        # Most synapses of the worm are polyadic: a single partner is accepted only sometimes.
        if len(track) < 2 or len(post_ids) < (2 if polyadic > 0.3 else 1):
            continue
        feet.append(foot)
        placed.append(
            Synapse(
                pre_id=pre_id,
                post_ids=post_ids,
                track=track,
                section=z,
                z_nm=foot[0],
                half_length_nm=half_length,
                half_width_nm=38 + 22 * width,
                height_nm=45 + 25 * height,
            )
        )
    return placed


def draw_density(
    stain: np.ndarray, frame: Frame, tissue: Tissue, synapse: Synapse
) -> tuple[np.ndarray, int]:
    """Draw a presynaptic density: a dark dome on the membrane.

    Parameters
    ----------
    stain : ndarray of float32, shape (Z, Y, X)
        Added to, in place.
    frame : Frame
        Geometry of the image.
    tissue : Tissue
        Neurites.
    synapse : Synapse
        The density to draw.

    Returns
    -------
    centroid : ndarray, shape (3,)
        (z, y, x) in voxels as imaged.
    n_sections : int
        Number of sections that show it.
    """
    dark = []
    width, half_length = synapse.half_width_nm, synapse.half_length_nm + frame.voxel_size[0] / 2
    for z, (y, x) in synapse.track.items():
        index, dy, dx = frame.window(z, y, x, width)
        along = (z * frame.voxel_size[0] - synapse.z_nm) / half_length
        spread = (dy * dy + dx * dx) / (width * width) + along * along
        depth = tissue.depth[index]
        dome = np.clip((synapse.height_nm * (1 - spread) - depth) / 8, 0, 1)
        dome *= tissue.labels[index] == synapse.pre_id
        cleft = np.clip((12 - depth) / 8, 0, 1) * np.clip(2 - 2 * spread, 0, 1)
        stain[index] += 0.55 * dome + 0.2 * cleft
        rows, columns = np.nonzero(dome > 0.5)
        sections = np.full(len(rows), z)
        dark.append(np.stack([sections, rows + index[1].start, columns + index[2].start], axis=1))
    voxels = np.concatenate(dark)
    return voxels.sum(axis=0) / len(voxels), len(np.unique(voxels[:, 0]))


def _sample_contacts(
    rng: np.random.Generator, tissue: Tissue, count: int
) -> Iterator[tuple[int, int, int, int]]:
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
    for z, row, column in zip(*np.unravel_index(chosen, labels.shape), strict=True):
        yield int(z), int(row), int(column), int(labels[z, row, column])


def _is_terminal(frame: Frame, tissue: Tissue, z: int, y: float, x: float, pre_id: int) -> bool:
    """Return whether the presynaptic neurite is wide enough here for a vesicle cloud."""
    reach = 1.6 * TERMINAL_DEPTH_NM
    index, dy, dx = frame.window(z, y, x, reach)
    inside = (tissue.labels[index] == pre_id) & (dy * dy + dx * dx < reach * reach)
    return bool((tissue.depth[index][inside] > TERMINAL_DEPTH_NM).any())


def _follow_membrane(
    frame: Frame,
    tissue: Tissue,
    z: int,
    foot: tuple[float, float],
    pre_id: int,
    half_length_nm: float,
) -> Track:
    """Follow the slanting presynaptic membrane from a foot (y, x) up and down."""
    track = {z: foot}
    reach = int(half_length_nm / frame.voxel_size[0])
    for direction in (1, -1):
        y, x = foot
        for section in range(z + direction, z + direction * (reach + 1), direction):
            if not 0 <= section < frame.shape[0]:
                break
            index, dy, dx = frame.window(section, y, x, 60.0)
            rim = tissue.labels[index] == pre_id
            rim &= tissue.depth[index] < 5 + 0.5 * frame.pixel_nm
            if not rim.any():
                break
            distance = np.where(rim, dy * dy + dx * dx, np.inf)
            i, j = np.unravel_index(np.argmin(distance), distance.shape)
            y, x = y + float(dy[i, 0]), x + float(dx[0, j])
            track[section] = (y, x)
    return track


def _find_partners(frame: Frame, labels: np.ndarray, track: Track, pre_id: int) -> tuple[int, ...]:
    """Return the neurites that face the density, by area of shared membrane."""
    facing = []
    for z, (y, x) in track.items():
        index, dy, dx = frame.window(z, y, x, CONTACT_REACH_NM)
        ids = labels[index]
        near = dy * dy + dx * dx < CONTACT_REACH_NM * CONTACT_REACH_NM
        for a, b, both in (
            (ids[1:], ids[:-1], near[1:] & near[:-1]),
            (ids[:, 1:], ids[:, :-1], near[:, 1:] & near[:, :-1]),
        ):
            facing.append(b[both & (a == pre_id) & (b != pre_id)])
            facing.append(a[both & (b == pre_id) & (a != pre_id)])
    ids, contact = np.unique(np.concatenate(facing), return_counts=True)
    order = np.argsort(-contact, kind="stable")[:MAX_PARTNERS]
    return tuple(int(ids[i]) for i in order if contact[i] >= MIN_PARTNER_SHARE * contact.sum())
