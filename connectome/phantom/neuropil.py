"""Make a phantom: grow neurites, label them, add synapses and organelles, and image the tissue."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd

from connectome.core.errors import UsageError
from connectome.core.synapse_table import encode_ids
from connectome.core.volume import GroundTruth, Volume
from connectome.phantom.imaging import draw_section_shifts, image_tissue
from connectome.phantom.organelles import draw_mitochondria, draw_tubules, draw_vesicles
from connectome.phantom.params import Frame, PhantomParams
from connectome.phantom.strands import grow_strands
from connectome.phantom.synapses import Synapse, draw_density, place_synapses
from connectome.phantom.tissue import Tissue, rasterise_strands

NAME = "neuropil"
SECTION_NM, PIXEL_NM = 30.0, 8.0
OPTIONS = ("seed", "section_nm", "pixel_nm")
LENGTH_RANGE_NM = (1.0, 100.0)  # of section thickness and pixel size
MIN_SHAPE = (2, 16, 16)
EXAMPLE = "phantom://neuropil?seed=7&section_nm=30&pixel_nm=8"


@dataclass(frozen=True, eq=False)
class Phantom:
    """Synthetic EM and its complete ground truth.

    Parameters
    ----------
    volume : Volume
        The EM, uint8, as imaged: sections displaced, uneven and noisy. Its source is the URI that
        reproduces it, given the same shape.
    ground_truth : GroundTruth
        Labels (without 0: neighbours meet in the middle of the cleft; every id is one
        face-connected component), synapses (``z, y, x`` is the centroid of the density,
        ``n_sections`` the number of sections that show it, and the first of ``post_ids`` has the
        largest contact) and the shifts that align the sections, with mean 0.
    damaged_sections : tuple of int
        Sections that are faded and folded.
    """

    volume: Volume
    ground_truth: GroundTruth
    damaged_sections: tuple[int, ...] = ()


def parse_phantom_uri(uri: str, default_seed: int) -> tuple[int, tuple[float, float, float]]:
    """Parse ``phantom://neuropil?seed=7&section_nm=30&pixel_nm=8``; every option is optional.

    Parameters
    ----------
    uri : str
        URI of a phantom.
    default_seed : int
        Seed if the URI has none.

    Returns
    -------
    seed : int
        Seed of the random numbers.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Raises
    ------
    UsageError
        If the name, an option or a value is invalid; the message suggests the closest option.
    """
    parts = urlsplit(uri)
    if parts.scheme != "phantom" or parts.netloc + parts.path.rstrip("/") != NAME:
        raise UsageError(f"there is no phantom {uri!r}", f"the only one is {NAME}", EXAMPLE)
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    for option in given:
        if option not in OPTIONS:
            close = difflib.get_close_matches(option, OPTIONS, 1, cutoff=0.4)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise UsageError(
                f"the phantom has no option {option!r}{hint}",
                f"its options are {', '.join(OPTIONS)}",
                EXAMPLE,
            )
    seed = given.get("seed", str(default_seed))
    if not seed.isdecimal():
        raise UsageError(f"the phantom's seed {seed!r} is not a whole number", remedy=EXAMPLE)
    section = _parse_length(given, "section_nm", SECTION_NM)
    pixel = _parse_length(given, "pixel_nm", PIXEL_NM)
    return int(seed), (section, pixel, pixel)


def phantom_uri(seed: int, voxel_size: tuple[float, float, float]) -> str:
    """Return the complete URI of a phantom, the inverse of `parse_phantom_uri`."""
    return f"phantom://{NAME}?seed={seed}&section_nm={voxel_size[0]:g}&pixel_nm={voxel_size[1]:g}"


def check_phantom(shape: tuple[int, ...], voxel_size: tuple[float, float, float]) -> None:
    """Check that `make_phantom` supports a shape and a voxel size.

    Parameters
    ----------
    shape : tuple of int
        Sections, rows and columns (Z, Y, X).
    voxel_size : tuple of float
        (z, y, x) in nm.

    Raises
    ------
    UsageError
        If the shape is too small or the voxel size is out of range.
    """
    if len(shape) != 3 or any(n < least for n, least in zip(shape, MIN_SHAPE, strict=True)):
        raise UsageError(
            f"a phantom of shape {tuple(shape)} (Z, Y, X) is too small",
            f"it needs at least {MIN_SHAPE} to show neurites in cross-section",
            "--preset safe8gb",
        )
    low, high = LENGTH_RANGE_NM
    if voxel_size[1] != voxel_size[2] or not all(low <= v <= high for v in voxel_size):
        raise UsageError(
            f"the phantom cannot be imaged with voxels of {tuple(voxel_size)} nm (z, y, x)",
            f"its pixels must be square, and its lengths between {low:g} and {high:g} nm",
            EXAMPLE,
        )


def make_phantom(
    shape: tuple[int, int, int],
    seed: int = 7,
    voxel_size: tuple[float, float, float] = (SECTION_NM, PIXEL_NM, PIXEL_NM),
    params: PhantomParams = PhantomParams(),  # noqa: B008 - frozen
) -> Phantom:
    """Make a phantom: grow a block of neuropil, section it and image it.

    Parameters
    ----------
    shape : tuple of int
        Sections, rows and columns (Z, Y, X), at least 2 × 16 × 16.
    seed : int
        The same seed, shape and voxel size give the same bytes.
    voxel_size : tuple of float
        (z, y, x) in nm; pixels are square.
    params : PhantomParams, optional
        Properties of the tissue and its imaging.

    Returns
    -------
    Phantom

    Raises
    ------
    UsageError
        If the shape is too small or the voxel size is out of range.

    Examples
    --------
    >>> phantom = make_phantom((8, 64, 64), seed=1)
    >>> phantom.volume.shape, phantom.ground_truth.labels.shape
    ((8, 64, 64), (8, 64, 64))
    """
    check_phantom(shape, voxel_size)
    # Each step has its own stream of random numbers, so that none changes what another draws.
    streams = np.random.SeedSequence(seed).spawn(7)
    for_shifts, for_strands, for_tissue, for_mitochondria, for_synapses, for_organelles, for_em = (
        np.random.default_rng(stream) for stream in streams
    )
    shifts = draw_section_shifts(for_shifts, shape[0], voxel_size, params)
    frame = Frame(shape, voxel_size, shifts)
    strands = grow_strands(for_strands, frame, params)
    tissue = rasterise_strands(for_tissue, frame, strands, params)
    stain = np.zeros(shape, np.float32)
    draw_mitochondria(for_mitochondria, stain, frame, tissue, strands, params)
    synapses = place_synapses(for_synapses, frame, tissue, params)
    table = _draw_densities(stain, frame, tissue, synapses)
    draw_vesicles(for_organelles, stain, frame, tissue, synapses)
    draw_tubules(for_organelles, stain, frame, tissue, strands)
    em, damaged_sections = image_tissue(for_em, frame, tissue, stain, params)
    volume = Volume(em, voxel_size, source=phantom_uri(seed, voxel_size))
    return Phantom(volume, GroundTruth(tissue.labels, table, shifts), damaged_sections)


def _parse_length(given: dict[str, str], option: str, default: float) -> float:
    """Return a length in nm from the options of a URI."""
    low, high = LENGTH_RANGE_NM
    try:
        length = float(given.get(option, default))
    except ValueError:
        length = np.nan
    if not low <= length <= high:
        raise UsageError(
            f"{option}={given[option]} is not a length between {low:g} and {high:g} nm",
            "the phantom's tissue cannot be imaged with it",
            EXAMPLE,
        )
    return length


def _draw_densities(
    stain: np.ndarray, frame: Frame, tissue: Tissue, synapses: list[Synapse]
) -> pd.DataFrame:
    """Draw every presynaptic density; return the table of synapses."""
    rows = []
    for synapse in synapses:
        centroid, n_sections = draw_density(stain, frame, tissue, synapse)
        post_ids = encode_ids(synapse.post_ids)
        rows.append((*centroid, synapse.pre_id, post_ids, n_sections))
    columns = ["z", "y", "x", "pre_id", "post_ids", "n_sections"]
    table = pd.DataFrame(rows, columns=columns)
    types = {"z": float, "y": float, "x": float, "pre_id": int, "n_sections": int}
    return table.astype(types).sort_values(["z", "y", "x"], ignore_index=True)
