"""Build the graph and the figures again, from labels that were refined or corrected."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from connectome import evaluate, runlog
from connectome.cli.reporter import Reporter
from connectome.core.errors import DataError
from connectome.core.params import GraphParams, SynapseParams
from connectome.graph import diff
from connectome.io import paths
from connectome.io.draft import Draft, read_draft, read_labels
from connectome.io.results import Results
from connectome.report.build import write_report
from connectome.synapses import scoring, verdicts
from connectome.workflows.connectivity import (
    Connectivity,
    detect_and_connect,
    evaluate_results,
    flatten_scores,
)
from connectome.workflows.figure_workers import FigureWorkers
from connectome.workflows.known import aligned_ground_truth, labels_path, reviewed_synapses


@dataclass(frozen=True)
class RebuildConfig:
    """What a rebuild is told.

    Parameters
    ----------
    outdir : str
        Output folder of the run to build upon.
    labels : str
        ``auto``, a name of `layout.LABELS_BY_NAME`, or the path of an array of labels.
    ground_truth : str, optional
        Labels of the cutout as imaged, to score against; what the run knew to be true otherwise.
    threads : int
        Sections worked on at a time.
    directed : bool, optional
        Whether connections have a direction; None leaves it as it is in the graph there is.
    """

    outdir: str
    labels: str = "auto"
    ground_truth: str | None = None
    threads: int = 1
    directed: bool | None = None


def rebuild(config: RebuildConfig, reporter: Reporter, command: Sequence[str] = ()) -> dict:
    """Find synapses, sum up the graph, draw and score again; tell what changed.

    Parameters
    ----------
    config : RebuildConfig
        What to do.
    reporter : Reporter
        Whom to tell.
    command : sequence of str
        The command line, for the log.

    Returns
    -------
    dict
        The evaluation, as in ``tables/evaluation.json``; empty where no truth is known.

    Raises
    ------
    UsageError, DataError
        If there is no run, or the labels are not there or do not fit it.
    """
    outdir = Path(config.outdir)
    draft = read_draft(outdir)
    path = _resolve_labels(outdir, config.labels)
    labels = read_labels(path, draft.aligned)
    if not labels.any():
        raise DataError(f"{path} holds no neurite", "there would be no graph", "--labels baseline")
    draft = replace(
        draft, truth=replace(draft.truth, labels=aligned_ground_truth(draft, config.ground_truth))
    )
    before = _previous_snapshot(draft, reporter)
    if config.directed is None:
        config = replace(config, directed=before.directed)
    reporter.message(f"labels      {path}, {_n_ids(labels)} ids")
    place = (draft.aligned.source, draft.aligned.shape[::-1])
    settings = asdict(config) | {"labels_used": str(path)}
    with (
        runlog.record_run(outdir, settings, *place, command) as log,
        paths.staging_folder(outdir, log.run_id, owned=()) as folder,
        FigureWorkers(folder, parallel=config.threads > 1) as press,
    ):
        reporter = reporter.for_run(log)
        wiring = _connect(draft, labels, config, reporter, log)
        _draw(press, draft, labels, wiring, reporter)
        evaluation = _evaluate(draft, labels, wiring, log)
        source = draft.aligned.source
        counted = (wiring.nodes, wiring.edges, wiring.candidates)
        press.draw(8, *counted, evaluation, source, wiring.directed)
        after = _new_snapshot(labels, wiring, evaluation)
        with log.stage("save"):
            changed = diff.diff_graphs(before, after)
            _save(folder, draft, path, wiring, evaluation, changed)
        with log.stage("figures"):
            press.finish()
        with log.stage("report"):
            write_report(folder / paths.REPORT, Results(folder, outdir), outdir)
        log.log_files({str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()})
    _report(reporter, outdir, changed, evaluation, log)
    return evaluation


def _resolve_labels(outdir: Path, wanted: str) -> Path:
    """Find the labels that are meant; ``auto`` takes what was made last."""
    if wanted == "auto":
        # The main job's labels are what all others were made from.
        others = [paths.CORRECTED_LABELS, *paths.REFINED_LABELS.values()]
        made = [outdir / name for name in others if (outdir / name).exists()]
        return max(made, key=lambda path: path.stat().st_mtime_ns, default=outdir / paths.LABELS)
    return labels_path(outdir, wanted)


def _connect(draft: Draft, labels, config: RebuildConfig, reporter: Reporter, log) -> Connectivity:
    """Find synapses as a person's verdicts teach, and where one has looked take that word."""
    reviewed = reviewed_synapses(draft, labels)
    judge = _train_classifier(reviewed, reporter)

    def amend(candidates: pd.DataFrame) -> pd.DataFrame:
        if reviewed is None:
            return candidates
        told = verdicts.apply_verdicts(candidates, reviewed, draft.aligned.voxel_size)
        counts = reviewed["verdict"].value_counts()
        reporter.message(
            f"reviewed    {counts.get(verdicts.ACCEPTED, 0)} synapses accepted,"
            f" {counts.get(verdicts.REJECTED, 0)} rejected by a person"
        )
        return told

    aligned, damaged = draft.aligned, draft.damaged
    params = SynapseParams(), GraphParams(directed=config.directed)
    place = aligned, labels, damaged, reporter, log, config.threads
    return detect_and_connect(*place, params, amend=amend, judge=judge)


