"""How the phantom's tissue is imaged: greys, texture, blur, uneven and damaged sections, noise.

Only exactly rounded arithmetic touches a voxel; see `phantom_tissue`.
"""

from __future__ import annotations

import numpy as np

from connectome.phantom.tissue import Frame, PhantomParams, SmoothNoise, Tissue, draw_normal

MIN_SECTIONS_FOR_DAMAGE = 8  # shorter stacks are too short to spare one


def draw_section_shifts(
    rng: np.random.Generator, n_sections: int, voxel_size, params: PhantomParams
) -> np.ndarray:
    """Draw how each section is displaced: jitter, and a slow drift.

    Returns
    -------
    ndarray, shape (Z, 2)
        (dy, dx) in px, of mean zero.
    """
    steps = draw_normal(rng, n_sections, 2)
    drift = np.zeros_like(steps)
    for z in range(1, n_sections):
        drift[z] = 0.97 * drift[z - 1] + 0.25 * steps[z]
    wander = params.jitter_nm * draw_normal(rng, n_sections, 2) + params.drift_nm * drift
    # On a coarse binary grid the sum is exact, and with it the mean.
    px = np.rint(wander / voxel_size[1:] * 1024) / 1024
    return px - px.sum(axis=0) / n_sections


def draw_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw bell-shaped noise of unit variance, float32: sums of four random bytes."""
    draws = np.frombuffer(rng.bytes(4 * int(np.prod(shape))), np.uint8).reshape(4, *shape)
    total = draws.sum(axis=0, dtype=np.int16)
    return (total - np.int16(510)).astype(np.float32) * np.float32(1 / 147.8)


def blur_sections(field: np.ndarray, sigma_nm: float, frame: Frame) -> np.ndarray:
    """Smooth sections by passes of a three-tap kernel that add up to a variance of sigma²."""
    for axis, size in ((1, frame.voxel_size[1]), (2, frame.voxel_size[2])):
        variance = (sigma_nm / size) * (sigma_nm / size)
        passes = int(np.ceil(2 * variance))
        for _ in range(passes):
            field = _three_taps(field, axis, np.float32(variance / passes / 2))
    return field


def _three_taps(field, axis, side):
    moved = np.moveaxis(field, axis, 0)
    out = moved * (1 - 2 * side)
    out[1:-1] += side * (moved[2:] + moved[:-2])
    out[0] += side * (moved[0] + moved[1])
    out[-1] += side * (moved[-1] + moved[-2])
    return np.moveaxis(out, 0, axis)


def image_tissue(
    rng, frame: Frame, tissue: Tissue, ink: np.ndarray, params: PhantomParams
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Image the tissue.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    frame : Frame
        Voxel size.
    tissue : Tissue
        Neurites and membranes.
    ink : ndarray of float32, shape (Z, Y, X)
        Darkness of what the neurites contain.
    params : PhantomParams
        Blur and noise.

    Returns
    -------
    em : ndarray of uint8, shape (Z, Y, X)
    damaged : tuple of int
        Damaged sections.
    """
    scene = _draw_cytoplasm(rng, frame, tissue) - ink
    stain = SmoothNoise(rng, frame, 90.0).sections(0, frame.shape[0])
    covered = tissue.membrane * np.clip(np.float32(0.9) + np.float32(0.14) * stain, 0.5, 1)
    scene += covered * (np.float32(0.18) - scene)
    np.clip(scene, 0.05, 1.0, out=scene)
    scene = blur_sections(scene, params.blur_nm, frame)
    scene, damaged = _vary_sections(rng, frame, scene)
    spread = np.float32(params.shot_noise) * np.sqrt(np.maximum(scene, 0.02))
    scene += spread * draw_noise(rng, scene.shape)
    return np.clip(np.rint(scene * 255), 0, 255).astype(np.uint8), damaged


def _draw_cytoplasm(rng, frame: Frame, tissue: Tissue) -> np.ndarray:
    """Return the grey of the cytoplasm: a tone for each neurite, mottled and granular."""
    n = int(tissue.labels.max()) + 1
    tone = 0.71 + 0.035 * draw_normal(rng, n) - 0.10 * (rng.random(n) < 0.08)
    mottle = 0.06 + 0.08 * rng.random(n)
    clumps = SmoothNoise(rng, frame, 34.0)
    field = np.clip(clumps.sections(0, frame.shape[0]), -0.6, 1.8)
    fine = blur_sections(draw_noise(rng, frame.shape), 7.0, frame)
    scene = np.take(tone.astype(np.float32), tissue.labels)
    scene -= np.take(mottle.astype(np.float32), tissue.labels) * (field + np.float32(2.2) * fine)
    return scene


def _vary_sections(rng, frame: Frame, scene: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Vary brightness, contrast and illumination from section to section; damage one."""
    n, rows, cols = scene.shape
    contrast = 1 + 0.06 * draw_normal(rng, n)
    brightness = 0.02 * draw_normal(rng, n)
    y = np.linspace(-1, 1, rows)[None, :, None]
    x = np.linspace(-1, 1, cols)[None, None, :]
    tilt = 0.02 * draw_normal(rng, 3, n, 1, 1)
    shade = tilt[0] * y + tilt[1] * x + tilt[2] * (y * y + x * x - 0.7)
    scene = (scene - np.float32(0.55)) * contrast.astype(np.float32)[:, None, None]
    scene += (0.55 + brightness[:, None, None] + shade).astype(np.float32)
    if n < MIN_SECTIONS_FOR_DAMAGE:
        return scene, ()
    hurt = int(n * (0.3 + 0.4 * rng.random()))
    scene[hurt] = _fade_and_fold(rng, frame, scene, hurt)
    return scene, (hurt,)


def _fade_and_fold(rng, frame: Frame, scene: np.ndarray, hurt: int) -> np.ndarray:
    """Take most of the contrast from a section and lay an uneven fold across it."""
    section = scene[hurt]
    y, x = (np.linspace(0, 1, n, dtype=np.float32) for n in section.shape)
    lean, bow, at = rng.random(3).astype(np.float32)
    crease = (0.25 + 0.5 * at - (lean - 0.5) * y - 0.4 * (bow - 0.5) * y * y)[:, None]
    width = section.shape[1] * frame.voxel_size[2]
    uneven = SmoothNoise(rng, frame, 130.0).sections(hurt, hurt + 1)[0]
    inside = 55 + 25 * uneven - np.abs(x - crease) * np.float32(width)
    fold = np.clip(inside / 12, 0, 1)
    faded = 0.62 + 0.4 * (section - 0.55)
    # Twice the tissue, and stain caught in the crease.
    return faded * (1 - fold) + (0.3 * section - 0.02 * uneven) * fold
