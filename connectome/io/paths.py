"""Where results live under ``outputs/``, and how they get there without harming what is there.

Every file is written under a temporary name and renamed. A run writes into a private staging
folder and publishes the whole set at its end, so that a crash or Ctrl-C leaves the previous
results as they were.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from connectome.core.errors import DataError
from connectome.core.volume import Volume

CUTOUT = "data/em_cutout_u8_zyx.npy"
PREPROCESSED = "data/em_preprocessed_f32_zyx.npy"
ALIGNED = {
    "float16": "data/em_aligned_float16_zyx.npy",
    "float32": "data/em_aligned_float32_zyx.npy",
}
PROBABILITY = "data/neurite_prob_f16_zyx.npy"
LABELS = "data/neurite_labels_i32_zyx.npy"
TRUE_LABELS = "data/true_labels_i32_zyx.npy"
SEGMENTS = "tables/segments.csv"
MERGE_LOG = "tables/merge_log.csv"
SYNAPSES = "tables/synapse_candidates.csv"
NODES = "tables/graph_node_stats.csv"
EDGES = "tables/graph_edges.csv"
CONTACTS = "tables/contact_graph.csv"
MATRIX = "tables/connectivity_matrix.csv"
GRAPHML = "tables/graph.graphml"
GEXF = "tables/graph.gexf"
GRAPH_JSON = "tables/graph.json"
TRUE_SYNAPSES = "tables/true_synapses.csv"
ALIGNMENT = "tables/alignment_shifts.json"
EVALUATION = "tables/evaluation.json"
REBUILD_CHANGES = "tables/rebuild_changes.csv"
GRAPH_LABELS = "tables/graph_labels.json"
REPORT = "report.html"
RUN_LOG = "runs/pipeline_runs.sqlite"
MODELS = "runs/models"

# A person's work.
CORRECTED_LABELS = "data/neurite_labels_corrected_i32_zyx.npy"
PROOFREAD_SECTIONS = "tables/proofread_slices.json"
REVIEWED_SYNAPSES = "tables/synapses_reviewed.csv"

# What each refiner makes: "rf", the random forest, and "unet".
REFINED_PROBABILITY = {kind: f"data/neurite_prob_{kind}_f16_zyx.npy" for kind in ("rf", "unet")}
REFINED_LABELS = {kind: f"data/neurite_labels_{kind}_i32_zyx.npy" for kind in ("rf", "unet")}
REFINED_METRICS = {kind: f"tables/{kind}_metrics.json" for kind in ("rf", "unet")}


def sidecar(path: Path) -> Path:
    """Return the JSON file beside an array that says where in the world it lies."""
    return path.with_suffix(".json")


# All there can be of a draft's neurites, by the names that --labels takes.
LABELS_BY_NAME = {"corrected": CORRECTED_LABELS, **REFINED_LABELS, "baseline": LABELS}

# What the main job owns. When a run does not make one of these anew, a leftover of an earlier
# run would describe other tissue than its neighbours do, so publishing removes it. Corrections
# and refined labels are a person's work and are not on this list.
_ARRAYS = (CUTOUT, PREPROCESSED, *ALIGNED.values(), PROBABILITY, LABELS, TRUE_LABELS)
MAIN_JOB_FILES = (
    *_ARRAYS,
    *(str(sidecar(Path(name))) for name in _ARRAYS),
    *(SEGMENTS, MERGE_LOG, SYNAPSES, NODES, EDGES, TRUE_SYNAPSES, ALIGNMENT, EVALUATION),
    *(CONTACTS, MATRIX, GRAPHML, GEXF, GRAPH_JSON),
    *(REBUILD_CHANGES, GRAPH_LABELS, REPORT),
)

# What numpy raises on files that it cannot read, besides OSError.
NUMPY_READ_ERRORS = (
    *(ValueError, KeyError, TypeError, EOFError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, SyntaxError),
)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; rename it into place when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: writers such as np.save and savefig choose a format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: dict) -> None:
    """Write a dictionary as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, consequence: str = "", remedy: str = "") -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    path : Path
        The file.
    consequence, remedy : str
        Consequence and remedy of the error if it cannot be read.

    Raises
    ------
    DataError
        If it cannot be read, or is not an object.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}", consequence, remedy) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is no JSON object", consequence, remedy)
    return content


