"""Refine a draft: learn from what a person corrected, judge the whole stack anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from connectome import evaluate, runlog
from connectome.cli.reporter import Reporter
from connectome.io import model_files, paths
from connectome.io.draft import Draft, ProofreadSections, read_draft, read_proofread
from connectome.refine.data import RefinedResult, TrainingStack
from connectome.workflows.known import aligned_ground_truth, baseline_probability
from connectome.workflows.neurites import segment_neurites, unlogged


@dataclass(frozen=True)
class RefineConfig:
    """What a refiner is told.

    Parameters
    ----------
    kind : {"rf", "unet"}
        Which refiner it is.
    outdir : str
        Output folder of the run to refine.
    ground_truth : str, optional
        Labels of the cutout as imaged, to score against; what the run knew to be true otherwise.
    seed : int
        Of every random choice.
    threads : int
        Cores to use.
    params : object
        The refiner's own parameters, a frozen dataclass.
    """

    kind: str
    outdir: str
    ground_truth: str | None
    seed: int
    threads: int
    params: object


Learner = Callable[[TrainingStack, RefineConfig, Reporter], RefinedResult]


def refine(
    config: RefineConfig,
    learn: Learner,
    reporter: Reporter,
    command: Sequence[str],
    check: Callable[[Draft, ProofreadSections | None], None] = lambda draft, proofread: None,
) -> dict:
    """Learn, judge every voxel, and take the judgement to neurites.

    Parameters
    ----------
    config : RefineConfig
        What to do.
    learn : callable
        The refiner: takes the material, this configuration and the reporter.
    reporter : Reporter
        Whom to tell.
    command : sequence of str
        The command line, for the log.
    check : callable
        Refuses what cannot be learned from, before the slow part.

    Returns
    -------
    dict
        The metrics, as saved.
    """
    outdir = Path(config.outdir)
    draft = read_draft(outdir)
    proofread = read_proofread(draft)
    check(draft, proofread)
    truth = aligned_ground_truth(draft, config.ground_truth)
    place = (draft.aligned.source, draft.aligned.shape[::-1])
    settings = asdict(config) | {"proofread": list(proofread.sections) if proofread else []}
    with runlog.record_run(outdir, settings, *place, command) as log:
        reporter = reporter.for_run(log)
        with log.stage("evidence"):
            material = _training_stack(draft, proofread, config.threads)
        with log.stage("learn"):
            learned = learn(material, config, reporter)
        maps = _order_maps(material.untrained_probability, learned.probability, learned.voted)
        labels = _segment(draft, proofread, *maps, log.stage)
        metrics = learned.metrics | {"proofread_sections": settings["proofread"]}
        if truth is not None:
            with log.stage("evaluate"):
                metrics["scores"] = _scores(draft, labels, truth, proofread, log)
        with paths.staging_folder(outdir, log.run_id, owned=()) as folder:
            with log.stage("save"):
                _save(folder, config, draft, learned, labels, metrics, log.run_id)
            files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
            log.log_files(files)
    _report(reporter, config, metrics, labels, log)
    return metrics


def refine_with_forest(config: RefineConfig, reporter: Reporter, command: Sequence[str]) -> dict:
    """Refine with a random forest, trained here or, if ``params.apply`` names a model, elsewhere.

    Parameters and results are those of `refine`; ``config.params`` is a `ForestParams`.
    """
    from connectome.refine import forest

    learn = forest.train_forest
    if config.params.apply is not None:
        model = model_files.read_model(Path(config.params.apply), forest.KIND)
        learn = partial(forest.apply_forest, model)
    return refine(config, learn, reporter, command)


def refine_with_unet(
    config: RefineConfig,
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
    from connectome.refine import selftrain, unet, unet_training

    unet.choose_device(config.params.device)  # an absent one is reported before the slow part
    unet.set_threads(config.threads)
    if model_path is not None:
        name = Path(model_path).name
        model = model_files.read_model(Path(model_path), unet.KIND)

        def check_model(draft: Draft, proofread: ProofreadSections | None) -> None:
            model_files.check_model(model[0], unet.CHANNELS, draft.aligned.voxel_size, name)

        def apply(stack: TrainingStack, config: RefineConfig, reporter: Reporter) -> RefinedResult:
            return selftrain.apply_network(
                stack, model, config.params.device, reporter.progress_bar
            )

        return refine(config, apply, reporter, command, check_model)

    checkpoint = Path(config.outdir) / paths.MODELS / unet_training.CHECKPOINT

    def train(stack: TrainingStack, config: RefineConfig, reporter: Reporter) -> RefinedResult:
        trains = stack.proofread is not None or train_without_proofreading
        return unet_training.train_unet(
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
        metrics = refine(config, train, reporter, command, unet_training.check_proofread_sections)
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
    draft: Draft, proofread: ProofreadSections | None, threads: int
) -> TrainingStack:
    """Gather what there is to learn from."""
    voxel_size = draft.aligned.voxel_size
    rated = baseline_probability(draft, threads)

    def to_labels(
        probability: np.ndarray, held_back: Sequence[int] = (), voted: bool = False
    ) -> np.ndarray:
        return _segment(
            draft, _exclude_sections(proofread, held_back), *_order_maps(rated, probability, voted)
        )

    return TrainingStack(
        draft.aligned.data,
        draft.tissue,
        voxel_size,
        draft.damaged,
        rated,
        draft.labels,
        proofread,
        to_labels,
    )


def _exclude_sections(
    proofread: ProofreadSections | None, sections: Sequence[int]
) -> ProofreadSections | None:
    """Leave some proofread sections out."""
    kept = tuple(z for z in proofread.sections if z not in set(sections)) if proofread else ()
    return ProofreadSections(proofread.labels, kept) if kept else None


def _order_maps(evidence, probability, voted: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Say which map makes pieces, and which other, if any, has a say in joining them."""
    return (evidence, probability) if voted else (probability, None)


