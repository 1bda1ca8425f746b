"""Dark densities where neurites meet: what a synapse looks like before anyone asks whose it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from connectome.core.params import SynapseParams
from connectome.core.progress import Progress, ignore_progress, map_stacks
from connectome.core.pyramid import downsample, smooth_multiscale
from connectome.core.volume import in_plane_px

MIN_PIXEL_NM = 5.0  # pixels up to this size show no more of a density than those twice as wide
CYTOPLASM_DISTANCE_NM = (
    35.0  # further than this from a boundary there is cytoplasm, and no membrane
)
MEMBRANE_AVERAGING_NM = 300.0  # Gaussian width over which membranes are averaged
MEMBRANE_PERCENTILES = (
    20,
    50,
    80,
)  # percentiles of their greys: an average is made of those in between
MEMBRANE_PRIOR_FRACTION = (
    0.004  # of all pixels around: so few do not say how dark membranes are here
)
MIN_PIXELS = 100  # pixels of membrane, and of cytoplasm, that tell the greys of a section
GRAIN_NM, FINE_NM, VESICLE_NM = 8.0, 12.0, 25.0  # Gaussian widths, in plane
MAX_TEXTURE_ENERGY = 0.5  # of texture: dense-core vesicles count no more than that
MIN_CONTRAST = 1e-3  # of membranes against cytoplasm, on a scale from 0 to 1


@dataclass(frozen=True, eq=False)
class DensityMaps:
    """A stack as densities are seen in it, on a grid of pixels no finer than they need.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 outside the tissue.
    voxel_size : tuple of float
        (z, y, x) in nm, of this grid.
    binning : int
        Pixels of the stack along y and x that one pixel of this grid stands for.
    distance : ndarray of float, shape (Z, Y, X)
        From the nearest boundary between neurites in the same section, in nm.
    darkness : ndarray of float32, shape (Z, Y, X)
        Free of grain: 0 is the cytoplasm of the section, 1 the membranes around.
    density : ndarray of float32, shape (Z, Y, X)
        Darkness over the width and depth that a density has at least; 0 away from boundaries
        and in damaged sections.
    texture : ndarray of float32, shape (Z, Y, X)
        Energy of what is as large as a vesicle; the median over all cytoplasm is 1.
    """

    labels: np.ndarray
    voxel_size: tuple[float, float, float]
    binning: int
    boundary_distance: np.ndarray
    darkness: np.ndarray
    smoothed_darkness: np.ndarray
    texture: np.ndarray

    @property
    def voxel_um3(self) -> float:
        """Volume of a voxel in µm³."""
        return float(np.prod(self.voxel_size)) / 1e9


@dataclass(frozen=True, eq=False)
class Density:
    """A dark core: voxels hardly lighter than its darkest place, and connected with it.

    Parameters
    ----------
    height : float
        `Sight.density` at its darkest place.
    voxels : ndarray of int, shape (N, 3)
        (z, y, x) on the grid of the sight.
    """

    peak_darkness: float
    voxels: np.ndarray

    @property
    def central_voxel(self) -> np.ndarray:
        """Its voxel nearest to its centroid."""
        away = self.voxels - self.voxels.mean(axis=0)
        return self.voxels[np.argmin((away * away).sum(axis=1))]


def compute_density_maps(
    em: np.ndarray,
    labels: np.ndarray,
    voxel_size: tuple[float, float, float],
    damaged_sections: Sequence[int] = (),
    params: SynapseParams | None = None,
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> DensityMaps:
    """Measure everywhere how dark it is, in units of the membranes around. O(V) for V voxels.

    Parameters
    ----------
    aligned, labels, voxel_size, damaged, params, threads, progress
        As `connectome.synapses.detect_synapses`.

    Returns
    -------
    Sight
    """
    params = params or SynapseParams()
    image, labels, voxel_size, binning = _coarse(em, labels, voxel_size)
    if len(damaged_sections):
        labels = labels.copy()
        labels[list(damaged_sections)] = 0  # whoever is there is not seen
    distance = map_stacks(_boundary_distance(voxel_size), labels, threads=threads)
    raw = _in_membranes(image, labels, distance, voxel_size, damaged_sections)
    parts = map_stacks(_smoothed(voxel_size), raw, labels > 0, threads=threads, progress=progress)
    darkness, density, texture = parts[:, 0], parts[:, 1], parts[:, 2]
    density = ndimage.gaussian_filter1d(density, params.smoothing_z_nm / voxel_size[0], axis=0)
    density[distance > params.max_boundary_distance_nm] = 0
    density[list(damaged_sections)] = 0
    within = (distance > CYTOPLASM_DISTANCE_NM) & (labels > 0)
    within[list(damaged_sections)] = False
    usual = np.median(texture[within]) if within.any() else 0.0
    texture /= usual if usual > 0 else 1.0
    return DensityMaps(labels, voxel_size, binning, distance, darkness, density, texture)


def find_densities(maps: DensityMaps, params: SynapseParams | None = None) -> list[Density]:
    """Find dark cores, each once however many sections it spans.

    From every peak of `Sight.density`, the highest first, a core is flooded down to a share of its
    height; peaks that it takes in are parts of it. O(V) time for the peaks, and for each of them
    that of a box as wide as the largest core.

    Parameters
    ----------
    sight : Sight
        The stack.
    params : SynapseParams, optional
        Sizes in nm and the least height.

    Returns
    -------
    list of Density
        By falling height.
    """
    params = params or SynapseParams()
    field = maps.smoothed_darkness
    reach = [2 * round(params.min_separation_nm / length) + 1 for length in maps.voxel_size]
    highest = ndimage.maximum_filter(field, size=reach, mode="constant")
    peaks = np.argwhere((field == highest) & (field >= params.min_darkness))
    heights = field[tuple(peaks.T)]
    half = np.ceil(params.max_extent_nm / 2 / np.asarray(maps.voxel_size)).astype(int)
    taken = np.zeros(field.shape, bool)
    found = []
    for n in np.argsort(-heights, kind="stable"):
        peak, height = peaks[n], float(heights[n])
        if not taken[tuple(peak)]:
            box = box_with_margin(peak, peak, half, field.shape)
            dark = (field[box] >= params.core_fraction * height) & ~taken[box]
            parts, _ = ndimage.label(dark, np.ones((3, 3, 3)))
            core = parts == parts[tuple(p - s.start for p, s in zip(peak, box, strict=True))]
            taken[box] |= core
            found.append(Density(height, np.argwhere(core) + [s.start for s in box]))
    return found


def box_with_margin(first, last, margin, shape) -> tuple[slice, ...]:
    """Index all voxels from one corner to another, and a margin, within a stack."""
    ends = zip(first, last, margin, shape, strict=True)
    return tuple(slice(max(a - m, 0), min(b + m + 1, n)) for a, b, m, n in ends)


def _coarse(image, labels, voxel_size):
    """Average pixels two by two as often as they are finer than needed."""
    z, y, x = voxel_size
    binning = 1
    while max(y, x) <= MIN_PIXEL_NM:
        image = downsample(image.astype(np.float32, copy=False), (1, 2))
        labels = labels[:, ::2, ::2]
        y, x, binning = 2 * y, 2 * x, 2 * binning
    return image, labels, (z, y, x), binning


def _boundary_distance(voxel_size):
    """Return a function that measures, in nm, how far each pixel is from another neurite."""

    def one(section):
        boundary = np.zeros(section.shape, bool)
        for axis in (0, 1):
            rows, edge = np.moveaxis(section, axis, 0), np.moveaxis(boundary, axis, 0)
            differ = (rows[:-1] != rows[1:]) & (rows[:-1] > 0) & (rows[1:] > 0)
            edge[:-1] |= differ
            edge[1:] |= differ
        if not boundary.any():
            return np.full(section.shape, np.inf, np.float32)
        distance = ndimage.distance_transform_edt(~boundary, sampling=voxel_size[1:])
        return distance.astype(np.float32)

    return one


def _in_membranes(image, labels, distance, voxel_size, damaged_sections) -> np.ndarray:
    """Measure darkness between that of cytoplasm, 0, and that of the membranes around, 1.

    Stain and thickness vary within a section, so membranes are averaged locally; the darkest and
    lightest fifth of them count as the next ones do, lest a synapse be its own measure.
    """
    bright = np.full((len(image), 1, 1), np.nan, np.float32)
    dark = np.full(image.shape, np.nan, np.float32)
    for z in sorted(set(range(len(image))) - set(damaged_sections)):
        membrane, within = distance[z] == 0, (distance[z] > CYTOPLASM_DISTANCE_NM) & (labels[z] > 0)
        if min(np.count_nonzero(membrane), np.count_nonzero(within)) >= MIN_PIXELS:
            bright[z] = np.median(image[z][within])
            dark[z] = _around(image[z], membrane, voxel_size)
    told = ~np.isnan(bright[:, 0, 0])
    if not told.any():
        return np.zeros(image.shape, np.float32)
    # Where a section shows too little, it is taken to be as the others are.
    bright[~told], dark[~told] = np.median(bright[told]), np.median(dark[told])
    # Where membranes are no darker than cytoplasm nothing can be told.
    seen = (bright - dark > MIN_CONTRAST) & (labels > 0)
    darkness = np.where(seen, (bright - image) / np.maximum(bright - dark, MIN_CONTRAST), 0)
    darkness[list(damaged_sections)] = 0  # a fold must not darken the sections beside it
    return darkness.astype(np.float32)


def _around(section, membrane, voxel_size) -> np.ndarray:
    """Average the grey of membranes around every pixel of a section."""
    low, middle, high = np.percentile(section[membrane], MEMBRANE_PERCENTILES)
    greys = np.where(membrane, np.clip(section, low, high), 0).astype(np.float32)
    mean = greys.sum() / np.count_nonzero(membrane)
    sigma = in_plane_px(MEMBRANE_AVERAGING_NM, voxel_size)
    total, count = (
        smooth_multiscale(field, sigma) for field in (greys, membrane.astype(np.float32))
    )
    # Far from any membrane the mean of the section holds; all in all the median does.
    return (
        (total + MEMBRANE_PRIOR_FRACTION * mean) / (count + MEMBRANE_PRIOR_FRACTION) - mean + middle
    )


def _smoothed(voxel_size):
    """Return a function that smooths a section; what lies outside the tissue has no say."""

    def one(darkness, tissue):
        whole = tissue.all()

        def smooth(nm):
            sigma = in_plane_px(nm, voxel_size)
            result = ndimage.gaussian_filter(darkness, sigma)
            if not whole:
                share = ndimage.gaussian_filter(tissue.astype(np.float32), sigma)
                result /= np.maximum(share, 0.1)
                result[~tissue] = 0
            return result

        fine = smooth(GRAIN_NM)
        energy = np.minimum((fine - smooth(VESICLE_NM)) ** 2, MAX_TEXTURE_ENERGY)
        return np.stack([fine, smooth(FINE_NM), energy])

    return one
