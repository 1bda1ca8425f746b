"""The run log: what was run on what, how it ended, how long it took and what it left.

One SQLite file and one configuration file per run, under ``runs/`` of the output folder. The
published ``runs`` table stays as it was; everything else lies in tables beside it, so that a log
begun by the proof of concept goes on. ``python -m connectome.runlog outputs`` prints it.
"""

from __future__ import annotations

import json
import operator
import os
import platform
import secrets
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from connectome import __version__
from connectome.core.errors import ConnectomeError, UsageError
from connectome.core.params import PUBLIC_BOSS_TOKEN
from connectome.io import paths
from connectome.io.files import file_sha256, leftover_staging_folders, write_json
from connectome.runlog.edit_record import EditRecord

try:
    import resource
except ImportError:  # Windows: runs are logged without their peak memory
    resource = None

RECORDED_PACKAGES = ("numpy", "scipy", "scikit-image", "pandas", "networkx", "matplotlib", "intern")
_WAIT_S = 30.0  # for another process to finish its transaction
_HIDDEN = "(not kept)"

_SCHEMA = """
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
_CORRECTION = "INSERT INTO corrections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Stage(NamedTuple):
    """One stage of a run.

    Parameters
    ----------
    name : str
        What was done.
    seconds : float
        Wall time.
    peak_memory_mb : float or None
        Peak memory of the process up to the stage's end, in MB; None where it is not known.
    counts : dict
        What the stage found, by name.
    """

    name: str
    seconds: float
    peak_memory_mb: float | None
    counts: dict


@dataclass(frozen=True)
class PastRun:
    """A run as the log remembers it.

    Parameters
    ----------
    run_id, created_at : str
        Its id, and when it began (UTC, ISO 8601).
    status : str
        ``running``, ``finished``, ``failed``, ``interrupted``, ``died`` (its process is gone
        without a word) or ``unknown`` (logged by the proof of concept).
    source : str
        URI or path of the data.
    cutout_xyz : tuple of int
        Size in voxels, (X, Y, Z).
    seconds : float or None
        Wall time of a run that has ended.
    error : str
        Why it did not finish; empty otherwise.
    stages : tuple of Stage
        In the order they ended.
    metrics : dict
        Value by name; None for one that is not a number.
    config : dict
        Its parameters; empty for a run of the proof of concept.
    n_corrections : int
        Rows it has in the table of corrections.
    """

    run_id: str
    created_at: str
    status: str
    source: str
    cutout_xyz: tuple[int, int, int]
    seconds: float | None
    error: str
    stages: tuple[Stage, ...]
    metrics: dict[str, float | None]
    config: dict
    n_edits: int


class Run:
    """The log entry of the run in progress; made by `record_run`.

    Attributes
    ----------
    run_id : str
        UTC time and a random part: readable, sortable, never given twice.
    summary : list of Stage
        The stages so far.
    """

    def __init__(self, outdir: Path):
        self.run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        self.stages: list[Stage] = []
        self._outdir = outdir
        self._began = time.perf_counter()
        self._n_corrections = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[dict]:
        """Time a stage; it is logged even when it fails, so that the log says how far a run got.

        Parameters
        ----------
        name : str
            Name in the log.

        Yields
        ------
        dict
            Counts for the stage to fill: numbers (NumPy's too) or text by name.
        """
        counts: dict = {}
        began = time.perf_counter()
        try:
            yield counts
        finally:
            stage = Stage(name, time.perf_counter() - began, _own_peak_mb(), counts)
            self.stages.append(stage)
            text = json.dumps(counts, default=operator.methodcaller("item"))
            self._write(
                "INSERT INTO stages VALUES (?, ?, ?, ?, ?, ?)",
                [(self.run_id, len(self.stages), name, stage.seconds, stage.peak_memory_mb, text)],
            )

    def log_metric(self, name: str, value: float) -> None:
        """Log a measured value, such as ``segmentation/are``; a second one replaces the first."""
        row = (self.run_id, name, float(value))
        self._write("INSERT OR REPLACE INTO metrics VALUES (?, ?, ?)", [row])

    def log_files(self, files: Mapping[str, Path]) -> None:
        """Log the size and SHA-256 of files.

        Parameters
        ----------
        files : mapping of str to Path
            Where each file is now, by its path relative to the output folder.
        """
        rows = [
            (self.run_id, name, file_sha256(path), path.stat().st_size)
            for name, path in files.items()
        ]
        self._write("INSERT OR REPLACE INTO artefacts VALUES (?, ?, ?, ?)", rows)

    def log_edit(self, made: EditRecord) -> None:
        """Log what a person did; it is on disk when this returns."""
        self._write(_CORRECTION, [_correction_row(self.run_id, self._n_corrections, made)])
        self._n_corrections += 1

    def update_source(self, dataset_uri: str, cutout_xyz: tuple[int, int, int]) -> None:
        """Correct what the run is about, when the source or size is other than was asked."""
        self._write(
            "UPDATE runs SET dataset_uri = ?, cutout_x = ?, cutout_y = ?, cutout_z = ?"
            " WHERE run_id = ?",
            [(dataset_uri, *map(int, cutout_xyz), self.run_id)],
        )
        path = _config_path(self._outdir, self.run_id)
        document = json.loads(path.read_text())
        taken = {"source": dataset_uri, "cutout_xyz": [int(n) for n in cutout_xyz]}
        write_json(path, document | {"taken": taken})

    def _begin(
        self, config: dict, dataset_uri: str, cutout_xyz: tuple[int, int, int], created_at: str
    ) -> None:
        with _connected(self._outdir / paths.RUN_LOG) as log:
            log.execute(
                "INSERT INTO runs (run_id, dataset_uri, cutout_x, cutout_y, cutout_z,"
                " created_at, meta_json) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (self.run_id, dataset_uri, *map(int, cutout_xyz), created_at, json.dumps(config)),
            )
            log.execute(
                "INSERT INTO run_status (run_id, status, pid, host, software_version)"
                " VALUES (?, 'running', ?, ?, ?)",
                (self.run_id, os.getpid(), platform.node(), __version__),
            )

    def _end(self, status: str, error: str | None = None) -> None:
        seconds = time.perf_counter() - self._began
        self._write(
            "UPDATE run_status SET status = ?, finished_at = ?, seconds = ?, error = ?"
            " WHERE run_id = ?",
            [(status, _now(), seconds, error, self.run_id)],
        )

    def _write(self, statement: str, rows: list[tuple]) -> None:
        with _connected(self._outdir / paths.RUN_LOG) as log:
            log.executemany(statement, rows)


@contextmanager
def record_run(
    outdir: Path,
    config: dict,
    dataset_uri: str,
    cutout_xyz: tuple[int, int, int],
    command: Sequence[str] = (),
) -> Iterator[Run]:
    """Log a run from its first moment to however it ends.

    Parameters
    ----------
    outdir : Path
        Output folder; the log is ``runs/pipeline_runs.sqlite`` in it, and what is needed to do
        the run again goes to ``runs/<run_id>_config.json``, but for a private BossDB token.
    config : dict
        Every parameter of the run, fit for JSON.
    dataset_uri : str
        Source of the data.
    cutout_xyz : tuple of int
        Size in voxels, (X, Y, Z).
    command : sequence of str
        The command line as typed.

    Yields
    ------
    Run
        Takes stages, metrics and artefacts. When the block ends well the run is ``finished``;
        on Ctrl-C it is ``interrupted``, on any other exception ``failed`` with its message, and
        the exception goes on. A killed process leaves ``running``, which `read_history` shows as
        ``died``.

    Raises
    ------
    ConnectomeError
        If the log cannot be opened or written.
    """
    outdir = Path(outdir)
    run = Run(outdir)
    created_at = _now()
    document = {
        "run_id": run.run_id,
        "created_at": created_at,
        "command": _command_without_token(command),
        "config": _config_without_token(config),
        "software": _software(),
    }
    run._begin(document, dataset_uri, cutout_xyz, created_at)
    try:
        _clear_up(outdir)
        write_json(_config_path(outdir, run.run_id), document)
        yield run
    except BaseException as error:
        # What ended the run must reach the user, even if the log cannot be written any more.
        with suppress(ConnectomeError):
            if isinstance(error, KeyboardInterrupt):
                run._end("interrupted")
            else:
                run._end("failed", _message(error))
        raise
    run._end("finished")


def read_history(outdir: Path) -> list[PastRun]:
    """Read the runs logged under an output folder, oldest first.

    Raises
    ------
    UsageError
        If there is no such folder.
    ConnectomeError
        If it has no run log, or one that cannot be read.
    """
    outdir = Path(outdir)
    path = outdir / paths.RUN_LOG
    if not outdir.is_dir():
        raise UsageError(f"there is no folder {outdir}", remedy="name the --outdir of a run")
    if not path.exists():
        raise ConnectomeError(
            f"{outdir} has no run log: there is no {path}",
            remedy=f"run_pipeline.py --outdir {outdir}",
        )
    with _connected(path) as log:
        rows = log.execute(
            "SELECT run_id, created_at, status, pid, host, dataset_uri, cutout_x, cutout_y,"
            " cutout_z, seconds, error, meta_json FROM runs LEFT JOIN run_status USING (run_id)"
            " ORDER BY created_at, runs.rowid"
        ).fetchall()
        stages = log.execute(
            "SELECT run_id, name, seconds, peak_memory_mb, counts_json FROM stages"
            " ORDER BY run_id, position"
        ).fetchall()
        metrics = log.execute("SELECT run_id, name, value FROM metrics").fetchall()
        n_corrections = dict(
            log.execute("SELECT run_id, COUNT(*) FROM corrections GROUP BY run_id").fetchall()
        )
        stages = [(of, Stage(*stage, _parsed(counts, dict))) for of, *stage, counts in stages]
        # What the proof of concept put down of its runs is its own affair.
        rows = [
            (*row, _parsed(document, dict).get("config", {}) if row[2] else {})
            for *row, document in rows
        ]
    return [
        PastRun(
            run_id,
            str(created_at),
            _status(status, pid, host),
            source,
            tuple(cutout),
            seconds,
            error or "",
            tuple(stage for of, stage in stages if of == run_id),
            {name: value for of, name, value in metrics if of == run_id},
            config,
            n_corrections.get(run_id, 0),
        )
        for run_id, created_at, status, pid, host, source, *cutout, seconds, error, config in rows
    ]


def append_edit(outdir: Path, run_id: str, made: EditRecord) -> None:
    """Log what a person decided about a run that has ended, after all that was done in it."""
    with _connected(Path(outdir) / paths.RUN_LOG) as log:
        (position,) = log.execute(
            "SELECT COALESCE(MAX(position) + 1, 0) FROM corrections WHERE run_id = ?", (run_id,)
        ).fetchone()
        log.execute(_CORRECTION, _correction_row(run_id, position, made))


def _correction_row(run_id: str, position: int, made: EditRecord) -> tuple:
    place = made.place or (None, None, None)
    return (
        *(run_id, position, made.time, made.user, made.tool),
        *(json.dumps(made.ids), *place, made.voxel_delta, made.payload),
    )


def read_edits(outdir: Path, run_id: str) -> list[EditRecord]:
    """Read what a person did in a run, in the order it was done."""
    with _connected(Path(outdir) / paths.RUN_LOG) as log:
        rows = log.execute(
            "SELECT tool, ids_json, z, y, x, voxel_delta, payload, time, user FROM corrections"
            " WHERE run_id = ? ORDER BY position",
            (run_id,),
        ).fetchall()
        return [
            EditRecord(tool, tuple(_parsed(ids, list)), None if z is None else (z, y, x), *rest)
            for tool, ids, z, y, x, *rest in rows
        ]


def _parsed(text: str, kind: type) -> dict | list:
    """Read what a row of the log holds as JSON."""
    try:
        content = json.loads(text)
    except (ValueError, TypeError) as error:
        raise sqlite3.DataError(f"a row is damaged: {error}") from error
    if not isinstance(content, kind):
        raise sqlite3.DataError(f"a row is damaged: {content!r} is no {kind.__name__}")
    return content


def peak_memory_mb(usage: resource.struct_rusage) -> float:
    """Return the peak memory of a ``resource`` usage record in MB (10⁶ bytes)."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the log for one short transaction, first adding the tables it lacks."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # IMMEDIATE: wait for the write lock at the start, where waiting cannot deadlock.
        connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level="IMMEDIATE")
        with closing(connection):
            connection.executescript(_SCHEMA)
            with connection:
                yield connection
    except (OSError, sqlite3.Error) as error:
        raise ConnectomeError(
            f"the run log {path} cannot be used: {error}",
            "runs can be neither recorded nor listed",
            "check its permissions and the free disk space; if it is damaged, move it away"
            " and a new one is begun",
        ) from error