def _train_classifier(
    reviewed: pd.DataFrame | None, reporter: Reporter
) -> scoring.SynapseClassifier | None:
    """Learn from a person's verdicts, if there are enough, which candidates are synapses."""
    if reviewed is None:
        return None
    told = reviewed[reviewed["verdict"].isin([verdicts.ACCEPTED, verdicts.REJECTED])]
    accepted = (told["verdict"] == verdicts.ACCEPTED).to_numpy()
    judge = scoring.retrain_classifier(scoring.default_classifier(), told, accepted)
    if judge is not None:
        reporter.message(f"reviewed    {len(told)} verdicts taught which candidates are synapses")
    return judge


def _previous_snapshot(draft: Draft, reporter: Reporter) -> diff.GraphSnapshot:
    """Gather what the last graph was, as far as it is still there and can be read."""
    results = Results(draft.outdir)

    def former(name: str, read: Callable, otherwise=None):
        """Read a file, if it can be: it is about to be made again, and only changes need it."""
        if not results.has(name):
            return otherwise
        try:
            return read()
        except DataError as error:
            reporter.warn(f"{error.problem}; what changed against it cannot be told")
            return otherwise

    def labels() -> np.ndarray | None:
        intact = results.labels_path.exists() and not results.labels_changed
        return results.labels if intact else None

    used = former(paths.GRAPH_LABELS, labels) if results.has(paths.GRAPH_LABELS) else draft.labels
    edges = former(paths.EDGES, lambda: results.edges)
    counted = (
        former(paths.SYNAPSES, lambda: results.synapses),
        former(paths.NODES, lambda: results.nodes),
        edges,
    )
    scores = dict(flatten_scores(former(paths.EVALUATION, lambda: results.evaluation, {})))
    known = pd.DataFrame() if edges is None else edges
    known = known.reindex(columns=["pre_id", "post_id", "weight"])
    return diff.GraphSnapshot(
        used, known, _counts(used, *counted), scores, _was_directed(results, reporter)
    )


def _was_directed(results: Results, reporter: Reporter) -> bool:
    """Tell whether the last graph was directed, which the next one is, too, unless told."""
    try:
        return results.directed
    except DataError as error:
        reporter.warn(f"{error.problem}; connections are taken to have been directed")
        return True


def _new_snapshot(labels: np.ndarray, wiring: Connectivity, evaluation: dict) -> diff.GraphSnapshot:
    counts = _counts(labels, wiring.candidates, wiring.nodes, wiring.edges)
    return diff.GraphSnapshot(
        labels, wiring.edges, counts, dict(flatten_scores(evaluation)), wiring.directed
    )


