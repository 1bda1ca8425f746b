"""Rebuild the graph and the figures from corrected or refined labels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from connectome import evaluate, runlog
from connectome.cli.reporter import Reporter
from connectome.core.errors import DataError
from connectome.core.params import GraphParams
from connectome.core.synapse_table import ACCEPTED, REJECTED
from connectome.core.volume import GroundTruth
from connectome.evaluate.results import (
    aligned_ground_truth,
    evaluate_results,
    flatten_scores,
)
from connectome.figures import FIGURES, FigureSpec
from connectome.graph import diff
from connectome.io import paths
from connectome.io.files import atomic_path, file_sha256, list_files, staging_folder, write_json
from connectome.io.run_folder import RunFolder
from connectome.report import write_report
from connectome.synapses import scoring, verdicts
from connectome.workflows.connectivity import (
    Connectivity,
    detect_and_connect,
    reviewed_synapses,
)
from connectome.workflows.drawing.figure_workers import FigureWorkers

Content = TypeVar("Content")


@dataclass(frozen=True)
class RebuildConfig:
    """Options of a rebuild.

    Parameters
    ----------
    outdir : str
        Output folder of the run.
    labels : str
        ``auto``, a name of `connectome.io.paths.LABELS_BY_NAME`, or the path of a label array.
    ground_truth : str, optional
        Labels of the cutout as imaged, to score against; the ground truth of the run by default.
    threads : int
        Number of sections processed in parallel.
    directed : bool, optional
        Whether connections have a direction; by default, as in the present graph.
    """

    outdir: str
    labels: str = "auto"
    ground_truth: str | None = None
    threads: int = 1
    directed: bool | None = None


def rebuild(config: RebuildConfig, reporter: Reporter, command: Sequence[str] = ()) -> dict:
    """Detect synapses in other labels, rebuild graph, figures and scores, and report the changes.

    Parameters
    ----------
    config : RebuildConfig
        What to rebuild from what.
    reporter : Reporter
        Receives progress and messages.
    command : sequence of str
        The command line, for the run log.

    Returns
    -------
    dict
        The scores, as in ``tables/evaluation.json``; empty without ground truth.

    Raises
    ------
    UsageError, DataError
        If there is no run, or the labels are missing or do not fit it.
    """
    outdir = Path(config.outdir)
    draft = RunFolder(outdir)
    draft.check_complete()
    path = _resolve_labels(draft, config.labels)
    labels = draft.read_labels(path)
    if not labels.any():
        raise DataError(f"{path} holds no neurite", "there would be no graph", "--labels baseline")
    true_labels = aligned_ground_truth(draft, config.ground_truth)
    ground_truth = replace(draft.ground_truth, labels=true_labels)
    before = _previous_snapshot(draft, reporter)
    if config.directed is None:
        config = replace(config, directed=before.directed)
    reporter.message(f"labels      {path}, {_count_ids(labels):,} neurites")
    source, size = draft.aligned.source, draft.aligned.shape[::-1]
    settings = asdict(config) | {"labels_used": str(path)}
    with (
        runlog.record_run(outdir, settings, source, size, command) as log,
        staging_folder(outdir, log.run_id, owned=()) as folder,
        FigureWorkers(folder, config.threads > 1, _figures_of_neurites()) as figures,
    ):
        reporter = reporter.for_run(log)
        connectivity = _connect(draft, labels, config, reporter)
        _draw(figures, draft, labels, connectivity)
        evaluation = _evaluate(draft, labels, connectivity, ground_truth, reporter)
        figures.provide(evaluation=evaluation)
        with reporter.stage("save"):
            changes = diff.diff_graphs(before, _new_snapshot(labels, connectivity, evaluation))
            _save(folder, draft, path, connectivity, evaluation, changes)
        with reporter.stage("figures"):
            for figure in figures.draw_from_files(RunFolder(folder, outdir)):
                reporter.warn(f"{figure.title} was not redrawn: the run did not save what it needs")
            figures.finish()
        with reporter.stage("report"):
            run = RunFolder(folder, outdir)
            write_report(
                folder / paths.REPORT, run, log_folder=outdir, figures=list(FIGURES.values())
            )
        log.log_files(list_files(folder))
    _report_changes(outdir, changes, evaluation, reporter)
    reporter.message(f"results are in {outdir}/ (run {log.run_id})")
    return evaluation


def _resolve_labels(draft: RunFolder, name: str) -> Path:
    """Return the path of named labels; ``auto`` means the latest that derive from the draft."""
    if name == "auto":
        derived = [paths.CORRECTED_LABELS, *paths.REFINED_LABELS.values()]
        present = [draft.path(stored) for stored in derived if draft.has(stored)]
        baseline = draft.path(paths.LABELS)
        return max(present, key=lambda path: path.stat().st_mtime_ns, default=baseline)
    return draft.find_labels(name)


def _connect(
    draft: RunFolder, labels: np.ndarray, config: RebuildConfig, reporter: Reporter
) -> Connectivity:
    """Detect synapses and build the graph; a person's verdicts train the classifier and stand."""
    reviewed = reviewed_synapses(draft, labels)

    def review(candidates: pd.DataFrame) -> pd.DataFrame:
        if reviewed is None:
            return candidates
        counts = reviewed["verdict"].value_counts()
        reporter.message(
            f"reviewed    {counts.get(ACCEPTED, 0)} synapses accepted,"
            f" {counts.get(REJECTED, 0)} rejected by a person"
        )
        return verdicts.apply_verdicts(candidates, reviewed, draft.aligned.voxel_size)

    return detect_and_connect(
        draft.aligned,
        labels,
        damaged_sections=draft.damaged_sections,
        graph_params=GraphParams(directed=bool(config.directed)),
        classifier=_train_classifier(reviewed, reporter),
        review=review,
        threads=config.threads,
        reporter=reporter,
    )


