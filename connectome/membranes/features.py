"""How a voxel looks: greys, edges and the shape of what is dark around it, at lengths in nm.

Judging the likelihood of membrane is left to whoever was trained on these features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

from connectome.core.progress import Progress, ignore_progress, map_sections
from connectome.core.pyramid import downsample, downsampled_sigma, upsample
from connectome.core.volume import nearest_sound_sections

# Widths (Gaussian sigma) in nm: two of a membrane, one along it, and two of its surroundings.
FINE_NM, COARSE_NM, ALONG_NM = 8.0, 12.0, 14.0
TEXTURE_NM, SURROUND_NM = 30.0, 48.0
# What is further away than this many sigma is left out of a Gaussian.
TRUNCATE = 2.5
# Along axes with voxels up to this size, what is wider than a membrane has half the resolution.
MAX_HALVED_NM = 10.0
BLOCK_ROWS = 128  # rows looked at together where sections are thin; even, to be halved
SLAB_SECTIONS = 2  # sections worked on together: few, for the processor's cache; even, to be halved


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
    """Bring every section to mean 0 and variance 1 over its tissue; 0 elsewhere.

    Parameters
    ----------
    sections : ndarray of float, shape (Z, Y, X)
        EM.
    tissue : ndarray of bool, shape (Z, Y, X)
        Where it shows tissue.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
    """
    result = np.zeros(sections.shape, np.float32)
    for section, inside, out in zip(sections, mask, result, strict=True):
        if inside.any():
            values = section[inside].astype(np.float32)
            out[inside] = (values - values.mean()) / (values.std() + 1e-6)
    return result


def compute_features(
    image: np.ndarray,
    voxel_size: tuple[float, float, float],
    n_axes: int,
    dtype: type = np.float32,
) -> np.ndarray:
    """Describe the neighbourhood of every voxel.

    Curvatures are the eigenvalues of the Hessian, largest first: a dark sheet has one that is
    high, a dark line two (Lindeberg 1998). Sheets hang together: the curvature of every voxel,
    as a tensor that points across the sheet, is averaged over the neighbourhood, and what
    neighbours agree on remains ("sheet"; Medioni et al. 2000 call it voting). Vesicles and noise
    point everywhere and cancel. What is wider than a membrane is found at half the resolution
    where voxels are small. O(V) time for V voxels.

    Parameters
    ----------
    image : ndarray of float32, shape (Z, Y, X)
        Standardised EM.
    voxel_size : tuple of float
        (z, y, x) in nm.
    n_axes : {2, 3}
        3 looks across sections, too, which only thin sections allow; 2 within each section.
    dtype : type
        Floating type of the result.

    Returns
    -------
    ndarray of floats, shape (F, Z, Y, X)
        As named by `feature_names`.
    """
    # A width of 0 px is that of an axis that is not looked along.
    pixels = np.array([float(axis >= 3 - n_axes) for axis in range(3)]) / voxel_size
    halves = [axis for axis in range(3 - n_axes, 3) if voxel_size[axis] <= MAX_HALVED_NM]
    features = np.empty((len(feature_names(n_axes)), *image.shape), dtype)
    votes = []
    slabs = [_slabs(image, (nm * pixels).tolist()) for nm in (FINE_NM, COARSE_NM)]
    for z, fine, coarse in zip(range(0, len(image), SLAB_SECTIONS), *slabs, strict=True):
        bends = coarse.hessian()
        curvatures = _eigenvalues(bends)
        found = (fine.gradient(), *_eigenvalues(fine.hessian()), coarse.at(), *curvatures)
        for place, feature in zip(features[:-4], found, strict=True):
            place[z : z + SLAB_SECTIONS] = feature
        votes.append([downsample(vote, halves) for vote in _sheet_tensor(bends, curvatures)])
    votes = [np.concatenate(vote) for vote in zip(*votes, strict=True)]
    found = _wide_features(image, votes, pixels, halves)
    for place, feature in zip(features[-4:], found, strict=True):
        place[...] = upsample(feature, halves, image.shape)
    return features


def compute_stack_features(
    image: np.ndarray, voxel_size: tuple[float, float, float], n_axes: int, threads: int = 1
) -> np.ndarray:
    """Describe all voxels of a stack.

    Parameters
    ----------
    image : ndarray of float32, shape (Z, Y, X)
        Standardised EM.
    voxel_size : tuple of float
        (z, y, x) in nm.
    n_axes : {2, 3}
        As `compute_features`.
    threads : int
        Blocks worked on at a time.

    Returns
    -------
    ndarray of float32, shape (F, Z, Y, X)
        As named by `feature_names`.
    """
    features = np.empty((len(feature_names(n_axes)), *image.shape), np.float32)
    for core, described in compute_block_features(image, voxel_size, n_axes, threads):
        features[:, *core] = described
    return features


def compute_block_features(
    image: np.ndarray,
    voxel_size: tuple[float, float, float],
    n_axes: int,
    threads: int = 1,
    progress: Progress = ignore_progress,
) -> Iterator[tuple[tuple[slice, slice, slice], np.ndarray]]:
    """Describe a stack block by block, so that little memory is needed besides.

    Parameters
    ----------
    image, voxel_size, n_axes, threads
        As `compute_stack_features`.
    progress : callable
        Told of finished sections, as many as a block is worth.

    Yields
    ------
    core : tuple of slice
        Where in the stack the block lies.
    described : ndarray of float32, shape (F, Z, Y, X)
        The features of its voxels.
    """
    blocks = _blocks(image.shape, voxel_size, n_axes)
    worth = np.diff(np.linspace(0, len(image), len(blocks) + 1).astype(int)).tolist()

    def describe(block):
        core, seen, inner = block
        return core, compute_features(image[seen], voxel_size, n_axes)[:, *inner]

    for sections, found in zip(worth, map_sections(describe, blocks, threads), strict=True):
        progress(sections)
        yield found


def fill_damaged_sections(image: np.ndarray, damaged_sections: Sequence[int]) -> None:
    """Replace damaged sections, in place, by what lies between the nearest sound ones.

    Parameters
    ----------
    image : ndarray of float32, shape (Z, Y, X)
        Standardised EM of thin sections.
    damaged : sequence of int
        Sections not to be believed.
    """
    sound = [z for z in range(len(image)) if z not in set(damaged_sections)]
    for z in damaged_sections if sound else ():
        before, after = nearest_sound_sections(z, sound)
        weight = (z - before) / (after - before) if after != before else 0.0
        image[z] = (1 - weight) * image[before] + weight * image[after]


def feature_margin_px(voxel_size: tuple[float, float, float]) -> np.ndarray:
    """Return how many voxels away from a voxel its features still depend on, per axis.

    An even number: what begins so far off is halved in the same places.
    """
    furthest = max(SURROUND_NM, COARSE_NM + ALONG_NM)
    halved_px = np.ceil(TRUNCATE * furthest / np.asarray(voxel_size, float) / 2).astype(int)
    return 2 * (halved_px + 2)


def _blocks(shape, voxel_size, n_axes) -> list[tuple]:
    """Divide a stack up: what a block is for, what it must see, and the one within the other."""
    whole = slice(None)
    if n_axes == 2:
        sections = [(slice(z, z + 1), whole, whole) for z in range(shape[0])]
        return [(section, section, (whole,)) for section in sections]
    margin = int(feature_margin_px(voxel_size)[1])
    blocks = []
    for start in range(0, shape[1], BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, shape[1])
        first, last = max(start - margin, 0), min(stop + margin, shape[1])
        inner = (whole, slice(start - first, stop - first))
        blocks.append(((whole, slice(start, stop), whole), (whole, slice(first, last)), inner))
    return blocks


def _wide_features(image, votes, pixels, halves) -> Iterator[np.ndarray]:
    """Find, at half the resolution, the sheets that are voted for and what surrounds a voxel."""

    def smooth(field, nm):
        return ndimage.gaussian_filter(
            field, downsampled_sigma(nm * pixels, halves), truncate=TRUNCATE
        )

    first, second, *_ = _eigenvalues([smooth(vote, ALONG_NM) for vote in votes])
    yield first
    yield first - second
    grey, square = downsample(image, halves), downsample(image * image, halves)
    yield smooth(grey, SURROUND_NM)
    mean = smooth(grey, TEXTURE_NM)
    yield np.sqrt(np.maximum(smooth(square, TEXTURE_NM) - mean * mean, 0))


def _slabs(image: np.ndarray, sigma: list[float]) -> Iterator[_Slab]:
    """Smooth an image, and divide it into a few sections at a time."""
    smooth = ndimage.gaussian_filter(image, sigma, truncate=TRUNCATE)
    margin = [int(width > 0) for width in sigma]
    padded = np.pad(smooth, [(voxels, voxels) for voxels in margin], mode="edge")
    for z in range(0, len(image), SLAB_SECTIONS):
        yield _Slab(padded[z : z + SLAB_SECTIONS + 2 * margin[0]], sigma)


class _Slab:
    """A smooth image with a margin of one voxel along the axes that it is smooth along.

    Its derivatives are in units of the smoothing's width.
    """

    def __init__(self, padded: np.ndarray, sigma: list[float]):
        self.padded, self.sigma = padded, sigma
        self.axes = [axis for axis, width in enumerate(sigma) if width]

    def at(self, steps: dict[int, int] | None = None) -> np.ndarray:
        """Return the image within the margin, or as many steps further along some axes."""
        index = [slice(None)] * 3
        for axis in self.axes:
            step = (steps or {}).get(axis, 0)
            index[axis] = slice(1 + step, self.padded.shape[axis] - 1 + step)
        return self.padded[tuple(index)]

    def gradient(self) -> np.ndarray:
        """Return the size of the gradient."""
        slopes = (
            (self.at({axis: 1}) - self.at({axis: -1})) * (self.sigma[axis] / 2)
            for axis in self.axes
        )
        return np.sqrt(sum(slope * slope for slope in slopes))

    def hessian(self) -> list[np.ndarray]:
        """Return the upper triangle of the Hessian, row by row."""
        at, sigma = self.at, self.sigma
        bends = []
        for i in self.axes:
            bends.append((at({i: 1}) + at({i: -1}) - 2 * at()) * sigma[i] ** 2)
            for j in self.axes[i - self.axes[0] + 1 :]:
                rising = at({i: 1, j: 1}) + at({i: -1, j: -1})
                falling = at({i: 1, j: -1}) + at({i: -1, j: 1})
                bends.append((rising - falling) * (sigma[i] * sigma[j] / 4))
        return bends


def _eigenvalues(tensor: list[np.ndarray]) -> list[np.ndarray]:
    """Eigenvalues of symmetric tensors, largest first; upper triangles of 2 × 2 or 3 × 3."""
    if len(tensor) == 3:
        yy, yx, xx = tensor
        middle, half = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + yx * yx)
        return [middle + half, middle - half]
    # Trigonometric solution of the characteristic equation (Smith 1961).
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


def _sheet_tensor(bends: list[np.ndarray], curvatures: list[np.ndarray]) -> list[np.ndarray]:
    """Project the Hessian onto its largest eigenvector, where that is a dark sheet's."""
    first, second = curvatures[:2]
    strength = np.maximum(first, 0)
    if len(bends) == 3:
        yy, yx, xx = bends
        share = strength / np.maximum(first - second, 1e-6)
        return [(yy - second) * share, yx * share, (xx - second) * share]
    # The product (H - second)(H - third) is the projection, up to scale (Cayley-Hamilton).
    third = curvatures[2]
    zz, zy, zx, yy, yx, xx = bends
    share = strength / np.maximum((first - second) * (first - third), 1e-6)
    b = [zz - second, yy - second, xx - second]
    c = [zz - third, yy - third, xx - third]
    return [
        (b[0] * c[0] + zy * zy + zx * zx) * share,
        (b[0] * zy + zy * c[1] + zx * yx) * share,
        (b[0] * zx + zy * yx + zx * c[2]) * share,
        (zy * zy + b[1] * c[1] + yx * yx) * share,
        (zy * zx + b[1] * yx + yx * c[2]) * share,
        (zx * zx + yx * yx + b[2] * c[2]) * share,
    ]
