"""Grey values of a stack: statistics, and their mapping to 8 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (0.1, 99.9)
MAX_BLACK_FRACTION = 0.5
# A stack whose percentiles differ by no more than this is nearly constant.
FLAT_LEVELS = 8
FLAT_FRACTION = 0.01


@dataclass(frozen=True)
class IntensityStatistics:
    """Statistics of the grey values of a stack.

    Parameters
    ----------
    dtype : dtype
        Data type of the voxels.
    low, high : float
        Percentiles 0.1 and 99.9 of the voxels that are not padding; 0 if all are.
    black_fraction : float
        Fraction of voxels that are padding: not finite or, in a stack without negative values,
        exactly 0.
    n_not_finite : int
        Number of voxels that are NaN or infinite.
    signed : bool
        Whether there are negative values; then 0 is a grey value and not padding.
    """

    dtype: np.dtype[Any]
    low: float
    high: float
    black_fraction: float
    n_not_finite: int
    signed: bool

    @classmethod
    def measure(cls, data: NDArray[Any]) -> IntensityStatistics:
        """Measure a stack of shape (Z, Y, X)."""
        n_not_finite = int(np.count_nonzero(~np.isfinite(data)))
        signed = data.dtype.kind != "u" and bool(np.any(data < 0))
        values = data[~_find_padding(data, signed)]
        low, high = np.percentile(values, PERCENTILES) if values.size else (0.0, 0.0)
        black_fraction = 1 - values.size / data.size
        return cls(data.dtype, float(low), float(high), black_fraction, n_not_finite, signed)

    @property
    def fills_8_bits(self) -> bool:
        """Whether a mapping to 8 bits would change nothing."""
        return self.dtype == np.uint8 and self.low <= 1 and self.high >= 255

    def describe_problems(self) -> tuple[str, ...]:
        """Return messages about unusual properties of the stack."""
        problems = []
        if self.n_not_finite:
            problems.append(f"{self.n_not_finite} voxels are not finite and were made black")
        if self.black_fraction > MAX_BLACK_FRACTION:
            problems.append(
                f"{self.black_fraction:.0%} of the cutout is black: it lies partly outside the"
                " tissue"
            )
        min_levels = FLAT_LEVELS if self.dtype.kind in "iu" else 0
        min_range = FLAT_FRACTION * max(abs(self.low), abs(self.high))
        if self.high - self.low <= max(min_levels, min_range):
            problems.append(
                f"the cutout is nearly constant: its grey values range from {self.low:g} to"
                f" {self.high:g}"
            )
        return tuple(problems)

    def to_uint8(self, data: NDArray[Any]) -> NDArray[np.uint8]:
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
        for section, out in zip(data, mapped, strict=True):  # saves memory: values become floats
            padding = _find_padding(section, self.signed)
            grey = np.where(padding, self.low, section)
            out[:] = np.rint(np.clip(1 + (grey - self.low) * scale, 1, 255))
            out[padding] = 0
        return mapped

    def describe_mapping(self) -> str:
        """Return a message about the mapping by `to_uint8`."""
        if self.fills_8_bits:
            return "grey values fill 8 bits already and were left as they are"
        return (
            f"grey values {self.low:g} to {self.high:g} ({self.dtype}, percentiles "
            f"{PERCENTILES[0]:g} and {PERCENTILES[1]:g}) were mapped to 1 to 255"
        )


def _find_padding(data: NDArray[Any], signed: bool) -> NDArray[np.bool_]:
    not_finite: NDArray[np.bool_] = ~np.isfinite(data)
    return not_finite if signed else not_finite | (data == 0)
