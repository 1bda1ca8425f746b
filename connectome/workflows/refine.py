"""Refine a draft: train on proofread sections, predict membranes anew, and segment again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from connectome import evaluate, runlog
from connectome.cli.reporter import Reporter
from connectome.evaluate.results import aligned_ground_truth
from connectome.figures import REFINER_FIGURES
from connectome.io import model_files, paths
from connectome.io.files import list_files, staging_folder, write_json
from connectome.io.run_folder import ProofreadSections, RunFolder
from connectome.io.volumes import write_volume
from connectome.refine.data import RefinedResult, TrainingStack
from connectome.workflows.neurites import baseline_probability, segment_neurites

if TYPE_CHECKING:
    from connectome.refine.forest import ForestParams
    from connectome.refine.unet.selftraining import UnetParams

Params = TypeVar("Params")


@dataclass(frozen=True)
class RefineConfig(Generic[Params]):
    """Options shared by the refiners.

    Parameters
    ----------
    kind : {"rf", "unet"}
        Random forest or U-Net.
    outdir : str
        Output folder of the run to refine.
    ground_truth : str, optional
        Labels of the cutout as imaged, to score against; the ground truth of the run by default.
    seed : int
        Seed of all random numbers.
    threads : int
        Number of cores to use.
    params : ForestParams or UnetParams
        Parameters of the refiner.
    """

    kind: str
    outdir: str
    ground_truth: str | None
    seed: int
    threads: int
    params: Params


Refiner = Callable[[TrainingStack, RefineConfig[Any], Reporter], RefinedResult]
Check = Callable[[RunFolder, ProofreadSections | None], None]


def refine(
    config: RefineConfig[Any],
    refiner: Refiner,
    reporter: Reporter,
    command: Sequence[str],
    check: Check = lambda draft, proofread: None,
) -> dict:
    """Train a refiner, predict the whole stack, and segment neurites from the prediction.

    Parameters
    ----------
    config : RefineConfig
        What to refine and how.
    refiner : callable
        Takes the stack to train on, this configuration and the reporter; trains and predicts.
    reporter : Reporter
        Receives progress and messages.
    command : sequence of str
        The command line, for the run log.
    check : callable
        Raises an error for input that the refiner cannot use, before the slow part.

    Returns
    -------
    dict
        The metrics, as saved.
    """
    outdir = Path(config.outdir)
    draft = RunFolder(outdir)
    draft.check_complete()
    proofread = draft.proofread_sections
    check(draft, proofread)
    truth = aligned_ground_truth(draft, config.ground_truth)
    sections = list(proofread.sections) if proofread else []
    source, size = draft.aligned.source, draft.aligned.shape[::-1]
    settings = asdict(config) | {"proofread": sections}
    with runlog.record_run(outdir, settings, source, size, command) as log:
        reporter = reporter.for_run(log)
        with reporter.stage("membranes"):
            stack = _training_stack(draft, proofread, config.threads)
        with reporter.stage("learn"):
            refined = refiner(stack, config, reporter)
        labels = _segment(
            draft,
            proofread,
            stack.untrained_probability,
            refined.probability,
            refined.voted,
            reporter,
        )
        metrics = refined.metrics | {"proofread_sections": sections}
        if truth is not None:
            with reporter.stage("evaluate"):
                metrics["scores"] = _evaluate(draft, labels, truth, sections, reporter)
        with staging_folder(outdir, log.run_id, owned=()) as folder:
            with reporter.stage("save"):
                _save(folder, config, draft, refined, labels, metrics, log.run_id)
            log.log_files(list_files(folder))
    _report_scores(metrics, reporter)
    reporter.report_timings()
    reporter.message(
        f"results are in {outdir}/ (run {log.run_id}); next:"
        f" rebuild_graph_and_figures.py --outdir {outdir} --labels {config.kind}"
    )
    return metrics


def refine_with_forest(
    config: RefineConfig[ForestParams], reporter: Reporter, command: Sequence[str]
) -> dict:
    """Refine with a random forest, trained here or, if ``params.apply`` names a model, elsewhere.

    Parameters and results are those of `refine`; ``config.params`` is a `ForestParams`.
    """
    from connectome.refine import forest

    model_path = config.params.apply
    model = model_files.read_model(Path(model_path), forest.KIND) if model_path else None

    def refiner(
        stack: TrainingStack, config: RefineConfig[ForestParams], reporter: Reporter
    ) -> RefinedResult:
        if model_path and model:
            return forest.apply_forest(
                stack,
                model,
                model_name=model_path,
                threads=config.threads,
                message=reporter.message,
                progress_bar=reporter.progress_bar,
            )
        return forest.train_forest(
            stack,
            config.params,
            seed=config.seed,
            threads=config.threads,
            message=reporter.message,
            progress_bar=reporter.progress_bar,
        )

    return refine(config, refiner, reporter, command)


def refine_with_unet(
    config: RefineConfig[UnetParams],
    reporter: Reporter,
    command: Sequence[str],
    *,
    model_path: str | None = None,
    train_without_proofreading: bool = False,
    restart: bool = False,
) -> dict:
    """Refine with a U-Net, trained here or, if a model is given, elsewhere.

    Interrupted training resumes from its checkpoint, which is removed when training has finished.

    Parameters
    ----------
    config, reporter, command
        As for `refine`; ``config.params`` is a `UnetParams`.
    model_path : str, optional
        Trained model to apply; nothing is trained, and a checkpoint is left as it is.
    train_without_proofreading : bool
        Train on the draft labels even if no section is proofread; otherwise the network is only
        adapted to the stack.
    restart : bool
        Start training again, whatever checkpoint exists.

    Returns
    -------
    dict
        The metrics, as saved.
    """
    from connectome.refine.unet import network, training

    network.choose_device(config.params.device)  # an absent one is reported before the slow part
    network.set_threads(config.threads)
    if model_path is not None:
        name = Path(model_path).name
        model = model_files.read_model(Path(model_path), network.KIND)

        def check_model(draft: RunFolder, proofread: ProofreadSections | None) -> None:
            model_files.check_model(model[0], network.CHANNELS, draft.aligned.voxel_size, name)

        def apply(
            stack: TrainingStack, config: RefineConfig[UnetParams], reporter: Reporter
        ) -> RefinedResult:
            return training.apply_unet(
                stack, model, device=config.params.device, progress_bar=reporter.progress_bar
            )

        return refine(config, apply, reporter, command, check_model)

    checkpoint = Path(config.outdir) / paths.MODELS / training.CHECKPOINT

    def train(
        stack: TrainingStack, config: RefineConfig[UnetParams], reporter: Reporter
    ) -> RefinedResult:
        trains = stack.proofread is not None or train_without_proofreading
        return training.train_unet(
            stack,
            config.params if trains else replace(config.params, rounds=0),
            seed=config.seed,
            checkpoint=checkpoint,
            restart=restart,
            voi=lambda labels, reference: evaluate.score_segmentation(labels, reference)["voi"],
            message=reporter.message,
            warn=reporter.warn,
            progress_bar=reporter.progress_bar,
        )

    try:
        metrics = refine(config, train, reporter, command, training.check_proofread_sections)
    except KeyboardInterrupt:
        if not checkpoint.exists():
            raise
        same = "the same command without --restart" if restart else "the same command"
        raise KeyboardInterrupt(
            f"earlier results are unchanged; {same} resumes from the last checkpoint"
        ) from None
    checkpoint.unlink(missing_ok=True)
    return metrics


def _training_stack(
    draft: RunFolder, proofread: ProofreadSections | None, threads: int
) -> TrainingStack:
    """Return the stack to train on, with the present prediction and corrections."""
    baseline = baseline_probability(draft, threads)

    def segment(
        probability: np.ndarray, excluded_sections: Sequence[int] = (), voted: bool = False
    ) -> np.ndarray:
        remaining = _exclude_sections(proofread, excluded_sections)
        return _segment(draft, remaining, baseline, probability, voted)

    return TrainingStack(
        em=draft.aligned.data,
        mask=draft.tissue,
        voxel_size=draft.aligned.voxel_size,
        damaged_sections=draft.damaged_sections,
        untrained_probability=baseline,
        labels=draft.baseline_labels,
        proofread=proofread,
        segment=segment,
    )


def _exclude_sections(
    proofread: ProofreadSections | None, sections: Sequence[int]
) -> ProofreadSections | None:
    """Return the proofread sections without some of them; None if none is left."""
    kept = tuple(z for z in proofread.sections if z not in set(sections)) if proofread else ()
    return ProofreadSections(proofread.labels, kept) if proofread and kept else None


def _segment(
    draft: RunFolder,
    proofread: ProofreadSections | None,
    baseline: np.ndarray,
    predicted: np.ndarray,
    voted: bool,
    reporter: Reporter | None = None,
) -> np.ndarray:
    """Segment neurites from a prediction that may only vote on the joins of the baseline."""
    return segment_neurites(
        baseline if voted else predicted,
        draft.aligned.data,
        tissue=draft.tissue,
        voxel_size=draft.aligned.voxel_size,
        damaged_sections=draft.damaged_sections,
        proofread=proofread,
        second_probability=predicted if voted else None,
        reporter=reporter,
    ).labels


def _evaluate(
    draft: RunFolder,
    labels: np.ndarray,
    truth: np.ndarray,
    proofread_sections: Sequence[int],
    reporter: Reporter,
) -> dict:
    """Score the sections that nobody has proofread, before and after refinement."""
    rest = sorted(set(range(len(labels))) - set(proofread_sections))
    if not truth[rest].any():
        return {}
    scores = {
        name: evaluate.score_segmentation(found[rest], truth[rest])
        for name, found in (("before", draft.baseline_labels), ("after", labels))
    }
    for name in ("are", "voi"):
        reporter.metric(f"segmentation/{name}", scores["after"][name])
    return scores | {"sections": len(rest)}


def _save(
    folder: Path,
    config: RefineConfig[Any],
    draft: RunFolder,
    refined: RefinedResult,
    labels: np.ndarray,
    metrics: dict,
    run_id: str,
) -> None:
    """Write the probability map, the labels, the metrics, the model and the figure."""
    kind, aligned = config.kind, draft.aligned
    arrays = {
        paths.REFINED_PROBABILITY[kind]: refined.probability.astype(np.float16),
        paths.REFINED_LABELS[kind]: labels,
    }
    for name, data in arrays.items():
        write_volume(folder / name, aligned.with_data(data))
    write_json(folder / paths.REFINED_METRICS[kind], metrics | {"source": aligned.source})
    if refined.arrays:
        path = folder / paths.MODELS / f"{kind}_{run_id}.npz"
        model_files.write_model(path, refined.meta, refined.arrays)
    REFINER_FIGURES[kind].write(folder, {"metrics": metrics, "source": aligned.source})


def _report_scores(metrics: dict, reporter: Reporter) -> None:
    scores = metrics.get("scores")
    if not scores:
        return
    reporter.message(f"on the {scores['sections']} sections that nobody has proofread:")
    for name in ("before", "after"):
        reporter.message(
            f"  {name:<7} ARE {scores[name]['are']:.3f}   VOI {scores[name]['voi']:.2f} bits"
        )