def _counts(labels: np.ndarray | None, candidates, nodes, edges) -> dict[str, int]:
    counts = {} if labels is None else {"neurites": _n_ids(labels)}
    tables = {
        "synapse candidates": candidates,
        "neurites in the graph": nodes,
        "connections": edges,
    }
    return counts | {name: len(table) for name, table in tables.items() if table is not None}


def _n_ids(labels: np.ndarray) -> int:
    return int(np.count_nonzero(pd.unique(labels.ravel())))


def _draw(
    press: FigureWorkers, draft: Draft, labels, wiring: Connectivity, reporter: Reporter
) -> None:
    """Draw what depends on neurites: all but Figures 4 and 8."""
    aligned, source = draft.aligned, draft.aligned.source
    if (draft.outdir / paths.CUTOUT).exists() and (draft.outdir / paths.PREPROCESSED).exists():
        cutout = paths.read_volume(draft.outdir / paths.CUTOUT)
        preprocessed = paths.read_volume(draft.outdir / paths.PREPROCESSED).data
        press.draw(1, cutout, preprocessed, aligned.data, labels)
    else:
        reporter.warn("Figure 1 stays as it is: it needs the stacks that --save_minimal left out")
    found = (labels, wiring.candidates)
    press.draw(2, aligned.data, *found, aligned.voxel_size, source, wiring.directed)
    press.draw(3, wiring.diagram, source)
    press.draw(5, aligned, labels)
    press.draw(6, labels, aligned.voxel_size, source)
    press.draw(7, aligned, *found, wiring.directed)


def _evaluate(draft: Draft, labels, wiring: Connectivity, log) -> dict:
    """Score the new labels; what is known of the alignment stays true."""
    with log.stage("evaluate"):
        evaluation = evaluate_results(
            labels, wiring.candidates, draft.truth, draft.aligned.voxel_size
        )
    for name, value in flatten_scores(evaluation):
        log.log_metric(name, value)
    with contextlib.suppress(DataError):  # a damaged one has been told of
        if aligned := Results(draft.outdir).evaluation.get("alignment"):
            evaluation["alignment"] = aligned
    return evaluation and evaluation | {"source": draft.aligned.source}


def _save(
    folder: Path, draft: Draft, path: Path, wiring: Connectivity, evaluation, changed
) -> None:
    for name, table in (wiring.tables | {paths.REBUILD_CHANGES: changed}).items():
        with paths.atomic_path(folder / name) as temporary:
            table.assign(source=draft.aligned.source).to_csv(temporary, index=False)
    wiring.export(folder, draft.aligned.source)
    if evaluation:
        paths.write_json(folder / paths.EVALUATION, evaluation)
    inside = path.resolve().is_relative_to(draft.outdir.resolve())
    name = path.resolve().relative_to(draft.outdir.resolve()) if inside else path.resolve()
    used = {"labels": str(name), "sha256": paths.sha256(path), "source": draft.aligned.source}
    paths.write_json(folder / paths.GRAPH_LABELS, used)


def _report(reporter: Reporter, outdir: Path, changed: pd.DataFrame, evaluation: dict, log) -> None:
    """Say what changed, and where to read more."""
    reporter.report_timings()
    kinds = changed["kind"]
    reporter.message("what changed against the graph before:")
    for row in changed[kinds == "count"].itertuples():
        reporter.message(f"  {row.item:<22} {row.before or '?':>6} -> {row.after}")
    told = kinds.value_counts().to_dict()
    reporter.message(
        f"  {told.get('split', 0)} neurites split, {told.get('merged', 0)} joined from several;"
        f" {told.get('gained', 0)} connections gained, {told.get('lost', 0)} lost"
        f" ({paths.REBUILD_CHANGES})"
    )
    if evaluation:
        reporter.message(evaluate.format_scores(evaluation) + "\n")
    reporter.message(f"results are in {outdir}/ (run {log.run_id})")
