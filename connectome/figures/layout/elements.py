"""Elements shared by figures of image stacks: greyscale, overlays, boundaries, section axes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from connectome.core.errors import DataError
from connectome.figures.layout import page

OVERLAY_OPACITY = 0.5  # of neurite colours over the EM


def check_shapes(shape: tuple[int, ...], *stacks: np.ndarray) -> None:
    """Check that all stacks have the given shape.

    Raises
    ------
    DataError
        If one differs.
    """
    for stack in stacks:
        if stack.shape != shape:
            raise DataError(
                f"stacks differ in shape: {stack.shape} and {shape} (Z, Y, X)",
                "they cannot be drawn in one figure",
            )


def to_greyscale(image: np.ndarray) -> np.ndarray:
    """Convert an image to uint8, from uint8 or from intensities in [0, 1]."""
    if image.dtype == np.uint8:
        return image
    return (255 * np.clip(np.nan_to_num(image.astype(np.float32)), 0, 1) + 0.5).astype(np.uint8)


def overlay_colours(grey: np.ndarray, colour_index: np.ndarray) -> np.ndarray:
    """Overlay neurite colours on a greyscale image.

    Parameters
    ----------
    grey : ndarray of uint8, shape (Y, X)
        The EM.
    colour_index : ndarray of int, shape (Y, X)
        Index into `page.NEURITE_COLOURS`; -1 leaves the pixel grey.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
    """
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    palette = (255 * page.NEURITE_COLOURS).astype(np.float32)
    blend = (1 - OVERLAY_OPACITY) * rgb + OVERLAY_OPACITY * palette[colour_index]
    return np.where(colour_index[..., None] < 0, rgb, blend).astype(np.uint8)


def find_boundaries(plane: np.ndarray) -> np.ndarray:
    """Return a mask of the pixels whose id differs from the one below or to the right."""
    edge = np.zeros(plane.shape, dtype=bool)
    edge[:-1] |= plane[:-1] != plane[1:]
    edge[:, :-1] |= plane[:, :-1] != plane[:, 1:]
    return edge


def describe_extent(shape: tuple[int, ...], voxel_size: tuple[float, float, float]) -> str:
    """Describe the size of a stack in voxels and µm, in x, y, z order as in publications."""
    sides = list(zip(shape, voxel_size, strict=True))[::-1]
    return (
        f"{format_dimensions(f'{n}' for n, _ in sides)} voxels of "
        f"{format_dimensions(f'{nm:.4g}' for _, nm in sides)} nm (x, y, z): "
        f"{format_dimensions(f'{n * nm / 1000:.3g}' for n, nm in sides)} µm"
    )


def format_dimensions(sides: Iterable[str]) -> str:
    """Join side lengths by multiplication signs."""
    return " × ".join(sides)  # noqa: RUF001


def format_count(count: int, thing: str) -> str:
    """Return a count with its noun in singular or plural: ``1 neurite``, ``2 neurites``."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def integer_locator(max_ticks: int) -> MaxNLocator:
    """Return a tick locator for integers."""
    return MaxNLocator(max_ticks, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)


def section_edges(n_sections: int) -> np.ndarray:
    """Return the histogram bin edges that centre one bin on each section index."""
    return np.arange(n_sections + 1) - 0.5


def set_section_axis(axes: Axes, n_sections: int) -> None:
    """Label the horizontal axis with section indices."""
    axes.set(xlim=section_edges(n_sections)[[0, -1]], xlabel="section z")
    axes.xaxis.set_major_locator(integer_locator(8))


def hide_spines(axes: Axes) -> None:
    """Hide the upper and right spines of a plot."""
    axes.spines[["top", "right"]].set_visible(False)
