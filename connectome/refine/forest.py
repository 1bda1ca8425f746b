"""A random forest that predicts membranes after training on proofread sections.

Its features are grey values, edges and standard deviations at several widths, the features of the
untrained prediction, and that prediction itself. Its output is transformed to the distribution of
the untrained probability and averaged with it, because the thresholds of the segmentation were set
for that distribution.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from connectome.core.errors import DataError
from connectome.core.progress import map_stacks
from connectome.io.model_files import check_model
from connectome.refine.data import (
    Message,
    ProgressBar,
    RefinedResult,
    TrainingStack,
    no_progress_bar,
    split_held_out,
)
from connectome.refine.forest_data import (
    LabelledSections,
    collect_labels,
    compute_forest_features,
    forest_feature_names,
)
from connectome.refine.trees import DecisionTrees

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

KIND = "rf"
MIN_SAMPLES_LEAF = 30  # with fewer, trees fit noise and become slow
PRIOR_SECTIONS = 3  # weight of the untrained prediction, in sections trained on
RECALLS = np.linspace(0.02, 1, 50)


@dataclass(frozen=True)
class ForestParams:
    """Parameters of the forest.

    Parameters
    ----------
    n_estimators : int
        Number of trees.
    max_pixels : int
        Number of voxels to train on, half of them on membranes if there are as many.
    apply : str, optional
        File of a trained model to apply instead of training.
    """

    n_estimators: int = 40
    max_pixels: int = 40_000
    apply: str | None = None


def train_forest(
    stack: TrainingStack,
    params: ForestParams,
    *,
    seed: int,
    threads: int,
    message: Message,
    progress_bar: ProgressBar = no_progress_bar,
) -> RefinedResult:
    """Train a forest on all proofread sections, and predict the stack.

    It is scored by a second forest trained without the held-out sections. Takes O(V T) time for V
    voxels and T trees.

    Parameters
    ----------
    stack : TrainingStack
        The stack and its proofread sections.
    params : ForestParams
        Size of the forest.
    seed : int
        Of all random choices.
    threads : int
        Sections and trees processed at a time.
    message, progress_bar : callable
        Receive the scores, and the progress of the prediction.

    Returns
    -------
    RefinedResult

    Raises
    ------
    DataError
        If no section was proofread, or proofread sections do not contain both neurites and
        boundaries between them.
    """
    labelled = collect_labels(stack)
    if labelled is None or not labelled.has_both_classes:
        raise _no_training_data(stack, labelled)
    names = forest_feature_names(stack.voxel_size)
    features = compute_forest_features(stack, threads)

    def fit(part: LabelledSections) -> RandomForestClassifier:
        return fit_forest(features, part, params, seed=seed, threads=threads)

    training, held_out = (labelled.select(part) for part in split_held_out(labelled.sections))
    metrics: dict[str, Any] = {"learned_from": labelled.sections}
    if held_out.sections and training.has_both_classes and held_out.has_both_classes:
        trial = DecisionTrees.from_classifier(fit(training))
        metrics["held_out"] = score_held_out(
            trial, features, held_out, stack, len(training.sections)
        )
        _report_scores(metrics["held_out"], message)
    classifier = fit(labelled)
    metrics["feature_importances"] = _by_importance(names, classifier.feature_importances_)
    trees = DecisionTrees.from_classifier(classifier)
    meta = {
        "kind": KIND,
        "features": names,
        "voxel_size_nm": list(stack.voxel_size),
        "feature_importances": metrics["feature_importances"],
        "learned_from": [_section_hash(stack, z) for z in labelled.sections],
    }
    probability = refine_probability(
        trees,
        features,
        stack,
        len(labelled.sections),
        threads=threads,
        progress_bar=progress_bar,
    )
    return RefinedResult(probability, metrics, meta, trees.to_arrays())


def apply_forest(
    stack: TrainingStack,
    model: tuple[dict, dict[str, np.ndarray]],
    *,
    model_name: str,
    threads: int,
    message: Message,
    progress_bar: ProgressBar = no_progress_bar,
) -> RefinedResult:
    """Predict a stack with a forest trained elsewhere.

    Parameters
    ----------
    stack : TrainingStack
        The stack. Proofread sections, except those the model was trained on, serve as test data.
    model : tuple of dict
        Description and arrays, as `connectome.io.model_files.read_model` returns them.
    model_name : str
        Named in errors and metrics.
    threads : int
        Sections processed at a time.
    message, progress_bar : callable
        Receive the scores, and the progress of the prediction.

    Returns
    -------
    RefinedResult
        Without a model to save.

    Raises
    ------
    DataError
        If the model was trained on other features or at another voxel size, or is damaged.
    """
    meta, arrays = model
    names = forest_feature_names(stack.voxel_size)
    check_model(meta, names, stack.voxel_size, model_name)
    trees = DecisionTrees.from_arrays(arrays, len(names))
    features = compute_forest_features(stack, threads)
    trained_on, importances = _read_history(meta)
    metrics: dict[str, Any] = {"model": model_name, "feature_importances": importances}
    labelled = collect_labels(stack)
    if labelled:
        test_sections = [z for z in labelled.sections if _section_hash(stack, z) not in trained_on]
        test = labelled.select(test_sections)
        if test_sections and test.has_both_classes:
            metrics["held_out"] = score_held_out(trees, features, test, stack, len(trained_on))
            _report_scores(metrics["held_out"], message)
    probability = refine_probability(
        trees, features, stack, len(trained_on), threads=threads, progress_bar=progress_bar
    )
    return RefinedResult(probability, metrics)


def fit_forest(
    features: np.ndarray,
    labelled: LabelledSections,
    params: ForestParams,
    *,
    seed: int,
    threads: int,
) -> RandomForestClassifier:
    """Fit a forest to a random sample of labelled voxels, half of them membrane where possible."""
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(seed)
    n_per_class = max(params.max_pixels // 2, 1)
    samples = []
    for is_neurite in (False, True):
        voxels = np.flatnonzero(labelled.is_labelled & (labelled.is_neurite == is_neurite))
        samples.append(rng.choice(voxels, min(n_per_class, voxels.size), replace=False))
    indices = np.concatenate(samples)
    classifier = RandomForestClassifier(
        params.n_estimators,
        min_samples_leaf=MIN_SAMPLES_LEAF,
        class_weight="balanced",  # a few sections have fewer membrane voxels than requested
        n_jobs=threads,
        random_state=seed,
    )
    values = labelled.select_features(features, indices)
    return classifier.fit(values.T, labelled.is_neurite.ravel()[indices])


def refine_probability(
    trees: DecisionTrees,
    features: np.ndarray,
    stack: TrainingStack,
    n_training_sections: int,
    *,
    threads: int = 1,
    progress_bar: ProgressBar = no_progress_bar,
) -> np.ndarray:
    """Predict all voxels and combine the prediction with the untrained probability.

    Parameters
    ----------
    trees : DecisionTrees
    features : ndarray of float16, shape (F, Z, Y, X)
    stack : TrainingStack
    n_training_sections : int
        Number of sections the forest was trained on.
    threads : int
        Sections processed at a time.
    progress_bar : callable
        Opens the progress bar.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        0 outside the tissue.
    """

    def predict_section(
        section_features: np.ndarray, mask: np.ndarray, untrained: np.ndarray
    ) -> np.ndarray:
        probability = np.zeros(mask.shape, np.float32)
        if mask.any():
            predicted = trees.predict(section_features[:, mask])
            probability[mask] = combine_probabilities(
                predicted, untrained[mask], n_training_sections
            )
        return probability

    with progress_bar("forest", len(stack.mask)) as progress:
        return map_stacks(
            predict_section,
            np.moveaxis(features, 1, 0),
            stack.mask,
            stack.untrained_probability,
            threads=threads,
            progress=progress,
        )


def combine_probabilities(
    predicted: np.ndarray, untrained: np.ndarray, n_training_sections: int
) -> np.ndarray:
    """Average the predictions of a forest and of the untrained network for one section.

    The thresholds of the segmentation are those of the untrained probability. The forest's values
    are therefore replaced by the untrained values of the same rank, section by section, as the
    stain differs. The mean is geometric: a membrane found by one of the two counts for more than
    its absence in the other, because a gap in a membrane costs more than a false one. A forest
    trained on a single section fits that section; its weight grows with the number of sections.

    Parameters
    ----------
    predicted, untrained : ndarray of float32, shape (N,)
        Neurite probability of the N tissue voxels of a section.
    n_training_sections : int
        Number of sections the forest was trained on.

    Returns
    -------
    ndarray of float32, shape (N,)
    """
    weight = n_training_sections / (n_training_sections + PRIOR_SECTIONS)
    mean = _match_distribution(predicted, untrained) ** weight * untrained ** (1 - weight)
    return _match_distribution(mean, untrained)


def _match_distribution(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Replace values by the values of the same rank in ``reference`` (histogram matching)."""
    ranks = np.linspace(0, 1, 1001)
    quantiles, which = np.unique(np.quantile(values, ranks), return_inverse=True)
    # Equal values have several ranks and take the mean of their reference values.
    matched = np.bincount(which, np.quantile(reference, ranks)) / np.bincount(which)
    return np.interp(values, quantiles, matched).astype(np.float32)


