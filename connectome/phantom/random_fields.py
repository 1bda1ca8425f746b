"""Smooth random functions and fields, identical on every machine."""

from __future__ import annotations

import numpy as np

from connectome.phantom.params import Frame


def draw_normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Draw normal variates as sums of twelve uniform integers, which are exact."""
    draws = np.frombuffer(rng.bytes(24 * int(np.prod(shape))), dtype="<u2")
    return draws.reshape(12, *shape).sum(axis=0, dtype=np.int64) / 65536 - 6


def draw_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw bell-shaped noise of unit variance, float32, as sums of four random bytes."""
    draws = np.frombuffer(rng.bytes(4 * int(np.prod(shape))), np.uint8).reshape(4, *shape)
    total = draws.sum(axis=0, dtype=np.int16)
    return (total - np.int16(510)).astype(np.float32) * np.float32(1 / 147.8)


def draw_smooth_curves(
    rng: np.random.Generator, z: np.ndarray, scale_nm: float, *shape: int
) -> np.ndarray:
    """Draw smooth random functions of z with about unit variance.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    z : ndarray, shape (K,)
        Heights to evaluate at, in nm, ascending.
    scale_nm : float
        Correlation length of the functions.
    *shape : int
        Shape of the set of functions.

    Returns
    -------
    ndarray, shape (K, *shape)
    """
    first, weights = _spline_weights((z - z[0]) / scale_nm)
    knots = 1.3 * draw_normal(rng, int(first[-1]) + 3, *shape)
    trailing = (-1,) + (1,) * len(shape)
    return sum(w.reshape(trailing) * knots[first + k] for k, w in enumerate(weights))


class SmoothNoise:
    """A smooth random field fixed to the tissue: displaced sections show it displaced.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    frame : Frame
        Geometry of the image.
    scale_nm : float
        Distance between knots; in plane it is rounded to a power of two in pixels.
    pad : int
        Rows and columns beyond the image.
    """

    def __init__(self, rng: np.random.Generator, frame: Frame, scale_nm: float, pad: int = 0):
        self.frame = frame
        self.size = tuple(n + pad for n in frame.shape[1:])
        self.margin = int(np.abs(frame.shifts).max()) + 1
        self.knots_per_section = frame.voxel_size[0] / scale_nm
        self.doublings = [
            max(round(scale_nm / v), 1).bit_length() - 1 for v in frame.voxel_size[1:]
        ]
        plane = (
            ((n + 2 * self.margin) >> doublings) + 4
            for n, doublings in zip(self.size, self.doublings, strict=True)
        )
        self.knots = draw_normal(rng, int(frame.shape[0] * self.knots_per_section) + 4, *plane)

    def sections(self, start: int, stop: int) -> np.ndarray:
        """Return the field in sections ``start:stop``, float32, with a deviation of about 0.5."""
        first, weights = _spline_weights(np.arange(start, stop) * self.knots_per_section)
        field = sum(w[:, None, None] * self.knots[first + k] for k, w in enumerate(weights))
        field = field.astype(np.float32)
        for axis, doublings in enumerate(self.doublings, start=1):
            for _ in range(doublings):
                field = _double(field, axis)
        displaced = np.empty((len(field), *self.size), np.float32)
        shifts = self.frame.shifts[start:stop]
        for section, shift, out in zip(field, shifts, displaced, strict=True):
            out[...] = self._crop(section, shift + self.margin)
        return displaced

    def _crop(self, section: np.ndarray, corner: np.ndarray) -> np.ndarray:
        """Crop the image from a larger section at a fractional corner, by linear interpolation."""
        for axis, (start, n) in enumerate(zip(corner, self.size, strict=True)):
            whole = int(start)
            part = np.float32(start - whole)
            along = np.moveaxis(section, axis, 0)
            mixed = (1 - part) * along[whole : whole + n] + part * along[whole + 1 : whole + n + 1]
            section = np.moveaxis(mixed, 0, axis)
        return section


def _spline_weights(position: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Return the first of three knots and the quadratic B-spline weights at each position."""
    first = np.floor(position).astype(np.intp)
    t = position - first
    return first, (0.5 * (1 - t) * (1 - t), 0.5 + t * (1 - t), 0.5 * t * t)


def _double(field: np.ndarray, axis: int) -> np.ndarray:
    """Refine a field twofold along an axis by Chaikin's corner cutting (quadratic B-splines)."""
    field = np.moveaxis(field, axis, 0)
    a, b = field[:-1], field[1:]
    fine = np.empty((2 * len(a), *field.shape[1:]), field.dtype)
    fine[0::2] = 0.75 * a + 0.25 * b
    fine[1::2] = 0.25 * a + 0.75 * b
    return np.moveaxis(fine, 0, axis)