def _segment(draft: Draft, proofread, probability, other=None, stage=unlogged) -> np.ndarray:
    """Take a probability map, and another that has a say in joins, the road to neurites."""
    place = (draft.aligned.data, draft.tissue, draft.aligned.voxel_size, draft.damaged)
    return segment_neurites(probability, *place, stage, proofread, second_probability=other).labels


def _scores(draft: Draft, labels, truth, proofread: ProofreadSections | None, log) -> dict:
    """Score the sections nobody has proofread, before and after."""
    known = set(proofread.sections) if proofread else set()
    rest = [z for z in range(len(labels)) if z not in known]
    if not truth[rest].any():
        return {}
    scores = {
        name: evaluate.score_segmentation(found[rest], truth[rest])
        for name, found in (("before", draft.labels), ("after", labels))
    }
    for name in ("are", "voi"):
        log.log_metric(f"segmentation/{name}", scores["after"][name])
    return scores | {"sections": len(rest)}


def _save(
    folder: Path, config: RefineConfig, draft: Draft, learned: RefinedResult, labels, metrics, run
):
    """Write the map, the neurites, the metrics, the model and the figure."""
    from connectome.figures import refiners

    kind, here = config.kind, draft.aligned
    stacks = {
        paths.REFINED_PROBABILITY[kind]: learned.probability.astype(np.float16),
        paths.REFINED_LABELS[kind]: labels,
    }
    for name, stack in stacks.items():
        paths.write_volume(folder / name, here.with_data(stack))
    paths.write_json(folder / paths.REFINED_METRICS[kind], metrics | {"source": here.source})
    if learned.arrays:
        model_files.write_model(
            folder / paths.MODELS / f"{kind}_{run}.npz", learned.meta, learned.arrays
        )
    figure = getattr(refiners, f"{kind}_figure")(metrics, here.source)
    refiners.write_figure(figure, folder / paths.REFINED_FIGURE[kind])


def _report(reporter: Reporter, config: RefineConfig, metrics: dict, labels, log) -> None:
    """Say what came of it, and what to do next."""
    scores = metrics.get("scores")
    if scores:
        reporter.message(f"on the {scores['sections']} sections that nobody has proofread:")
        for name in ("before", "after"):
            are, voi = scores[name]["are"], scores[name]["voi"]
            reporter.message(f"  {name:<7} ARE {are:.3f}   VOI {voi:.2f} bits")
    reporter.report_timings()
    reporter.message(
        f"results are in {config.outdir}/ (run {log.run_id}); next:"
        f" rebuild_graph_and_figures.py --outdir {config.outdir} --labels {config.kind}"
    )