def score_held_out(
    trees: DecisionTrees,
    features: np.ndarray,
    labelled: LabelledSections,
    stack: TrainingStack,
    n_training_sections: int,
) -> dict:
    """Score the prediction of membranes in sections that were not trained on.

    Parameters
    ----------
    trees, features, stack, n_training_sections
        As for `refine_probability`.
    labelled : LabelledSections
        The held-out sections.

    Returns
    -------
    dict
        ``sections``; and for the untrained probability (``evidence``), the ``forest`` and their
        ``mean``: ``auc`` and ``average_precision`` of membranes, ``agreement`` (fraction of voxels
        classified as in the labels, with a threshold that classifies as many as membrane) and
        ``precision`` at `RECALLS`.
    """
    from sklearn import metrics

    indices = np.flatnonzero(labelled.is_labelled)
    membrane = ~labelled.is_neurite.ravel()[indices]
    untrained = stack.untrained_probability[labelled.sections].ravel()[indices]
    predicted = trees.predict(labelled.select_features(features, indices))
    predictions = {
        "evidence": untrained,
        "forest": predicted,
        "mean": combine_probabilities(predicted, untrained, n_training_sections),
    }
    result: dict = {"sections": labelled.sections, "recall": RECALLS.round(2).tolist()}
    for name, neurite in predictions.items():
        precision, recall, _ = metrics.precision_recall_curve(membrane, -neurite)
        classified = neurite <= np.quantile(neurite, membrane.mean())
        result[name] = {
            "auc": float(metrics.roc_auc_score(membrane, -neurite)),
            "average_precision": float(metrics.average_precision_score(membrane, -neurite)),
            "agreement": float((classified == membrane).mean()),
            "precision": np.interp(RECALLS, recall[::-1], precision[::-1]).round(4).tolist(),
        }
    return result


