"""The SQLite file of the run log: its tables, connections and the state of runs."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from connectome.core.errors import ConnectomeError

LOCK_TIMEOUT_S = 30.0  # for the transaction of another process
# `runs` is the published table and stays as it was; all else is in tables beside it, so that a log
# begun by the published pipeline can be continued.
SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, dataset_uri TEXT, cutout_x INTEGER, cutout_y INTEGER,
    cutout_z INTEGER, created_at TEXT, meta_json TEXT
);
CREATE TABLE IF NOT EXISTS run_status (
    run_id TEXT PRIMARY KEY, status TEXT NOT NULL, pid INTEGER NOT NULL, host TEXT NOT NULL,
    software_version TEXT NOT NULL, finished_at TEXT, seconds REAL, error TEXT
);
CREATE TABLE IF NOT EXISTS stages (
    run_id TEXT NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL, seconds REAL NOT NULL,
    peak_memory_mb REAL, counts_json TEXT NOT NULL, PRIMARY KEY (run_id, position)
);
CREATE TABLE IF NOT EXISTS metrics (
    run_id TEXT NOT NULL, name TEXT NOT NULL, value REAL, PRIMARY KEY (run_id, name)
);
CREATE TABLE IF NOT EXISTS artefacts (
    run_id TEXT NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (run_id, path)
);
CREATE TABLE IF NOT EXISTS corrections (
    run_id TEXT NOT NULL, position INTEGER NOT NULL, time TEXT NOT NULL, user TEXT NOT NULL,
    tool TEXT NOT NULL, ids_json TEXT NOT NULL, z INTEGER, y INTEGER, x INTEGER,
    voxel_delta INTEGER NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (run_id, position)
);
"""

Json = TypeVar("Json", dict, list)


@contextmanager
def connect(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the log for one short transaction; missing tables are created.

    Parameters
    ----------
    path : Path
        The SQLite file.

    Raises
    ------
    ConnectomeError
        If the file cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # IMMEDIATE waits for the write lock at the start, where waiting cannot deadlock.
        connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level="IMMEDIATE")
        with closing(connection):
            connection.executescript(SCHEMA)
            with connection:
                yield connection
    except (OSError, sqlite3.Error) as error:
        raise ConnectomeError(
            f"the run log {path} cannot be used: {error}",
            "runs can be neither recorded nor listed",
            "check its permissions and the free disk space; if it is damaged, move it away"
            " and a new one is begun",
        ) from error


def parse_json(text: str, kind: type[Json]) -> Json:
    """Parse the JSON in a cell.

    Parameters
    ----------
    text : str
        Content of the cell.
    kind : {dict, list}
        Type it must have.

    Raises
    ------
    sqlite3.DataError
        If it is not JSON of that type.
    """
    try:
        content = json.loads(text)
    except (ValueError, TypeError) as error:
        raise sqlite3.DataError(f"a row is damaged: {error}") from error
    if not isinstance(content, kind):
        raise sqlite3.DataError(f"a row is damaged: {content!r} is no {kind.__name__}")
    return content


def current_status(status: str | None, pid: int, host: str) -> str:
    """Return the status of a run from what was recorded and whether its process still exists.

    Parameters
    ----------
    status : str or None
        Recorded status; None for runs of the published pipeline.
    pid : int
        Process id.
    host : str
        Machine the process runs on.

    Returns
    -------
    str
        The recorded status, ``died`` if the process of a running run is gone, or ``unknown``.
    """
    if status is None:
        return "unknown"
    return "died" if status == "running" and not _may_be_alive(pid, host) else status


def _may_be_alive(pid: int, host: str) -> bool:
    """Return whether a process may still exist. A reused process id counts as alive."""
    # Processes on other machines are unknown, and on Windows os.kill would end the process.
    if host != platform.node() or os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