def _clear_up(outdir: Path) -> None:
    """Remove what runs that were killed had made and not published."""
    for run_id, folder in leftover_staging_folders(outdir).items():
        with _connected(outdir / paths.RUN_LOG) as log:
            row = log.execute(
                "SELECT status, pid, host FROM run_status WHERE run_id = ?", (run_id,)
            ).fetchone()
        if row and _status(*row) == "died":
            shutil.rmtree(folder, ignore_errors=True)


def _status(status: str | None, pid: int, host: str) -> str:
    if status is None:
        return "unknown"
    return "died" if status == "running" and not _may_be_alive(pid, host) else status


def _may_be_alive(pid: int, host: str) -> bool:
    """Tell whether a process may still be there; a number given again to another one deceives."""
    # Other machines cannot be asked, and on Windows this very question would end the process.
    if host != platform.node() or os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _own_peak_mb() -> float | None:
    return peak_memory_mb(resource.getrusage(resource.RUSAGE_SELF)) if resource else None


def _message(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, ConnectomeError) else f"{type(error).__name__}: {text}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _config_path(outdir: Path, run_id: str) -> Path:
    return (outdir / paths.RUN_LOG).with_name(f"{run_id}_config.json")


def _software() -> dict:
    return {
        "connectome": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in RECORDED_PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _config_without_token(config: dict) -> dict:
    """Hide a private BossDB token: output folders are shared and published."""

    def kept(key, value):
        if isinstance(value, dict):
            return _config_without_token(value)
        return _HIDDEN if key == "boss_token" and value != PUBLIC_BOSS_TOKEN else value

    return {key: kept(key, value) for key, value in config.items()}


def _command_without_token(command: Sequence[str]) -> list[str]:
    kept: list[str] = []
    for arg in command:
        if kept and kept[-1] in ("--boss_token", "--boss-token"):
            arg = _HIDDEN
        elif arg.startswith(("--boss_token=", "--boss-token=")):
            arg = f"--boss_token={_HIDDEN}"
        kept.append(arg)
    return kept
