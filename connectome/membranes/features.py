"""Features of a voxel: grey values, edges and the local shape of dark structures, in nm.

Classifiers trained on these features predict the probability of membrane.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

from connectome.core.progress import Progress, ignore_progress, map_sections
from connectome.core.pyramid import downsample, downsampled_sigma, upsample
from connectome.core.volume import nearest_sound_sections

# Gaussian sigmas in nm: two of the width of a membrane, one along it, two of its surroundings.
FINE_NM, COARSE_NM, ALONG_NM = 8.0, 12.0, 14.0
TEXTURE_NM, SURROUND_NM = 30.0, 48.0
TRUNCATE = 2.5  # sigma at which Gaussians end
# Along axes with voxels up to this size, wide features are computed at half the resolution.
MAX_HALVED_NM = 10.0
BLOCK_ROWS = 128  # rows per block of thin sections; even, so that blocks can be downsampled
# Sections per slab; few, to fit into the processor's cache; even, so that slabs can be downsampled.
SLAB_SECTIONS = 2

VoxelSize = tuple[float, float, float]
Block = tuple[slice, slice, slice]


def feature_names(n_axes: int) -> list[str]:
    """List the features of `compute_features`, in order, for curvature along 2 or 3 axes."""
    curvatures = ["curvature", "curvature across", "curvature along"][:n_axes]
    return [
        "edge",
        *(f"fine {name}" for name in curvatures),
        "grey",
        *(f"coarse {name}" for name in curvatures),
        "sheet",
        "sheet alone",
        "surrounding grey",
        "texture",
    ]


def standardise_sections(sections: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Standardise every section to mean 0 and variance 1 over its tissue.

    Parameters
    ----------
    sections : ndarray of float, shape (Z, Y, X)
        EM.
    mask : ndarray of bool, shape (Z, Y, X)
        Tissue.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        0 outside the mask.
    """
    result = np.zeros(sections.shape, np.float32)
    for section, inside, out in zip(sections, mask, result, strict=True):
        if inside.any():
            values = section[inside].astype(np.float32)
            out[inside] = (values - values.mean()) / (values.std() + 1e-6)
    return result


def compute_features(
    image: np.ndarray,
    voxel_size: VoxelSize,
    n_axes: int,
    dtype: type = np.float32,
) -> np.ndarray:
    """Compute the features of every voxel.

    Curvatures are the eigenvalues of the Hessian, largest first: one is large in a dark sheet, two
    in a dark line (Lindeberg 1998). Sheets are detected by tensor voting (Medioni et al. 2000): the
    curvature across the sheet, as a tensor, is averaged over the neighbourhood. The tensors of a
    membrane agree and add up; those of vesicles and noise have all directions and cancel. Features
    wider than a membrane are computed at half the resolution where voxels are small. Takes O(V)
    time for V voxels.

    Parameters
    ----------
    image : ndarray of float32, shape (Z, Y, X)
        Standardised EM.
    voxel_size : tuple of float
        (z, y, x) in nm.
    n_axes : {2, 3}
        2 for features within each section, 3 for features across thin sections as well.
    dtype : type
        Floating type of the result.

    Returns
    -------
    ndarray of floats, shape (F, Z, Y, X)
        In the order of `feature_names`.
    """
    # Widths in pixels; 0 along an axis that is not used.
    px_per_nm = np.array([float(axis >= 3 - n_axes) for axis in range(3)]) / voxel_size
    halved_axes = [axis for axis in range(3 - n_axes, 3) if voxel_size[axis] <= MAX_HALVED_NM]
    features = np.empty((len(feature_names(n_axes)), *image.shape), dtype)
    slab_votes = []
    fine_slabs = _smooth_slabs(image, (FINE_NM * px_per_nm).tolist())
    coarse_slabs = _smooth_slabs(image, (COARSE_NM * px_per_nm).tolist())
    starts = range(0, len(image), SLAB_SECTIONS)
    for z, fine, coarse in zip(starts, fine_slabs, coarse_slabs, strict=True):
        hessian = coarse.hessian()
        curvatures = _eigenvalues(hessian)
        computed = [
            fine.gradient_magnitude(),
            *_eigenvalues(fine.hessian()),
            coarse.shifted(),
            *curvatures,
        ]
        for out, feature in zip(features[:-4], computed, strict=True):
            out[z : z + SLAB_SECTIONS] = feature
        tensor = _sheet_tensor(hessian, curvatures)
        slab_votes.append([downsample(element, halved_axes) for element in tensor])
    votes = [np.concatenate(element) for element in zip(*slab_votes, strict=True)]
    wide = _wide_features(image, votes, px_per_nm, halved_axes)
    for out, feature in zip(features[-4:], wide, strict=True):
        out[...] = upsample(feature, halved_axes, image.shape)
    return features


