"""How a voxel looks: greys, edges and the shape of what is dark around it, at lengths in nm.

Judging the likelihood of membrane is left to whoever was trained on these features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from connectome.progress import map_sections, silent
from connectome.volume import sound_around

# Widths (Gaussian sigma) in nm: two of a membrane, one along it, and two of its surroundings.
FINE_NM, COARSE_NM, ALONG_NM = 8.0, 12.0, 14.0
TEXTURE_NM, SURROUND_NM = 30.0, 48.0
# What is further away than this many sigma is left out of a Gaussian.
TRUNCATE = 2.5
BLOCK_ROWS = 64  # rows looked at together where sections are thin


def feature_names(n_axes: int) -> list[str]:
    """List the features of `voxel_features`, in order, for curvature along 2 or 3 axes."""
    curvatures = ["curvature", "curvature across", "curvature along"][:n_axes]
    return [
        "grey",
        "surrounding grey",
        "texture",
        "edge",
        *(f"fine {name}" for name in curvatures),
        *(f"coarse {name}" for name in curvatures),
        "sheet",
        "sheet alone",
    ]


def standardised(sections: np.ndarray, tissue: np.ndarray) -> np.ndarray:
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
    for section, inside, out in zip(sections, tissue, result, strict=True):
        if inside.any():
            values = section[inside].astype(np.float32)
            out[inside] = (values - values.mean()) / (values.std() + 1e-6)
    return result


def voxel_features(
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
    point everywhere and cancel. O(V) time for V voxels.

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

    def sigma(nm):
        px = nm / np.asarray(voxel_size, float)
        return px * [n_axes == 3, 1, 1]

    def smooth(field, nm):
        return ndimage.gaussian_filter(field, sigma(nm), truncate=TRUNCATE)

    def texture():
        mean, square = smooth(image, TEXTURE_NM), smooth(image * image, TEXTURE_NM)
        return np.sqrt(np.maximum(square - mean * mean, 0))

    def curved(nm):
        slopes, bends = _derivatives(smooth(image, nm), sigma(nm)[-n_axes:])
        return np.sqrt(sum(slope * slope for slope in slopes)), bends

    def agreed():
        _, bends = curved(COARSE_NM)
        curvatures = _eigenvalues(bends)
        yield from curvatures
        votes = _sheet_tensor(bends, curvatures)
        del bends, curvatures  # one third of the memory this takes
        for vote in votes:
            ndimage.gaussian_filter(vote, sigma(ALONG_NM), truncate=TRUNCATE, output=vote)
        first, second, *_ = _eigenvalues(votes)
        yield first
        yield first - second

    def found():
        yield smooth(image, COARSE_NM)
        yield smooth(image, SURROUND_NM)
        yield texture()
        edge, bends = curved(FINE_NM)
        yield edge
        yield from _eigenvalues(bends)
        del edge, bends
        yield from agreed()

    features = np.empty((len(feature_names(n_axes)), *image.shape), dtype)
    for place, feature in zip(features, found(), strict=True):
        place[...] = feature
    return features


def stack_features(
    image: np.ndarray, voxel_size: tuple[float, float, float], n_axes: int, threads: int = 1
) -> np.ndarray:
    """Describe all voxels of a stack, block by block, so that little memory is needed besides.

    Parameters
    ----------
    image : ndarray of float32, shape (Z, Y, X)
        Standardised EM.
    voxel_size : tuple of float
        (z, y, x) in nm.
    n_axes : {2, 3}
        As `voxel_features`.
    threads : int
        Blocks worked on at a time.

    Returns
    -------
    ndarray of float16, shape (F, Z, Y, X)
        As named by `feature_names`.
    """
    features = np.zeros((len(feature_names(n_axes)), *image.shape), np.float16)

    def describe(block):
        core, seen, inner = block
        features[:, *core] = voxel_features(image[seen], voxel_size, n_axes, np.float16)[:, *inner]

    for _ in map_sections(describe, _blocks(image.shape, voxel_size, n_axes), threads, silent):
        pass
    return features


def stand_in(image: np.ndarray, damaged: Sequence[int]) -> None:
    """Replace damaged sections, in place, by what lies between the nearest sound ones.

    Parameters
    ----------
    image : ndarray of float32, shape (Z, Y, X)
        Standardised EM of thin sections.
    damaged : sequence of int
        Sections not to be believed.
    """
    sound = [z for z in range(len(image)) if z not in set(damaged)]
    for z in damaged if sound else ():
        before, after = sound_around(z, sound)
        weight = (z - before) / (after - before) if after != before else 0.0
        image[z] = (1 - weight) * image[before] + weight * image[after]


def reach(voxel_size: tuple[float, float, float]) -> np.ndarray:
    """Return how many voxels away from a voxel its features still depend on, per axis."""
    furthest = max(SURROUND_NM, COARSE_NM + ALONG_NM)
    return np.ceil(TRUNCATE * furthest / np.asarray(voxel_size, float)).astype(int) + 2


def _blocks(shape, voxel_size, n_axes) -> list[tuple]:
    """Divide a stack up: what a block is for, what it must see, and the one within the other."""
    whole = slice(None)
    if n_axes == 2:
        return [((slice(z, z + 1),), (slice(z, z + 1),), (whole,)) for z in range(shape[0])]
    margin = int(reach(voxel_size)[1])
    blocks = []
    for start in range(0, shape[1], BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, shape[1])
        first, last = max(start - margin, 0), min(stop + margin, shape[1])
        inner = (whole, slice(start - first, stop - first))
        blocks.append(((whole, slice(start, stop)), (whole, slice(first, last)), inner))
    return blocks


def _derivatives(field: np.ndarray, sigma: np.ndarray) -> tuple[list, list]:
    """First and second differences along the last axes, in units of the smoothing's width.

    The second ones come as the upper triangle of the Hessian, row by row.
    """
    axes = range(3 - len(sigma), 3)
    slopes = [
        ndimage.correlate1d(field, [-0.5 * s, 0, 0.5 * s], axis, mode="nearest")
        for axis, s in zip(axes, sigma, strict=True)
    ]
    bends = []
    for i, axis in enumerate(axes):
        s = sigma[i]
        bends.append(ndimage.correlate1d(field, [s * s, -2 * s * s, s * s], axis, mode="nearest"))
        bends += [
            ndimage.correlate1d(slope, [-0.5 * s, 0, 0.5 * s], axis, mode="nearest")
            for slope in slopes[i + 1 :]
        ]
    return slopes, bends


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
    angle = np.arccos(np.clip(determinant / (2 * spread**3), -1, 1)) / 3
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
