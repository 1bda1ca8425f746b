"""Find dark densities on the boundaries between neurites, before their partners are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from connectome.core.params import SynapseParams
from connectome.core.progress import Progress, ignore_progress, map_stacks
from connectome.core.pyramid import downsample, smooth_multiscale
from connectome.core.volume import in_plane_px

MIN_PIXEL_NM = 5.0  # smaller pixels show no more of a density; they are averaged two by two
CYTOPLASM_DISTANCE_NM = 35.0  # beyond this distance from a boundary there is no membrane
MEMBRANE_AVERAGING_NM = 300.0  # Gaussian width over which membrane grey values are averaged
# Percentiles of membrane grey values: lower clip, centre, upper clip.
MEMBRANE_PERCENTILES = (20, 50, 80)
# Weight of the section's mean, as a fraction of pixels, where there is little membrane nearby.
MEMBRANE_PRIOR_FRACTION = 0.004
MIN_PIXELS = 100  # of membrane and of cytoplasm, to measure their grey values in a section
GRAIN_NM, FINE_NM, VESICLE_NM = 8.0, 12.0, 25.0  # Gaussian widths, in plane
MAX_TEXTURE_ENERGY = 0.5  # limits the contribution of dense-core vesicles
MIN_CONTRAST = 1e-3  # of membranes against cytoplasm, on a scale from 0 to 1


@dataclass(frozen=True, eq=False)
class DensityMaps:
    """Maps of a stack in which densities are found, on a grid no finer than they need.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 outside the tissue and in damaged sections.
    voxel_size : tuple of float
        (z, y, x) in nm, of this grid.
    binning : int
        Pixels of the stack along y and x for each pixel of this grid.
    boundary_distance : ndarray of float, shape (Z, Y, X)
        Distance in nm from the nearest boundary between neurites in the same section.
    darkness : ndarray of float32, shape (Z, Y, X)
        Denoised: 0 is the cytoplasm of the section, 1 the surrounding membranes.
    smoothed_darkness : ndarray of float32, shape (Z, Y, X)
        Darkness averaged over the least width and depth of a density; 0 away from boundaries and
        in damaged sections.
    texture : ndarray of float32, shape (Z, Y, X)
        Energy at the scale of synaptic vesicles; the median over all cytoplasm is 1.
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
    """A dark core: the connected voxels not much lighter than its darkest one.

    Parameters
    ----------
    peak_darkness : float
        `DensityMaps.smoothed_darkness` at its darkest voxel.
    voxels : ndarray of int, shape (N, 3)
        (z, y, x) on the grid of the maps.
    """

    peak_darkness: float
    voxels: np.ndarray

    @property
    def central_voxel(self) -> np.ndarray:
        """The voxel nearest to the centroid; (z, y, x)."""
        offset = self.voxels - self.voxels.mean(axis=0)
        return self.voxels[np.argmin((offset * offset).sum(axis=1))]


