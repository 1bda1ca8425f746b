"""Alignment of rotated and stretched sections."""

import numpy as np
import pytest
from helpers.synthetic_stacks import VOXEL_SIZE, displace_mirrored, random_transforms

from connectome.align import estimate_alignment, simulate_shifts
from connectome.align.affine import register_rotation
from connectome.align.transforms import (
    compose_transform,
    map_points,
    rotation_matrix,
    warp_section,
)
from connectome.core.params import AlignParams

DEFORMATIONS = ("rigid", 1.0, 0.0), ("rigid", 6.0, 0.0), ("affine", 1.0, 0.01)


def deform_mirrored(sections, transforms):
    """Transform sections; their mirror image comes into view at the edges."""
    wide = np.pad(sections, [(0, 0), (32, 32), (32, 32)], mode="reflect")
    warped = [
        warp_section(section, transform, order=3, cval=0.0)
        for section, transform in zip(wide, transforms, strict=True)
    ]
    return np.stack(warped)[:, 32:-32, 32:-32]


def as_matrices(found):
    """Return the transforms of an alignment as (Z, 3, 3)."""
    shifts, matrices = found.transforms.shifts, found.transforms.matrices
    if matrices is None:
        matrices = np.broadcast_to(np.eye(2), (len(shifts), 2, 2))
    return np.array([compose_transform(*each) for each in zip(matrices, shifts, strict=True)])


def corner_rms(transforms, others, shape):
    """Return the RMS misalignment of the corners of neighbouring sections in pixels."""
    corners = np.array([(y, x) for y in (-0.5, 0.5) for x in (-0.5, 0.5)]) * shape
    errors = [
        map_points(corners, a) - map_points(corners, b)
        for a, b in zip(transforms, others, strict=True)
    ]
    return float(np.sqrt((np.diff(errors, axis=0) ** 2).sum(axis=-1).mean()))


def align_by(model, sections, size):
    return estimate_alignment(sections, size, params=AlignParams(model=model), threads=2)


@pytest.mark.parametrize(("model", "degrees", "scale"), DEFORMATIONS)
def test_rotated_and_stretched_real_sections_are_aligned(real, model, degrees, scale):
    raw, size = real("fib25_dev.npz", np.s_[:24])
    transforms = random_transforms(len(raw), degrees, scale)
    sections, shape = deform_mirrored(raw, transforms), raw.shape[1:]
    true = np.broadcast_to(np.eye(3), transforms.shape)
    by_shifts = corner_rms(
        as_matrices(align_by("translation", sections, size)) @ transforms, true, shape
    )
    assert by_shifts > 3
    for chosen in (model, "auto"):
        found = align_by(chosen, sections, size)
        assert corner_rms(as_matrices(found) @ transforms, true, shape) < 0.8
    # Where only rotations were added, the matrices do not stretch.
    stretched = np.abs(np.linalg.det(found.transforms.matrices) - 1).max() > 1e-6
    assert stretched == (model == "affine")


def test_rotated_serial_sections_are_aligned(real):
    raw, size = real("isbi_dev.npz", np.s_[:12])
    transforms = random_transforms(len(raw), 1.0, 0.0)
    original = as_matrices(align_by("rigid", raw, size))
    found = as_matrices(align_by("rigid", deform_mirrored(raw, transforms), size))
    assert corner_rms(found @ transforms, original, raw.shape[1:]) < 2


@pytest.mark.parametrize(
    ("name", "n", "degrees"), [("fib25_dev.npz", 12, -15.0), ("isbi_dev.npz", 12, 4.0)]
)
def test_a_rotated_section_is_aligned_and_not_reported_as_damaged(real, name, n, degrees):
    raw, size = real(name, np.s_[:n])
    transforms = np.tile(np.eye(3), (n, 1, 1))
    transforms[5, :2, :2] = rotation_matrix(np.radians(degrees))
    original, found = (
        align_by("rigid", sections, size) for sections in (raw, deform_mirrored(raw, transforms))
    )
    assert found.damaged_sections == original.damaged_sections == ()
    added = transforms[:, :2, :2]
    left = found.transforms.matrices @ added @ np.linalg.inv(original.transforms.matrices)
    angles = np.degrees(np.arctan2(left[:, 1, 0], left[:, 0, 0]))
    assert np.abs(angles[[4, 6]] - angles[5]).max() < 1.0


def test_noise_is_not_rotated(real):
    noise = np.random.default_rng(3).normal(0, 1, (2, 120, 120)).astype(np.float32)
    assert register_rotation(*noise).angle == 0


def test_auto_chooses_translation_where_sections_are_only_shifted(real):
    raw, size = real("fib25_dev.npz", np.s_[:16])
    for sigma in (0.0, 1.0):
        sections = displace_mirrored(raw, simulate_shifts(len(raw), sigma, seed=7))
        found, plain = (align_by(model, sections, size) for model in ("auto", "translation"))
        assert found.transforms.matrices is None
        np.testing.assert_array_equal(found.transforms.shifts, plain.transforms.shifts)


@pytest.mark.parametrize("model", ["rigid", "affine"])
def test_an_aligned_stack_is_hardly_rotated(real, model):
    raw, size = real("fib25_dev.npz", np.s_[:24])
    corner = np.array(raw.shape[1:]) / 2
    found = align_by(model, raw, size)
    moved = (found.transforms.matrices - np.eye(2)) @ corner + found.transforms.shifts
    assert np.sqrt((moved**2).sum(axis=1).mean()) < 0.5


@pytest.mark.parametrize(
    ("name", "n", "most"), [("fib25_dev.npz", 8, 0.2), ("isbi_dev.npz", 16, 2.0)]
)
def test_a_short_stack_is_not_twisted(real, name, n, most):
    raw, size = real(name, np.s_[:n])
    matrices = align_by("rigid", raw, size).transforms.matrices
    degrees = np.abs(np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])))
    # The rotations between the sections of isbi add up to more than 20; single ones reach 1.8.
    assert degrees.max() < most
    assert np.median(degrees) < 0.7


def test_rotations_of_damaged_sections_are_interpolated(real):
    raw, size = real("fib25_dev.npz", np.s_[:12])
    sections = deform_mirrored(raw, random_transforms(12, 1.0, 0.0))
    sections[4] = sections[8] = 0
    params = AlignParams(model="rigid")
    found = estimate_alignment(sections, size, blank_sections=[4, 8], params=params)
    assert found.damaged_sections == (4, 8)
    angles = np.arctan2(found.transforms.matrices[:, 1, 0], found.transforms.matrices[:, 0, 0])
    np.testing.assert_allclose(angles[[4, 8]], (angles[[3, 7]] + angles[[5, 9]]) / 2, atol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("model", ["rigid", "affine", "auto"])
@pytest.mark.parametrize("shape", [(1, 80, 80), (2, 16, 16), (3, 64, 17), (3, 70, 90)])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_every_model_accepts_small_and_flat_stacks(model, shape, noise):
    sections = (0.5 + noise * np.random.default_rng(0).uniform(-1, 1, shape)).astype(np.float32)
    found = align_by(model, sections, VOXEL_SIZE)
    assert np.isfinite(as_matrices(found)).all()
    assert np.isfinite(found.confidence).all()
    if not noise:
        np.testing.assert_allclose(as_matrices(found), np.broadcast_to(np.eye(3), (shape[0], 3, 3)))