def compute_stack_features(
    image: np.ndarray, voxel_size: VoxelSize, n_axes: int, threads: int = 1
) -> np.ndarray:
    """Compute the features of all voxels of a stack, block by block.

    Parameters
    ----------
    image : ndarray of float32, shape (Z, Y, X)
        Standardised EM.
    voxel_size : tuple of float
        (z, y, x) in nm.
    n_axes : {2, 3}
        As for `compute_features`.
    threads : int
        Blocks processed at a time.

    Returns
    -------
    ndarray of float32, shape (F, Z, Y, X)
        In the order of `feature_names`.
    """
    features = np.empty((len(feature_names(n_axes)), *image.shape), np.float32)
    for block, block_features in compute_block_features(image, voxel_size, n_axes, threads):
        features[:, *block] = block_features
    return features


def compute_block_features(
    image: np.ndarray,
    voxel_size: VoxelSize,
    n_axes: int,
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> Iterator[tuple[Block, np.ndarray]]:
    """Compute the features of a stack block by block, with little memory besides the result.

    Parameters
    ----------
    image, voxel_size, n_axes, threads
        As for `compute_stack_features`.
    progress : callable
        Called after each block with the number of sections that it amounts to.

    Yields
    ------
    block : tuple of slice
        Position of the block in the stack.
    features : ndarray of float32, shape (F, Z, Y, X)
        Features of its voxels.
    """
    blocks = _divide_into_blocks(image.shape, voxel_size, n_axes)
    n_sections = np.diff(np.linspace(0, len(image), len(blocks) + 1).astype(int)).tolist()

    def compute(block: tuple[Block, Block, Block]) -> tuple[Block, np.ndarray]:
        core, with_margin, inner = block
        return core, compute_features(image[with_margin], voxel_size, n_axes)[:, *inner]

    results = map_sections(compute, blocks, threads)
    for finished, result in zip(n_sections, results, strict=True):
        progress(finished)
        yield result


def fill_damaged_sections(image: np.ndarray, damaged_sections: Sequence[int]) -> None:
    """Replace damaged sections, in place, by interpolating between the nearest sound ones.

    Parameters
    ----------
    image : ndarray of float32, shape (Z, Y, X)
        Standardised EM of thin sections.
    damaged_sections : sequence of int
        Sections whose content is unreliable.
    """
    sound = [z for z in range(len(image)) if z not in set(damaged_sections)]
    for z in damaged_sections if sound else ():
        before, after = nearest_sound_sections(z, sound)
        weight = (z - before) / (after - before) if after != before else 0.0
        image[z] = (1 - weight) * image[before] + weight * image[after]


def feature_margin_px(voxel_size: VoxelSize) -> np.ndarray:
    """Return how far from a voxel its features depend on the image, in voxels along each axis.

    The margin is even, so that a block with this margin is downsampled at the same positions.
    """
    furthest = max(SURROUND_NM, COARSE_NM + ALONG_NM)
    halved_px = np.ceil(TRUNCATE * furthest / np.asarray(voxel_size, float) / 2).astype(int)
    return 2 * (halved_px + 2)


def _divide_into_blocks(
    shape: tuple[int, ...], voxel_size: VoxelSize, n_axes: int
) -> list[tuple[Block, Block, Block]]:
    """Divide a stack into sections, or into blocks of rows for features in 3D.

    Returns
    -------
    list of tuple
        Position of the block in the stack, the same with its margin, and the position of the block
        within that.
    """
    whole = slice(None)
    if n_axes == 2:
        sections = [(slice(z, z + 1), whole, whole) for z in range(shape[0])]
        return [(section, section, (whole, whole, whole)) for section in sections]
    margin = int(feature_margin_px(voxel_size)[1])
    blocks = []
    for start in range(0, shape[1], BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, shape[1])
        first, last = max(start - margin, 0), min(stop + margin, shape[1])
        core = (whole, slice(start, stop), whole)
        inner = (whole, slice(start - first, stop - first), whole)
        blocks.append((core, (whole, slice(first, last), whole), inner))
    return blocks


def _wide_features(
    image: np.ndarray, votes: list[np.ndarray], px_per_nm: np.ndarray, halved_axes: list[int]
) -> Iterator[np.ndarray]:
    """Yield sheet strength, sheet anisotropy, mean and standard deviation, at half resolution."""

    def smooth(field: np.ndarray, sigma_nm: float) -> np.ndarray:
        sigma = downsampled_sigma((sigma_nm * px_per_nm).tolist(), halved_axes)
        return ndimage.gaussian_filter(field, sigma, truncate=TRUNCATE)

    first, second, *_ = _eigenvalues([smooth(element, ALONG_NM) for element in votes])
    yield first
    yield first - second
    grey, square = downsample(image, halved_axes), downsample(image * image, halved_axes)
    yield smooth(grey, SURROUND_NM)
    mean = smooth(grey, TEXTURE_NM)
    yield np.sqrt(np.maximum(smooth(square, TEXTURE_NM) - mean * mean, 0))


def _smooth_slabs(image: np.ndarray, sigma: list[float]) -> Iterator[_SmoothSlab]:
    """Smooth an image, and yield it a few sections at a time."""
    smooth = ndimage.gaussian_filter(image, sigma, truncate=TRUNCATE)
    margin = [int(width > 0) for width in sigma]
    padded = np.pad(smooth, [(voxels, voxels) for voxels in margin], mode="edge")
    for z in range(0, len(image), SLAB_SECTIONS):
        yield _SmoothSlab(padded[z : z + SLAB_SECTIONS + 2 * margin[0]], sigma)


class _SmoothSlab:
    """A smoothed image with a margin of one voxel along the axes that were smoothed.

    Derivatives are normalised by scale: they are in units of the Gaussian's width.

    Parameters
    ----------
    padded : ndarray of float32, shape (Z, Y, X)
        The image with its margin.
    sigma : list of float
        Width of the Gaussian along each axis, in voxels; 0 along axes that are not used.
    """

    def __init__(self, padded: np.ndarray, sigma: list[float]):
        self.padded, self.sigma = padded, sigma
        self.axes = [axis for axis, width in enumerate(sigma) if width]

    def shifted(self, steps: dict[int, int] | None = None) -> np.ndarray:
        """Return the image without its margin, shifted by -1, 0 or 1 voxels along given axes."""
        index = [slice(None)] * 3
        for axis in self.axes:
            step = (steps or {}).get(axis, 0)
            index[axis] = slice(1 + step, self.padded.shape[axis] - 1 + step)
        return self.padded[tuple(index)]

    def gradient_magnitude(self) -> np.ndarray:
        """Return the magnitude of the gradient."""
        slopes = (
            (self.shifted({axis: 1}) - self.shifted({axis: -1})) * (self.sigma[axis] / 2)
            for axis in self.axes
        )
        return np.sqrt(sum(slope * slope for slope in slopes))

    def hessian(self) -> list[np.ndarray]:
        """Return the upper triangle of the Hessian, row by row."""
        shifted, sigma = self.shifted, self.sigma
        elements = []
        for i in self.axes:
            second_difference = shifted({i: 1}) + shifted({i: -1}) - 2 * shifted()
            elements.append(second_difference * sigma[i] ** 2)
            for j in self.axes[i - self.axes[0] + 1 :]:
                same = shifted({i: 1, j: 1}) + shifted({i: -1, j: -1})
                opposite = shifted({i: 1, j: -1}) + shifted({i: -1, j: 1})
                elements.append((same - opposite) * (sigma[i] * sigma[j] / 4))
        return elements


def _eigenvalues(tensor: list[np.ndarray]) -> list[np.ndarray]:
    """Return the eigenvalues of symmetric 2 × 2 or 3 × 3 tensors, largest first.

    Tensors are given as upper triangles. The 3 × 3 case uses the trigonometric solution of the
    characteristic equation (Smith 1961).
    """
    if len(tensor) == 3:
        yy, yx, xx = tensor
        middle, half = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + yx * yx)
        return [middle + half, middle - half]
    zz, zy, zx, yy, yx, xx = tensor
    middle = (zz + yy + xx) / 3
    a, b, c = zz - middle, yy - middle, xx - middle
    off = zy * zy + zx * zx + yx * yx
    spread = np.sqrt(np.maximum((a * a + b * b + c * c + 2 * off) / 6, 1e-12))
    determinant = a * (b * c - yx * yx) - zy * (zy * c - yx * zx) + zx * (zy * yx - b * zx)
    angle = np.arccos(np.clip(determinant / (2 * spread * spread * spread), -1, 1)) / 3
    largest = middle + 2 * spread * np.cos(angle)
    smallest = middle + 2 * spread * np.cos(angle + np.float32(2 * np.pi / 3))
    return [largest, 3 * middle - largest - smallest, smallest]


