"""Parameters of the phantom, and the geometry of its image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SUBPLANE_NM = 10.0  # maximum distance of the planes that are averaged into a section


@dataclass(frozen=True)
class PhantomParams:
    """Properties of the phantom's tissue and of its imaging; lengths in nm.

    Parameters
    ----------
    smallest_radius_nm, largest_radius_nm : float
        Range of the heavy-tailed distribution of neurite radii. Neurites that taper or are
        squeezed are thinner in places.
    lobed_fraction : float
        Fraction of neurites whose profile has more than one lobe.
    slope : float
        Standard deviation of the lateral displacement of neurites per unit of z.
    oblique_fraction : float
        Fraction of neurites that are several times as oblique.
    branches_per_um, endings_per_um : float
        Probability per µm of depth that the strands of a neurite separate, and that one ends.
    roughness_nm : float
        Amplitude of the irregularity of outlines.
    membrane_nm : float
        Thickness of two apposed membranes with the cleft between them.
    mitochondria_per_um : float
        Probability per µm that a sufficiently wide neurite contains a mitochondrion.
    synapses_per_um3 : float
        Density of synapses.
    jitter_nm, drift_nm : float
        Standard deviations of the displacement of sections: independent, and slowly varying.
    blur_nm : float
        Standard deviation of the point spread function.
    shot_noise : float
        Standard deviation of the noise at full brightness, as a fraction of the grey range.
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


@dataclass(frozen=True, eq=False)
class Frame:
    """Geometry of the image: the position of each imaged pixel in the tissue.

    Tissue coordinates (y, x) are in nm.

    Parameters
    ----------
    shape : tuple of int
        Sections, rows and columns (Z, Y, X).
    voxel_size : tuple of float
        (z, y, x) in nm.
    shifts : ndarray, shape (Z, 2)
        (dy, dx) in px to apply to each section to align it.
    """

    shape: tuple[int, int, int]
    voxel_size: tuple[float, float, float]
    shifts: np.ndarray

    @property
    def volume_um3(self) -> float:
        """Volume of the imaged tissue in µm³."""
        return float(np.prod(self.shape) * np.prod(self.voxel_size) * 1e-9)

    @property
    def pixel_nm(self) -> float:
        """Longer side of a pixel in nm."""
        return max(self.voxel_size[1:])

    @property
    def subplanes(self) -> int:
        """Number of planes averaged into a section: odd, so that one is its middle."""
        return max(3, 2 * int(self.voxel_size[0] / SUBPLANE_NM / 2) + 1)

    def plane_heights(self, sections: np.ndarray) -> np.ndarray:
        """Return the height in nm of every plane of some sections, shape (S, subplanes)."""
        offsets = (np.arange(self.subplanes) - self.subplanes // 2) / self.subplanes
        return (sections[:, None] + offsets) * self.voxel_size[0]

    def to_pixels(self, z, y_nm, x_nm):
        """Return the fractional rows and columns at which tissue coordinates are imaged."""
        return (
            y_nm / self.voxel_size[1] - self.shifts[z, 0],
            x_nm / self.voxel_size[2] - self.shifts[z, 1],
        )

    def to_tissue(self, z, row, column):
        """Return the tissue coordinates (y, x) in nm of imaged pixels."""
        return (
            (row + self.shifts[z, 0]) * self.voxel_size[1],
            (column + self.shifts[z, 1]) * self.voxel_size[2],
        )

    def wrap(self, points: np.ndarray, period: np.ndarray) -> np.ndarray:
        """Return the copies on a torus of points (…, 2) in nm that are nearest to the image."""
        middle = np.multiply(self.shape[1:], self.voxel_size[1:]) / 2
        return points - period * np.rint((points - middle) / period)

    def window(
        self, z: int, y_nm: float, x_nm: float, radius_nm: float
    ) -> tuple[tuple[int, slice, slice], np.ndarray, np.ndarray]:
        """Return the pixels of a section around a point, and their offsets from it.

        Returns
        -------
        index : tuple
            Selects the window from an array of shape (Z, Y, X).
        dy, dx : ndarray, shapes (h, 1) and (1, w)
            Offsets in nm; empty where the window lies outside the image.
        """
        row, column = self.to_pixels(z, y_nm, x_nm)
        spans, offsets = [], []
        for centre, size, n in zip((row, column), self.voxel_size[1:], self.shape[1:], strict=True):
            low = min(max(int(np.ceil(centre - radius_nm / size)), 0), n)
            high = max(min(int(np.floor(centre + radius_nm / size)) + 1, n), low)
            spans.append(slice(low, high))
            offsets.append(((np.arange(low, high) - centre) * size).astype(np.float32))
        return (z, spans[0], spans[1]), offsets[0][:, None], offsets[1][None, :]
