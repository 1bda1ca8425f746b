"""Write files so that a crash leaves the previous results intact.

Every file is written under a temporary name and renamed. A run writes into a private staging folder
and publishes all of its files together at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connectome.core.errors import DataError
from connectome.io.paths import MAIN_JOB_FILES


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path, which is renamed to ``path`` if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, because np.save and savefig choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
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


def list_files(folder: Path) -> dict[str, Path]:
    """Return all files under a folder by their path relative to it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path for path in files}


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def staging_folder(
    outdir: Path, run_id: str, owned: Collection[str] = MAIN_JOB_FILES
) -> Iterator[Path]:
    """Yield a staging folder, and publish its files together at the end.

    Parameters
    ----------
    outdir : Path
        Output folder; created if necessary.
    run_id : str
        Name of the staging folder, so that two runs never share one.
    owned : collection of str
        Files of this kind of run. Those that are not in the staging folder are removed from
        ``outdir``, because they describe an earlier run.

    Yields
    ------
    Path
        Folder to write into, with the same names as under ``outdir``. If the block ends without an
        exception, its files replace those under ``outdir``; otherwise ``outdir`` is unchanged.
    """
    stage = _staging_path(outdir, run_id)
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


def leftover_staging_folders(outdir: Path) -> dict[str, Path]:
    """Return the existing staging folders by the ids of their runs (see `staging_folder`)."""
    pattern = _staging_path(outdir, "*")
    return {path.stem.removeprefix("."): path for path in pattern.parent.glob(pattern.name)}


def _staging_path(outdir: Path, run_id: str) -> Path:
    return outdir / "runs" / f".{run_id}.partial"