def _sheet_tensor(hessian: list[np.ndarray], curvatures: list[np.ndarray]) -> list[np.ndarray]:
    """Project the Hessian onto the eigenvector of its largest eigenvalue, if that is positive.

    Returns
    -------
    list of ndarray
        Upper triangle of the projection; 0 where the largest curvature is that of a bright
        structure.
    """
    first, second = curvatures[:2]
    strength = np.maximum(first, 0)
    if len(hessian) == 3:
        yy, yx, xx = hessian
        scale = strength / np.maximum(first - second, 1e-6)
        return [(yy - second) * scale, yx * scale, (xx - second) * scale]
    # The product (H - second)(H - third) is the projection, up to scale (Cayley-Hamilton).
    third = curvatures[2]
    zz, zy, zx, yy, yx, xx = hessian
    scale = strength / np.maximum((first - second) * (first - third), 1e-6)
    b = [zz - second, yy - second, xx - second]
    c = [zz - third, yy - third, xx - third]
    return [
        (b[0] * c[0] + zy * zy + zx * zx) * scale,
        (b[0] * zy + zy * c[1] + zx * yx) * scale,
        (b[0] * zx + zy * yx + zx * c[2]) * scale,
        (zy * zy + b[1] * c[1] + yx * yx) * scale,
        (zy * zx + b[1] * yx + yx * c[2]) * scale,
        (zx * zx + yx * yx + b[2] * c[2]) * scale,
    ]