def _train_classifier(
    reviewed: pd.DataFrame | None, reporter: Reporter
) -> scoring.SynapseClassifier | None:
    """Train the synapse classifier on a person's verdicts; None if there are too few."""
    if reviewed is None:
        return None
    examples = reviewed[reviewed["verdict"].isin([ACCEPTED, REJECTED])]
    accepted = (examples["verdict"] == ACCEPTED).to_numpy()
    classifier = scoring.retrain_classifier(scoring.default_classifier(), examples, accepted)
    if classifier is not None:
        reporter.message(f"reviewed    synapse classifier trained on {len(examples)} verdicts")
    return classifier


def _previous_snapshot(draft: RunFolder, reporter: Reporter) -> diff.GraphSnapshot:
    """Describe the present graph, as far as its files can be read: only the changes need it."""

    def read(name: str, content: Callable[[], Content], default: Content) -> Content:
        if not draft.has(name):
            return default
        try:
            return content()
        except DataError as error:
            reporter.warn(f"{error.problem}; changes against it cannot be reported")
            return default

    def labels() -> np.ndarray | None:
        intact = draft.graph_labels_path.exists() and not draft.graph_labels_changed
        return draft.graph_labels if intact else None

    used: np.ndarray | None = draft.baseline_labels
    if draft.has(paths.GRAPH_LABELS):
        used = read(paths.GRAPH_LABELS, labels, None)
    edges = read(paths.EDGES, lambda: draft.edges, None)
    counts = _count(
        used,
        read(paths.SYNAPSES, lambda: draft.synapses, None),
        read(paths.NODES, lambda: draft.nodes, None),
        edges,
    )
    scores = dict(flatten_scores(read(paths.EVALUATION, lambda: draft.evaluation, {})))
    edges = pd.DataFrame() if edges is None else edges
    edges = edges.reindex(columns=["pre_id", "post_id", "weight"])
    return diff.GraphSnapshot(used, edges, counts, scores, _was_directed(draft, reporter))


def _was_directed(draft: RunFolder, reporter: Reporter) -> bool:
    try:
        return draft.directed
    except DataError as error:
        reporter.warn(f"{error.problem}; assuming that connections were directed")
        return True


def _new_snapshot(
    labels: np.ndarray, connectivity: Connectivity, evaluation: dict
) -> diff.GraphSnapshot:
    counts = _count(labels, connectivity.synapses, connectivity.nodes, connectivity.edges)
    scores = dict(flatten_scores(evaluation))
    return diff.GraphSnapshot(labels, connectivity.edges, counts, scores, connectivity.directed)


