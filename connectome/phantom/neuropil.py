"""A synthetic *C. elegans* neuropil whose truth is known completely: neurites, synapses, shifts.

It stands in for real EM where none is at hand, and every stage is scored on it. The same seed,
shape and voxel size give the same bytes on every machine; how, is told in `phantom_tissue`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd

from connectome.core.errors import UsageError
from connectome.core.volume import GroundTruth, Volume
from connectome.phantom.imaging import draw_section_shifts, image_tissue
from connectome.phantom.organelles import (
    Synapse,
    draw_density,
    draw_mitochondria,
    draw_tubules,
    draw_vesicles,
    place_synapses,
)
from connectome.phantom.tissue import Frame, PhantomParams, Tissue, grow_strands, rasterise_strands

NAME = "neuropil"
SECTION_NM, PIXEL_NM = 30.0, 8.0
OPTIONS = ("seed", "section_nm", "pixel_nm")
LENGTH_RANGE_NM = (1.0, 100.0)  # sections and pixels that the tissue can sensibly be imaged with
MIN_SHAPE = (2, 16, 16)
EXAMPLE = "phantom://neuropil?seed=7&section_nm=30&pixel_nm=8"


@dataclass(frozen=True, eq=False)
class Phantom:
    """Synthetic EM and all there is to know about it.

    Parameters
    ----------
    volume : Volume
        The EM, uint8, as imaged: sections displaced, uneven, noisy. Its source is the URI that
        makes it again, given the same shape.
    truth : Truth
        Labels (dense: neighbours meet in the middle of the cleft, no 0; every id is one
        face-connected piece), synapses (with ``n_sections``, how many sections show the
        density; ``z, y, x`` is the density's centroid, ``post_ids`` has the partner with most
        contact first) and the shifts that undo the displacement, of mean zero.
    damaged : tuple of int
        Sections that are faded and folded.
    """

    volume: Volume
    ground_truth: GroundTruth
    damaged_sections: tuple[int, ...] = ()


def parse_phantom_uri(uri: str, default_seed: int) -> tuple[int, tuple[float, float, float]]:
    """Read ``phantom://neuropil?seed=7&section_nm=30&pixel_nm=8``; every option may be left out.

    Parameters
    ----------
    uri : str
        The phantom asked for.
    default_seed : int
        Seed if the URI names none.

    Returns
    -------
    seed : int
    voxel_size : tuple of float
        (z, y, x) in nm.

    Raises
    ------
    UsageError
        If the name, an option or a value is not one there is; it names the nearest that is.
    """
    parts = urlsplit(uri)
    if parts.scheme != "phantom" or parts.netloc + parts.path.rstrip("/") != NAME:
        raise UsageError(f"there is no phantom {uri!r}", f"the only one is {NAME}", EXAMPLE)
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    for option in given:
        if option not in OPTIONS:
            near = difflib.get_close_matches(option, OPTIONS, 1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(
                f"the phantom has no option {option!r}{hint}",
                f"its options are {', '.join(OPTIONS)}",
                EXAMPLE,
            )
    seed = given.get("seed", str(default_seed))
    if not seed.isdecimal():
        raise UsageError(f"the phantom's seed {seed!r} is not a whole number", remedy=EXAMPLE)
    section = _length(given, "section_nm", SECTION_NM)
    pixel = _length(given, "pixel_nm", PIXEL_NM)
    return int(seed), (section, pixel, pixel)


def _length(given: dict[str, str], option: str, default: float) -> float:
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


def make_phantom(
    shape: tuple[int, int, int],
    seed: int = 7,
    voxel_size: tuple[float, float, float] = (SECTION_NM, PIXEL_NM, PIXEL_NM),
    params: PhantomParams = PhantomParams(),  # noqa: B008 - frozen
) -> Phantom:
    """Grow a piece of neuropil, section it and image it.

    Parameters
    ----------
    shape : tuple of int
        Sections, rows and columns (Z, Y, X), at least 2 × 16 × 16.
    seed : int
        Same seed, shape and voxel size: same bytes.
    voxel_size : tuple of float
        (z, y, x) in nm; pixels are square.
    params : PhantomParams, optional
        What the tissue and the imaging are like.

    Returns
    -------
    Phantom

    Raises
    ------
    UsageError
        If the shape is too small or the voxel size cannot be imaged with.

    Examples
    --------
    >>> phantom = make_phantom((8, 64, 64), seed=1)
    >>> phantom.volume.shape, phantom.ground_truth.labels.shape
    ((8, 64, 64), (8, 64, 64))
    """
    check_phantom(shape, voxel_size)
    # One stream of randomness for each step: none changes what another draws.
    streams = np.random.SeedSequence(seed).spawn(7)
    imaging, growing, filling, powering, wiring, furnishing, exposing = (
        np.random.default_rng(stream) for stream in streams
    )
    shifts = draw_section_shifts(imaging, shape[0], voxel_size, params)
    frame = Frame(tuple(shape), tuple(voxel_size), shifts)
    strands = grow_strands(growing, frame, params)
    tissue = rasterise_strands(filling, frame, strands, params)
    ink = np.zeros(shape, np.float32)
    draw_mitochondria(powering, ink, frame, tissue, strands, params)
    synapses = place_synapses(wiring, frame, tissue, params)
    table = _draw_densities(ink, frame, tissue, synapses)
    draw_vesicles(furnishing, ink, frame, tissue, synapses)
    draw_tubules(furnishing, ink, frame, tissue, strands)
    em, damaged = image_tissue(exposing, frame, tissue, ink, params)
    volume = Volume(em, voxel_size, source=phantom_uri(seed, voxel_size))
    return Phantom(volume, GroundTruth(tissue.labels, table, shifts), damaged)


def phantom_uri(seed: int, voxel_size: tuple[float, float, float]) -> str:
    """Return the full URI of a phantom: what `parse_phantom_uri` reads, nothing left out."""
    return f"phantom://{NAME}?seed={seed}&section_nm={voxel_size[0]:g}&pixel_nm={voxel_size[1]:g}"


def check_phantom(shape: tuple[int, int, int], voxel_size: tuple[float, float, float]) -> None:
    """Refuse what `make_phantom` cannot grow or image.

    Parameters
    ----------
    shape : tuple of int
        Sections, rows and columns (Z, Y, X).
    voxel_size : tuple of float
        (z, y, x) in nm.

    Raises
    ------
    UsageError
        If the shape is too small or the voxel size cannot be imaged with.
    """
    if len(shape) != 3 or any(n < least for n, least in zip(shape, MIN_SHAPE, strict=True)):
        raise UsageError(
            f"a phantom of shape {tuple(shape)} (Z, Y, X) is too small",
            f"it takes at least {MIN_SHAPE} to show neurites in section",
            "--preset safe8gb",
        )
    low, high = LENGTH_RANGE_NM
    if voxel_size[1] != voxel_size[2] or not all(low <= v <= high for v in voxel_size):
        raise UsageError(
            f"the phantom cannot be imaged with voxels of {tuple(voxel_size)} nm (z, y, x)",
            f"its pixels are square and its lengths from {low:g} to {high:g} nm",
            EXAMPLE,
        )


def _draw_densities(
    ink: np.ndarray, frame: Frame, tissue: Tissue, synapses: list[Synapse]
) -> pd.DataFrame:
    """Draw every presynaptic density; return the table of synapses."""
    rows = []
    for synapse in synapses:
        centroid, n_sections = draw_density(ink, frame, tissue, synapse)
        posts = ";".join(str(post) for post in synapse.posts)
        rows.append((*centroid, synapse.pre, posts, n_sections))
    columns = ["z", "y", "x", "pre_id", "post_ids", "n_sections"]
    table = pd.DataFrame(rows, columns=columns)
    types = {"z": float, "y": float, "x": float, "pre_id": int, "n_sections": int}
    return table.astype(types).sort_values(["z", "y", "x"], ignore_index=True)
