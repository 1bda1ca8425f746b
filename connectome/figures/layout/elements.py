"""What figures of stacks share: greys, tints, outlines, axes of sections, sizes in words."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from connectome.core.errors import DataError
from connectome.figures.layout import page

OVERLAY_OPACITY = 0.5  # share of the neurite's colour in an overlay


def check_shapes(shape: tuple[int, ...], *stacks: np.ndarray) -> None:
    """Refuse stacks of another shape."""
    for stack in stacks:
        if stack.shape != shape:
            raise DataError(f"a stack of shape {stack.shape} does not fit one of {shape}")


def to_greyscale(image: np.ndarray) -> np.ndarray:
    """Return an image as uint8, from uint8 or from intensities in [0, 1]."""
    if image.dtype == np.uint8:
        return image
    return (255 * np.clip(np.nan_to_num(image.astype(np.float32)), 0, 1) + 0.5).astype(np.uint8)


def overlay_colours(shade: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Lay neurite colours over a grey image; ``colour`` is an index, -1 for none."""
    shade = np.repeat(shade[..., None], 3, axis=-1)
    palette = (255 * page.NEURITE_COLOURS).astype(np.float32)
    blend = (1 - OVERLAY_OPACITY) * shade + OVERLAY_OPACITY * palette[colour]
    return np.where(colour[..., None] < 0, shade, blend).astype(np.uint8)


def find_boundaries(plane: np.ndarray) -> np.ndarray:
    """Return which pixels of a plane of ids differ from the next one below or to the right."""
    edge = np.zeros(plane.shape, dtype=bool)
    edge[:-1] |= plane[:-1] != plane[1:]
    edge[:, :-1] |= plane[:, :-1] != plane[:, 1:]
    return edge


def describe_extent(shape: tuple[int, ...], voxel_size: tuple[float, float, float]) -> str:
    """Say how large a stack is, in voxels and µm, in x, y, z order as microscopists write."""
    sides = list(zip(shape, voxel_size, strict=True))[::-1]
    return (
        f"{format_dimensions(f'{n}' for n, _ in sides)} voxels of "
        f"{format_dimensions(f'{nm:.4g}' for _, nm in sides)} nm (x, y, z): "
        f"{format_dimensions(f'{n * nm / 1000:.3g}' for n, nm in sides)} µm"
    )


def format_dimensions(sides: Iterable[str]) -> str:
    """Write sides as a size."""
    return " × ".join(sides)  # noqa: RUF001


def format_count(count: int, thing: str) -> str:
    """Say how many things there are."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def integer_locator(most: int) -> MaxNLocator:
    """Return a locator of at most so many whole numbers along an axis."""
    return MaxNLocator(most, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)


def section_edges(sections: int) -> np.ndarray:
    """Return where sections begin and end along an axis that counts them."""
    return np.arange(sections + 1) - 0.5


def set_section_axis(axes: Axes, sections: int) -> None:
    """Let the horizontal axis count sections."""
    axes.set(xlim=section_edges(sections)[[0, -1]], xlabel="section z")
    axes.xaxis.set_major_locator(integer_locator(8))