def _count(
    labels: np.ndarray | None,
    synapses: pd.DataFrame | None,
    nodes: pd.DataFrame | None,
    edges: pd.DataFrame | None,
) -> dict[str, int]:
    """Return the sizes of what is there, by the names that the report of changes uses."""
    counts = {} if labels is None else {"neurites": _count_ids(labels)}
    tables = {
        "synapse candidates": synapses,
        "neurites in the graph": nodes,
        "connections": edges,
    }
    return counts | {name: len(table) for name, table in tables.items() if table is not None}


def _count_ids(labels: np.ndarray) -> int:
    return int(np.count_nonzero(pd.unique(labels.ravel())))


def _figures_of_neurites() -> list[FigureSpec]:
    """Return the figures that other labels change."""
    changed = {"labels", "synapses", "graph", "nodes", "edges", "directed", "evaluation"}
    return [figure for figure in FIGURES.values() if changed & set(figure.needs)]


def _draw(
    figures: FigureWorkers,
    draft: RunFolder,
    labels: np.ndarray,
    connectivity: Connectivity,
) -> None:
    """Draw the figures whose data is computed here."""
    figures.provide(
        aligned=draft.aligned,
        voxel_size=draft.voxel_size,
        source=draft.source,
        labels=labels,
        synapses=connectivity.synapses,
        graph=connectivity.graph,
        nodes=connectivity.nodes,
        edges=connectivity.edges,
        directed=connectivity.directed,
    )


def _evaluate(
    draft: RunFolder,
    labels: np.ndarray,
    connectivity: Connectivity,
    ground_truth: GroundTruth,
    reporter: Reporter,
) -> dict:
    """Score the labels and synapses; the score of the alignment stays as it was."""
    with reporter.stage("evaluate"):
        evaluation = evaluate_results(
            labels, connectivity.synapses, ground_truth, draft.aligned.voxel_size
        )
    for name, value in flatten_scores(evaluation):
        reporter.metric(name, value)
    with contextlib.suppress(DataError):  # the user was warned when the snapshot was read
        if alignment := draft.evaluation.get("alignment"):
            evaluation["alignment"] = alignment
    return evaluation and evaluation | {"source": draft.aligned.source}


def _save(
    folder: Path,
    draft: RunFolder,
    labels_file: Path,
    connectivity: Connectivity,
    evaluation: dict,
    changes: pd.DataFrame,
) -> None:
    """Write tables, graph and scores, and which labels they were made from."""
    source = draft.aligned.source
    for name, table in (connectivity.tables | {paths.REBUILD_CHANGES: changes}).items():
        with atomic_path(folder / name) as temporary:
            table.assign(source=source).to_csv(temporary, index=False)
    connectivity.export(folder, source)
    if evaluation:
        write_json(folder / paths.EVALUATION, evaluation)
    used, outdir = labels_file.resolve(), draft.outdir.resolve()
    shown = used.relative_to(outdir) if used.is_relative_to(outdir) else used
    content = {"labels": str(shown), "sha256": file_sha256(labels_file), "source": source}
    write_json(folder / paths.GRAPH_LABELS, content)


def _report_changes(
    outdir: Path, changes: pd.DataFrame, evaluation: dict, reporter: Reporter
) -> None:
    """Report what changed against the previous graph."""
    reporter.report_timings()
    kinds = changes["kind"]
    reporter.message("changes against the previous graph:")
    for row in changes[kinds == "count"].itertuples():
        change = f"{row.before} -> {row.after}"
        if not str(row.before):
            change = f"{row.after} (no previous result to compare with)"
        reporter.message(f"  {row.item:<22} {change}")
    counts = kinds.value_counts()
    reporter.message(
        f"  {counts.get('split', 0)} neurites split, {counts.get('merged', 0)} merged;"
        f" {counts.get('gained', 0)} connections gained, {counts.get('lost', 0)} lost"
        f" ({outdir / paths.REBUILD_CHANGES})"
    )
    if evaluation:
        reporter.message(evaluate.format_scores(evaluation) + "\n")