def compute_density_maps(
    em: np.ndarray,
    labels: np.ndarray,
    voxel_size: tuple[float, float, float],
    *,
    damaged_sections: Sequence[int] = (),
    params: SynapseParams | None = None,
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> DensityMaps:
    """Measure darkness everywhere, relative to the surrounding membranes. O(V) for V voxels.

    Parameters
    ----------
    em, labels, voxel_size, damaged_sections, params, threads, progress
        As in `connectome.synapses.detect_synapses`.

    Returns
    -------
    DensityMaps
    """
    params = params or SynapseParams()
    image, labels, voxel_size, binning = _bin_pixels(em, labels, voxel_size)
    damaged = list(damaged_sections)
    if damaged:
        labels = labels.copy()
        labels[damaged] = 0
    distance = map_stacks(_boundary_distance_filter(voxel_size), labels, threads=threads)
    raw = _relative_darkness(image, labels, distance, voxel_size, damaged)
    maps = map_stacks(
        _smoothing_filter(voxel_size), raw, labels > 0, threads=threads, progress=progress
    )
    darkness, smoothed, texture = maps[:, 0], maps[:, 1], maps[:, 2]
    smoothed = ndimage.gaussian_filter1d(smoothed, params.smoothing_z_nm / voxel_size[0], axis=0)
    smoothed[distance > params.max_boundary_distance_nm] = 0
    smoothed[damaged] = 0
    cytoplasm = (distance > CYTOPLASM_DISTANCE_NM) & (labels > 0)
    cytoplasm[damaged] = False
    median = np.median(texture[cytoplasm]) if cytoplasm.any() else 0.0
    texture /= median if median > 0 else 1.0
    return DensityMaps(
        labels=labels,
        voxel_size=voxel_size,
        binning=binning,
        boundary_distance=distance,
        darkness=darkness,
        smoothed_darkness=smoothed,
        texture=texture,
    )


def find_densities(maps: DensityMaps, params: SynapseParams | None = None) -> list[Density]:
    """Find dark cores, each once however many sections it spans.

    From every peak of `DensityMaps.smoothed_darkness`, the highest first, a core is flooded down
    to a fraction of its height; further peaks inside it belong to it. O(V) time for the peaks,
    and for each of them that of a box as wide as the largest core.

    Parameters
    ----------
    maps : DensityMaps
        Maps of the stack.
    params : SynapseParams, optional
        Sizes in nm, and the least darkness of a peak.

    Returns
    -------
    list of Density
        By falling peak darkness.
    """
    params = params or SynapseParams()
    darkness = maps.smoothed_darkness
    window = [2 * round(params.min_separation_nm / length) + 1 for length in maps.voxel_size]
    local_maximum = ndimage.maximum_filter(darkness, size=window, mode="constant")
    peaks = np.argwhere((darkness == local_maximum) & (darkness >= params.min_darkness))
    heights = darkness[tuple(peaks.T)]
    half = np.ceil(params.max_extent_nm / 2 / np.asarray(maps.voxel_size)).astype(int)
    taken = np.zeros(darkness.shape, bool)
    densities = []
    for n in np.argsort(-heights, kind="stable"):
        peak, height = peaks[n], float(heights[n])
        if taken[tuple(peak)]:
            continue
        box = box_with_margin(peak, peak, margin=half, shape=darkness.shape)
        start = [s.start for s in box]
        dark = (darkness[box] >= params.core_fraction * height) & ~taken[box]
        components, _ = ndimage.label(dark, np.ones((3, 3, 3)))
        core = components == components[tuple(peak - start)]
        taken[box] |= core
        densities.append(Density(height, np.argwhere(core) + start))
    return densities


def box_with_margin(
    first: ArrayLike, last: ArrayLike, margin: ArrayLike, shape: Sequence[int]
) -> tuple[slice, ...]:
    """Return slices from one corner to another (inclusive), plus a margin, within a stack."""
    start = np.maximum(np.subtract(first, margin), 0)
    stop = np.minimum(np.add(last, margin) + 1, shape)
    return tuple(slice(a, b) for a, b in zip(start.tolist(), stop.tolist(), strict=True))


def _bin_pixels(
    image: np.ndarray, labels: np.ndarray, voxel_size: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float], int]:
    """Average pixels two by two while they are finer than needed."""
    z, y, x = voxel_size
    binning = 1
    while max(y, x) <= MIN_PIXEL_NM:
        image = downsample(image.astype(np.float32, copy=False), (1, 2))
        labels = labels[:, ::2, ::2]
        y, x, binning = 2 * y, 2 * x, 2 * binning
    return image, labels, (z, y, x), binning