def write_volume(path: Path, volume: Volume) -> None:
    """Write an array as ``.npy`` with its voxel size, origin and source beside it.

    Parameters
    ----------
    path : Path
        Target, ending in ``.npy``; the sidecar takes the same name with ``.json``.
    volume : Volume
        Array of shape (Z, Y, X) and its place in the world.
    """
    with atomic_path(path) as temporary:
        np.save(temporary, volume.data)
    write_json(
        sidecar(path),
        {
            "axes": "ZYX",
            "shape": list(volume.shape),
            "dtype": str(volume.data.dtype),
            "voxel_size_nm": list(volume.voxel_size),
            "origin": list(volume.origin),
            "source": volume.source,
        },
    )


def read_volume(path: Path) -> Volume:
    """Read an array written by `write_volume`.

    Raises
    ------
    DataError
        If the array or the file beside it is missing or does not fit the array.
    """
    again = ("nothing can be made from it", "run_pipeline.py as before")
    if not path.exists():
        # What every run leaves is not missing for want of a flag.
        always = any(path.match(name) for name in (LABELS, *ALIGNED.values()))
        remedy = (
            "run_pipeline.py as before" if always else "run_pipeline.py, without --save_minimal"
        )
        raise DataError(f"there is no {path}", "nothing to read", remedy)
    meta_path = sidecar(path)
    if not meta_path.exists():
        raise DataError(
            f"{path.name} has no {meta_path.name} beside it",
            "its voxel size is unknown, and guessing one would falsify every length",
            f'write {{"voxel_size_nm": [Z, Y, X], "origin": [0, 0, 0]}} to {meta_path}',
        )
    data = read_array(path, *again)
    try:
        meta = json.loads(meta_path.read_text())
        volume = Volume(
            data,
            meta["voxel_size_nm"],
            meta.get("origin", (0, 0, 0)),
            meta.get("source", str(path)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise DataError(f"{meta_path} cannot be read: {error!r}", *again) from error
    described = tuple(meta.get("shape", volume.shape))
    if described != volume.shape:
        raise DataError(
            f"{path.name} has shape {volume.shape}, but {meta_path.name} describes {described}",
            "one of them belongs to another array",
            again[1],
        )
    return volume


def read_array(path: Path, consequence: str, remedy: str) -> np.ndarray:
    """Read a ``.npy``, and nothing that could run as a program.

    Parameters
    ----------
    path : Path
        The file.
    consequence, remedy : str
        What follows if it cannot be read, and what to do then.

    Raises
    ------
    DataError
        If it is not the file of a single array.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, *NUMPY_READ_ERRORS) as error:
        # numpy's own words tell how to load a pickle all the same.
        why = getattr(error, "strerror", None) or "it is damaged, a pickle or no .npy"
        raise DataError(f"{path} cannot be read: {why}", consequence, remedy) from error
    if not isinstance(array, np.ndarray):
        array.close()
        said = f"{path} cannot be read: it is a .npz, which holds several arrays"
        raise DataError(said, consequence, remedy)
    return array


def list_files(folder: Path) -> dict[str, Path]:
    """Return all files under a folder by their path relative to it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path for path in files}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def leftover_staging_folders(outdir: Path) -> dict[str, Path]:
    """Return the private folders there are, by the ids of their runs (see `staging_folder`)."""
    any_run = _private(outdir, "*")
    return {path.stem.removeprefix("."): path for path in any_run.parent.glob(any_run.name)}


def _private(outdir: Path, run_id: str) -> Path:
    return outdir / "runs" / f".{run_id}.partial"


@contextmanager
def staging_folder(
    outdir: Path, run_id: str, owned: Collection[str] = MAIN_JOB_FILES
) -> Iterator[Path]:
    """Collect a run's files in a private folder and publish them together at the end.

    Parameters
    ----------
    outdir : Path
        The output folder, created if need be.
    run_id : str
        Names the private folder, so that two runs never share one.
    owned : collection of str
        What a run of this kind makes; the main job's files unless told otherwise.

    Yields
    ------
    Path
        Folder to write into, with the same names as under ``outdir``. When the block ends
        well its files replace those under ``outdir`` and stale ones of ``owned`` go; when it does
        not, ``outdir`` stays as it was.
    """
    stage = _private(outdir, run_id)
    stage.mkdir(parents=True)
    try:
        yield stage
        made = {str(path.relative_to(stage)) for path in stage.rglob("*") if path.is_file()}
        for name in sorted(made):
            (outdir / name).parent.mkdir(parents=True, exist_ok=True)
            (stage / name).replace(outdir / name)
        for name in owned:
            if name not in made:
                (outdir / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
