"""Imaging of the phantom: grey values, texture, blur, uneven and damaged sections, noise."""

from __future__ import annotations

import numpy as np

from connectome.phantom.params import Frame, PhantomParams
from connectome.phantom.random_fields import SmoothNoise, draw_noise, draw_normal
from connectome.phantom.tissue import Tissue

MIN_SECTIONS_FOR_DAMAGE = 8  # shorter stacks have no damaged section


def draw_section_shifts(
    rng: np.random.Generator,
    n_sections: int,
    voxel_size: tuple[float, float, float],
    params: PhantomParams,
) -> np.ndarray:
    """Draw the displacement of each section: jitter and slow drift.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    n_sections : int
        Number of sections, Z.
    voxel_size : tuple of float
        (z, y, x) in nm.
    params : PhantomParams
        Standard deviations of jitter and drift.

    Returns
    -------
    ndarray, shape (Z, 2)
        (dy, dx) in px, with mean 0.
    """
    steps = draw_normal(rng, n_sections, 2)
    drift = np.zeros_like(steps)
    for z in range(1, n_sections):
        drift[z] = 0.97 * drift[z - 1] + 0.25 * steps[z]
    displacement = params.jitter_nm * draw_normal(rng, n_sections, 2) + params.drift_nm * drift
    # On a coarse binary grid the sum is exact, and with it the mean.
    px = np.rint(displacement / voxel_size[1:] * 1024) / 1024
    return px - px.sum(axis=0) / n_sections


def image_tissue(
    rng: np.random.Generator,
    frame: Frame,
    tissue: Tissue,
    stain: np.ndarray,
    params: PhantomParams,
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Image the tissue.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    frame : Frame
        Geometry of the image.
    tissue : Tissue
        Neurites and membranes.
    stain : ndarray of float32, shape (Z, Y, X)
        Darkness of the contents of neurites relative to cytoplasm.
    params : PhantomParams
        Blur and noise.

    Returns
    -------
    em : ndarray of uint8, shape (Z, Y, X)
        The image.
    damaged_sections : tuple of int
        Sections that are faded and folded.
    """
    scene = _draw_cytoplasm(rng, frame, tissue) - stain
    contrast = SmoothNoise(rng, frame, 90.0).sections(0, frame.shape[0])
    membrane = tissue.membrane * np.clip(np.float32(0.9) + np.float32(0.14) * contrast, 0.5, 1)
    scene += membrane * (np.float32(0.18) - scene)
    np.clip(scene, 0.05, 1.0, out=scene)
    scene = _blur_sections(scene, params.blur_nm, frame)
    scene, damaged_sections = _vary_sections(rng, frame, scene)
    deviation = np.float32(params.shot_noise) * np.sqrt(np.maximum(scene, 0.02))
    scene += deviation * draw_noise(rng, scene.shape)
    return np.clip(np.rint(scene * 255), 0, 255).astype(np.uint8), damaged_sections


def _blur_sections(field: np.ndarray, sigma_nm: float, frame: Frame) -> np.ndarray:
    """Blur sections by repeated three-tap kernels with a total variance of sigma²."""
    for axis, size in ((1, frame.voxel_size[1]), (2, frame.voxel_size[2])):
        variance = (sigma_nm / size) * (sigma_nm / size)
        passes = int(np.ceil(2 * variance))
        for _ in range(passes):
            field = _three_taps(field, axis, np.float32(variance / passes / 2))
    return field


def _three_taps(field: np.ndarray, axis: int, side: np.float32) -> np.ndarray:
    """Convolve along an axis with (side, 1 − 2·side, side), mirroring at the ends."""
    along = np.moveaxis(field, axis, 0)
    out = along * (1 - 2 * side)
    out[1:-1] += side * (along[2:] + along[:-2])
    out[0] += side * (along[0] + along[1])
    out[-1] += side * (along[-1] + along[-2])
    return np.moveaxis(out, 0, axis)


def _draw_cytoplasm(rng: np.random.Generator, frame: Frame, tissue: Tissue) -> np.ndarray:
    """Return the grey of the cytoplasm: a mean for each neurite, mottled and granular."""
    n = int(tissue.labels.max()) + 1
    mean = 0.71 + 0.035 * draw_normal(rng, n) - 0.10 * (rng.random(n) < 0.08)
    mottle = 0.06 + 0.08 * rng.random(n)
    clumps = SmoothNoise(rng, frame, 34.0)
    coarse = np.clip(clumps.sections(0, frame.shape[0]), -0.6, 1.8)
    fine = _blur_sections(draw_noise(rng, frame.shape), 7.0, frame)
    scene = np.take(mean.astype(np.float32), tissue.labels)
    scene -= np.take(mottle.astype(np.float32), tissue.labels) * (coarse + np.float32(2.2) * fine)
    return scene


def _vary_sections(
    rng: np.random.Generator, frame: Frame, scene: np.ndarray
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Vary brightness, contrast and illumination between sections, and damage one section."""
    n, rows, columns = scene.shape
    contrast = 1 + 0.06 * draw_normal(rng, n)
    brightness = 0.02 * draw_normal(rng, n)
    y = np.linspace(-1, 1, rows)[None, :, None]
    x = np.linspace(-1, 1, columns)[None, None, :]
    tilt = 0.02 * draw_normal(rng, 3, n, 1, 1)
    shading = tilt[0] * y + tilt[1] * x + tilt[2] * (y * y + x * x - 0.7)
    scene = (scene - np.float32(0.55)) * contrast.astype(np.float32)[:, None, None]
    scene += (0.55 + brightness[:, None, None] + shading).astype(np.float32)
    if n < MIN_SECTIONS_FOR_DAMAGE:
        return scene, ()
    damaged = int(n * (0.3 + 0.4 * rng.random()))
    scene[damaged] = _fade_and_fold(rng, frame, scene, damaged)
    return scene, (damaged,)


def _fade_and_fold(rng: np.random.Generator, frame: Frame, scene: np.ndarray, z: int) -> np.ndarray:
    """Return a section with little contrast and an uneven fold across it."""
    section = scene[z]
    y, x = (np.linspace(0, 1, n, dtype=np.float32) for n in section.shape)
    slope, curvature, position = rng.random(3).astype(np.float32)
    crease = 0.25 + 0.5 * position - (slope - 0.5) * y - 0.4 * (curvature - 0.5) * y * y
    width = section.shape[1] * frame.voxel_size[2]
    uneven = SmoothNoise(rng, frame, 130.0).sections(z, z + 1)[0]
    inside = 55 + 25 * uneven - np.abs(x - crease[:, None]) * np.float32(width)
    fold = np.clip(inside / 12, 0, 1)
    faded = 0.62 + 0.4 * (section - 0.55)
    # Twice the tissue, and stain caught in the crease.
    return faded * (1 - fold) + (0.3 * section - 0.02 * uneven) * fold
