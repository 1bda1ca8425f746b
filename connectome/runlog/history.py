"""Read the runs and edits of a run log."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectome.core.errors import ConnectomeError, UsageError
from connectome.io import paths
from connectome.runlog.database import connect, current_status, parse_json
from connectome.runlog.edit_record import EditRecord
from connectome.runlog.stage import Stage


@dataclass(frozen=True)
class PastRun:
    """A run in the log.

    Parameters
    ----------
    run_id, created_at : str
        Its id, and when it began (UTC, ISO 8601).
    status : str
        ``running``, ``finished``, ``failed``, ``interrupted``, ``died`` (its process is gone and
        recorded no end) or ``unknown`` (logged by the published pipeline).
    source : str
        URI or path of the data.
    cutout_xyz : tuple of int
        Size in voxels, (X, Y, Z).
    seconds : float or None
        Wall time of a run that has ended.
    error : str
        Why it did not finish; otherwise empty.
    stages : tuple of Stage
        In the order in which they ended.
    metrics : dict
        Value by name; None for values that are not numbers.
    config : dict
        Its parameters; empty for a run of the published pipeline.
    n_edits : int
        Number of edits logged for it.
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
    config: dict[str, Any]
    n_edits: int


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
    stages: dict[str, list[Stage]] = defaultdict(list)
    metrics: dict[str, dict[str, float | None]] = defaultdict(dict)
    runs = []
    with connect(path) as log:
        rows = log.execute(
            "SELECT run_id, name, seconds, peak_memory_mb, counts_json FROM stages"
            " ORDER BY run_id, position"
        )
        for run_id, name, seconds, peak_memory_mb, counts in rows:
            counts = parse_json(counts, dict)
            stages[run_id].append(Stage(name, seconds, peak_memory_mb, counts))
        for run_id, name, value in log.execute("SELECT run_id, name, value FROM metrics"):
            metrics[run_id][name] = value
        n_edits: dict[str, int] = dict(
            log.execute("SELECT run_id, COUNT(*) FROM corrections GROUP BY run_id").fetchall()
        )
        rows = log.execute(
            "SELECT run_id, created_at, status, pid, host, dataset_uri, cutout_x, cutout_y,"
            " cutout_z, seconds, error, meta_json FROM runs LEFT JOIN run_status USING (run_id)"
            " ORDER BY created_at, runs.rowid"
        )
        for run_id, created_at, status, pid, host, source, x, y, z, seconds, error, meta in rows:
            # The published pipeline wrote other content into this column.
            config = parse_json(meta, dict).get("config", {}) if status else {}
            runs.append(
                PastRun(
                    run_id=run_id,
                    created_at=str(created_at),
                    status=current_status(status, pid, host),
                    source=source,
                    cutout_xyz=(x, y, z),
                    seconds=seconds,
                    error=error or "",
                    stages=tuple(stages[run_id]),
                    metrics=metrics[run_id],
                    config=config,
                    n_edits=n_edits.get(run_id, 0),
                )
            )
    return runs


def read_edits(outdir: Path, run_id: str) -> list[EditRecord]:
    """Read the edits of a run, oldest first."""
    with connect(Path(outdir) / paths.RUN_LOG) as log:
        rows = log.execute(
            "SELECT tool, ids_json, z, y, x, voxel_delta, payload, time, user FROM corrections"
            " WHERE run_id = ? ORDER BY position",
            (run_id,),
        )
        return [
            EditRecord(
                tool=tool,
                ids=tuple(parse_json(ids, list)),
                position=None if z is None else (z, y, x),
                voxel_delta=voxel_delta,
                payload=payload,
                time=time,
                user=user,
            )
            for tool, ids, z, y, x, voxel_delta, payload, time, user in rows
        ]
