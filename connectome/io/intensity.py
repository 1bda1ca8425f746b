"""Grey values of a stack: whether they make a picture, and their mapping to 8 bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PERCENTILES = (0.1, 99.9)
MAX_BLACK_FRACTION = 0.5
# Percentiles nearer to each other than this, in levels or as a share of the value, are no picture.
FLAT_LEVELS = 8
FLAT_SHARE = 0.01


@dataclass(frozen=True)
class IntensityStatistics:
    """What is known of a stack's grey values.

    Parameters
    ----------
    dtype : dtype
        Of the voxels.
    low, high : float
        Percentiles 0.1 and 99.9 of the voxels that are not black padding; 0 if all are.
    black : float
        Share of voxels that are padding: exactly 0 in a stack without negative values, NaN or
        infinite.
    not_finite : int
        Number of voxels that are NaN or infinite.
    signed : bool
        Whether there are negative values, among which 0 is a grey value like any other.
    """

    dtype: np.dtype
    low: float
    high: float
    black: float
    not_finite: int
    signed: bool

    @classmethod
    def measure(cls, data: np.ndarray) -> IntensityStatistics:
        """Measure a stack of shape (Z, Y, X)."""
        not_finite = int(np.count_nonzero(~np.isfinite(data)))
        signed = data.dtype.kind != "u" and bool(np.any(data < 0))
        seen = data[~_padding(data, signed)]
        low, high = np.percentile(seen, PERCENTILES) if seen.size else (0.0, 0.0)
        black = 1 - seen.size / data.size
        return cls(data.dtype, float(low), float(high), black, not_finite, signed)

    @property
    def fills_8_bits(self) -> bool:
        """Whether a mapping to 8 bits would change nothing."""
        return self.dtype == np.uint8 and self.low <= 1 and self.high >= 255

    def warnings(self) -> tuple[str, ...]:
        """Return what looks wrong with the stack, in words."""
        found = []
        if self.not_finite:
            found.append(f"{self.not_finite} voxels are not finite numbers and were made black")
        if self.black > MAX_BLACK_FRACTION:
            found.append(
                f"{self.black:.0%} of the cutout is black: it lies partly outside the tissue"
            )
        levels = FLAT_LEVELS if self.dtype.kind in "iu" else 0
        share = FLAT_SHARE * max(abs(self.low), abs(self.high))
        if self.high - self.low <= max(levels, share):
            found.append(
                f"the cutout is nearly constant, grey values {self.low:g} to {self.high:g}: "
                "there is hardly a picture in it"
            )
        return tuple(found)

    def to_uint8(self, data: np.ndarray) -> np.ndarray:
        """Map the percentiles linearly to 1 and 255, and padding to 0.

        Parameters
        ----------
        data : ndarray, shape (Z, Y, X)
            The stack that was measured.

        Returns
        -------
        ndarray of uint8, shape (Z, Y, X)
        """
        if self.fills_8_bits:
            return data
        scale = 254 / ((self.high - self.low) or 1)
        mapped = np.empty(data.shape, np.uint8)
        for section, out in zip(data, mapped, strict=True):  # whole, it would be large as floats
            padding = _padding(section, self.signed)
            grey = np.where(padding, self.low, section)
            out[:] = np.rint(np.clip(1 + (grey - self.low) * scale, 1, 255))
            out[padding] = 0
        return mapped

    def mapping(self) -> str:
        """Say in words what `to_uint8` did."""
        if self.fills_8_bits:
            return "grey values fill 8 bits already and were left as they are"
        return (
            f"grey values {self.low:g} to {self.high:g} ({self.dtype}, percentiles "
            f"{PERCENTILES[0]:g} and {PERCENTILES[1]:g}) became 1 to 255"
        )


def _padding(data: np.ndarray, signed: bool) -> np.ndarray:
    not_finite = ~np.isfinite(data)
    return not_finite if signed else not_finite | (data == 0)
