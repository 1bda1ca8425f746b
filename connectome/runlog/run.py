"""Record a run while it is in progress.

Under ``runs/`` of the output folder there are one SQLite file for all runs and one configuration
file per run.
"""

from __future__ import annotations

import json
import operator
import os
import platform
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from connectome import __version__
from connectome.core.errors import ConnectomeError
from connectome.core.params import PUBLIC_BOSS_TOKEN
from connectome.io import paths
from connectome.io.files import file_sha256, leftover_staging_folders, write_json
from connectome.runlog.database import connect, current_status
from connectome.runlog.edit_record import EditRecord, timestamp
from connectome.runlog.stage import Stage, own_peak_memory_mb

# Versions of these are recorded.
RECORDED_PACKAGES = ("numpy", "scipy", "scikit-image", "pandas", "networkx", "matplotlib", "intern")
HIDDEN = "(not kept)"
INSERT_EDIT = "INSERT INTO corrections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Run:
    """The log entry of a run in progress; made by `record_run`.

    Attributes
    ----------
    run_id : str
        UTC time and a random part: readable, sortable and unique.
    stages : list of Stage
        Stages that have ended.
    """

    def __init__(self, outdir: Path):
        self.run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        self.stages: list[Stage] = []
        self._outdir = outdir
        self._start = time.perf_counter()
        self._n_edits = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a stage. It is logged even if it fails, so that the log shows how far a run got.

        Parameters
        ----------
        name : str
            Name in the log.

        Yields
        ------
        dict
            Counts to fill in: numbers (of NumPy, too) or text by name.
        """
        counts: dict[str, Any] = {}
        start = time.perf_counter()
        try:
            yield counts
        finally:
            stage = Stage(name, time.perf_counter() - start, own_peak_memory_mb(), counts)
            self.stages.append(stage)
            text = json.dumps(counts, default=operator.methodcaller("item"))
            row = (
                self.run_id,
                len(self.stages),
                name,
                stage.seconds,
                stage.peak_memory_mb,
                text,
            )
            self._write("INSERT INTO stages VALUES (?, ?, ?, ?, ?, ?)", [row])

    def log_metric(self, name: str, value: float) -> None:
        """Log a measured value, such as ``segmentation/are``; it replaces an earlier one."""
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

    def log_edit(self, record: EditRecord) -> None:
        """Log an edit; it is on disk when this returns."""
        self._write(INSERT_EDIT, [_edit_row(self.run_id, self._n_edits, record)])
        self._n_edits += 1

    def update_source(self, dataset_uri: str, cutout_xyz: tuple[int, int, int]) -> None:
        """Log the source and size that were used, where they differ from those requested."""
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
        self,
        document: dict[str, Any],
        dataset_uri: str,
        cutout_xyz: tuple[int, int, int],
        created_at: str,
    ) -> None:
        with connect(self._outdir / paths.RUN_LOG) as log:
            log.execute(
                "INSERT INTO runs (run_id, dataset_uri, cutout_x, cutout_y, cutout_z,"
                " created_at, meta_json) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (self.run_id, dataset_uri, *map(int, cutout_xyz), created_at, json.dumps(document)),
            )
            log.execute(
                "INSERT INTO run_status (run_id, status, pid, host, software_version)"
                " VALUES (?, 'running', ?, ?, ?)",
                (self.run_id, os.getpid(), platform.node(), __version__),
            )

    def _end(self, status: str, error: str | None = None) -> None:
        seconds = time.perf_counter() - self._start
        self._write(
            "UPDATE run_status SET status = ?, finished_at = ?, seconds = ?, error = ?"
            " WHERE run_id = ?",
            [(status, timestamp(), seconds, error, self.run_id)],
        )

    def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        with connect(self._outdir / paths.RUN_LOG) as log:
            log.executemany(statement, rows)


@contextmanager
def record_run(
    outdir: Path,
    config: dict[str, Any],
    dataset_uri: str,
    cutout_xyz: tuple[int, int, int],
    command: Sequence[str] = (),
) -> Iterator[Run]:
    """Log a run from its start to its end, however it ends.

    Parameters
    ----------
    outdir : Path
        Output folder. The log is ``runs/pipeline_runs.sqlite`` in it; what is needed to repeat the
        run is written to ``runs/<run_id>_config.json``, except for a private BossDB token.
    config : dict
        Every parameter of the run, serialisable as JSON.
    dataset_uri : str
        Source of the data.
    cutout_xyz : tuple of int
        Size in voxels, (X, Y, Z).
    command : sequence of str
        The command line.

    Yields
    ------
    Run
        Logs stages, metrics and files. When the block ends the run is ``finished``, on Ctrl-C
        ``interrupted``, on any other exception ``failed`` with its message; the exception is
        raised again. A killed process leaves ``running``, which `read_history` returns as ``died``.

    Raises
    ------
    ConnectomeError
        If the log cannot be opened or written.
    """
    outdir = Path(outdir)
    run = Run(outdir)
    created_at = timestamp()
    document = {
        "run_id": run.run_id,
        "created_at": created_at,
        "command": _hide_token_in_command(command),
        "config": _hide_token_in_config(config),
        "software": _describe_software(),
    }
    run._begin(document, dataset_uri, cutout_xyz, created_at)
    try:
        _remove_leftovers(outdir)
        write_json(_config_path(outdir, run.run_id), document)
        yield run
    except BaseException as error:
        # The user must see why the run ended, even if the log cannot be written any more.
        with suppress(ConnectomeError):
            if isinstance(error, KeyboardInterrupt):
                run._end("interrupted")
            else:
                run._end("failed", _format_error(error))
        raise
    run._end("finished")


def append_edit(outdir: Path, run_id: str, record: EditRecord) -> None:
    """Log an edit to a run that has ended, after all its other edits."""
    with connect(Path(outdir) / paths.RUN_LOG) as log:
        (position,) = log.execute(
            "SELECT COALESCE(MAX(position) + 1, 0) FROM corrections WHERE run_id = ?", (run_id,)
        ).fetchone()
        log.execute(INSERT_EDIT, _edit_row(run_id, position, record))


def _edit_row(run_id: str, index: int, record: EditRecord) -> tuple[Any, ...]:
    """Return the columns of the table ``corrections``."""
    z, y, x = record.position or (None, None, None)
    return (
        run_id,
        index,
        record.time,
        record.user,
        record.tool,
        json.dumps(record.ids),
        z,
        y,
        x,
        record.voxel_delta,
        record.payload,
    )


def _remove_leftovers(outdir: Path) -> None:
    """Remove the staging folders of runs that were killed."""
    for run_id, folder in leftover_staging_folders(outdir).items():
        with connect(outdir / paths.RUN_LOG) as log:
            row = log.execute(
                "SELECT status, pid, host FROM run_status WHERE run_id = ?", (run_id,)
            ).fetchone()
        if row and current_status(*row) == "died":
            shutil.rmtree(folder, ignore_errors=True)


def _format_error(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, ConnectomeError) else f"{type(error).__name__}: {text}"


def _config_path(outdir: Path, run_id: str) -> Path:
    return (outdir / paths.RUN_LOG).with_name(f"{run_id}_config.json")


def _describe_software() -> dict[str, Any]:
    return {
        "connectome": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _package_version(name) for name in RECORDED_PACKAGES},
    }


def _package_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _hide_token_in_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Replace a private BossDB token: output folders are shared and published."""

    def hide(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return _hide_token_in_config(value)
        return HIDDEN if key == "boss_token" and value != PUBLIC_BOSS_TOKEN else value

    return {key: hide(key, value) for key, value in config.items()}


def _hide_token_in_command(command: Sequence[str]) -> list[str]:
    shown: list[str] = []
    for arg in command:
        if shown and shown[-1] in ("--boss_token", "--boss-token"):
            arg = HIDDEN
        elif arg.startswith(("--boss_token=", "--boss-token=")):
            arg = f"--boss_token={HIDDEN}"
        shown.append(arg)
    return shown