def _boundary_distance_filter(
    voxel_size: tuple[float, float, float],
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that measures the distance in nm from boundaries in a section."""

    def measure(section: np.ndarray) -> np.ndarray:
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

    return measure


def _relative_darkness(
    image: np.ndarray,
    labels: np.ndarray,
    distance: np.ndarray,
    voxel_size: tuple[float, float, float],
    damaged_sections: Sequence[int],
) -> np.ndarray:
    """Scale grey values such that cytoplasm is 0 and the surrounding membranes are 1.

    Stain and thickness vary within a section, so membranes are averaged locally. The darkest and
    the lightest fifth of them are clipped, so that a synapse does not raise its own reference.
    """
    cytoplasm_grey = np.full((len(image), 1, 1), np.nan, np.float32)
    membrane_grey = np.full(image.shape, np.nan, np.float32)
    for z in sorted(set(range(len(image))) - set(damaged_sections)):
        membrane = distance[z] == 0
        cytoplasm = (distance[z] > CYTOPLASM_DISTANCE_NM) & (labels[z] > 0)
        if min(np.count_nonzero(membrane), np.count_nonzero(cytoplasm)) >= MIN_PIXELS:
            cytoplasm_grey[z] = np.median(image[z][cytoplasm])
            membrane_grey[z] = _local_membrane_grey(image[z], membrane, voxel_size)
    measured = ~np.isnan(cytoplasm_grey[:, 0, 0])
    if not measured.any():
        return np.zeros(image.shape, np.float32)
    # Sections with too little membrane or cytoplasm get the values of the others.
    cytoplasm_grey[~measured] = np.median(cytoplasm_grey[measured])
    membrane_grey[~measured] = np.median(membrane_grey[measured])
    # Where membranes are not darker than cytoplasm, darkness has no meaning.
    contrast = cytoplasm_grey - membrane_grey
    valid = (contrast > MIN_CONTRAST) & (labels > 0)
    darkness = np.where(valid, (cytoplasm_grey - image) / np.maximum(contrast, MIN_CONTRAST), 0)
    darkness[list(damaged_sections)] = 0  # a fold must not darken the neighbouring sections
    return darkness.astype(np.float32)


def _local_membrane_grey(
    section: np.ndarray, membrane: np.ndarray, voxel_size: tuple[float, float, float]
) -> np.ndarray:
    """Average the grey values of membranes around every pixel of a section."""
    low, median, high = np.percentile(section[membrane], MEMBRANE_PERCENTILES)
    grey = np.where(membrane, np.clip(section, low, high), 0).astype(np.float32)
    mean = grey.sum() / np.count_nonzero(membrane)
    sigma = in_plane_px(MEMBRANE_AVERAGING_NM, voxel_size).tolist()
    total = smooth_multiscale(grey, sigma)
    count = smooth_multiscale(membrane.astype(np.float32), sigma)
    # Far from any membrane the average tends to that of the section, whose centre is the median.
    prior = MEMBRANE_PRIOR_FRACTION
    return (total + prior * mean) / (count + prior) - mean + median


def _smoothing_filter(
    voxel_size: tuple[float, float, float],
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a function that smooths a section at three scales, ignoring what is not tissue.

    It returns an array (3, Y, X): denoised darkness, darkness over the width of a density, and
    vesicle-scale energy (squared difference of Gaussians).
    """

    def smooth_section(darkness: np.ndarray, tissue: np.ndarray) -> np.ndarray:
        all_tissue = tissue.all()

        def smooth(nm):
            sigma = in_plane_px(nm, voxel_size)
            result = ndimage.gaussian_filter(darkness, sigma)
            if not all_tissue:
                weight = ndimage.gaussian_filter(tissue.astype(np.float32), sigma)
                result /= np.maximum(weight, 0.1)
                result[~tissue] = 0
            return result

        fine = smooth(GRAIN_NM)
        energy = np.minimum((fine - smooth(VESICLE_NM)) ** 2, MAX_TEXTURE_ENERGY)
        return np.stack([fine, smooth(FINE_NM), energy])

    return smooth_section