def _by_importance(names: Sequence[str], importances: np.ndarray) -> dict[str, float]:
    order = np.argsort(-importances, kind="stable")
    return {names[i]: round(float(importances[i]), 4) for i in order}


def _read_history(meta: dict) -> tuple[set[str], dict[str, float]]:
    """Read from a model which sections it was trained on, and its feature importances."""
    try:
        return set(meta["learned_from"]), dict(meta["feature_importances"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the model does not name its training sections: {error!r}") from error


def _section_hash(stack: TrainingStack, section: int) -> str:
    """Identify a section by its content."""
    return hashlib.sha256(stack.em[section].tobytes()).hexdigest()


def _no_training_data(stack: TrainingStack, labelled: LabelledSections | None) -> DataError:
    """Explain what is missing for training, and what to do."""
    if labelled:
        sections = " ".join(map(str, labelled.sections))
        problem = f"proofread sections ({sections}) contain no boundary between two neurites"
    elif stack.proofread:
        problem = "all proofread sections are damaged"
    else:
        problem = "no section has been proofread"
    return DataError(
        problem,
        "a forest is trained on sections that contain neurites and the boundaries between them",
        "napari_proofread.py, and mark a section as proofread; or --apply a model of another"
        " cutout",
    )


def _report_scores(held_out: dict, message: Message) -> None:
    """Report the scores on held-out sections."""
    sections = " ".join(map(str, held_out["sections"]))
    message(f"membranes in proofread sections not used for training ({sections}):")
    for key, label in (("evidence", "untrained"), ("forest", "forest"), ("mean", "mean")):
        score = held_out[key]
        message(
            f"  {label:<9} average precision {score['average_precision']:.3f}"
            f"   AUC {score['auc']:.3f}   agreement {score['agreement']:.1%}"
        )
