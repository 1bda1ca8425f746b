"""A random forest that learns from proofread sections what the membranes of a stack look like.

It is shown greys, edges and deviations at several widths, the features that the untrained evidence
judges by, and that evidence itself: it begins where the evidence ends. What it says is brought to
the evidence's scale and averaged with it, so that the road to neurites takes both alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from connectome.core.errors import DataError
from connectome.core.progress import map_sections, map_stacks
from connectome.core.volume import has_thin_sections
from connectome.io.model_files import check_model
from connectome.membranes.features import (
    compute_stack_features,
    feature_names,
    fill_damaged_sections,
    standardise_sections,
)
from connectome.refine.data import RefinedResult, TrainingStack, mask_interiors, split_held_out
from connectome.refine.trees import DecisionTrees

KIND = "rf"
# What voxels are described by, beyond the features that the evidence sees, and the widths
# (Gaussian sigma) in nm at which it is looked at; 0 as it is.
WIDTHS_NM = {
    "grey": (0, 5, 20, 80),
    "Sobel edge": (0, 12),
    "deviation": (12, 80),
    "evidence": (0, 8, 15, 30, 60, 120),
}
TRUNCATE = 2.5  # sigma at which Gaussians end
MIN_SAMPLES_LEAF = 30  # examples in a leaf: fewer learn noise, and make trees longer to walk
MAX_MEMBRANE_DISTANCE_NM = 60.0  # from any neurite, up to which a gap is taken for a membrane
PRIOR_SECTIONS = 3  # proofread sections that the evidence's word weighs as much as
RECALLS = np.linspace(0.02, 1, 50)


@dataclass(frozen=True)
class ForestParams:
    """How a forest is grown.

    Parameters
    ----------
    n_estimators : int
        Trees.
    max_pixels : int
        Voxels of the proofread sections to learn from, half of them on membranes if there are
        so many.
    apply : str, optional
        Model of another cutout, to be applied without learning anything.
    """

    n_estimators: int = 40
    max_pixels: int = 40_000
    apply: str | None = None


@dataclass(frozen=True, eq=False)
class LabelledSections:
    """What a person says of some sections.

    Parameters
    ----------
    sections : list of int
        S sections.
    is_neurite : ndarray of bool, shape (S, Y, X)
        False on the midlines of membranes.
    is_labelled : ndarray of bool, shape (S, Y, X)
        Where there is something to learn.
    """

    sections: list[int]
    is_neurite: np.ndarray
    is_labelled: np.ndarray

    def of(self, sections: Sequence[int]) -> LabelledSections:
        """Return the part that is about some of the sections."""
        rows = [self.sections.index(z) for z in sections]
        return LabelledSections(list(sections), self.is_neurite[rows], self.is_labelled[rows])

    @property
    def has_both_classes(self) -> bool:
        """Whether there are both neurites and membranes."""
        return np.unique(self.is_neurite[self.is_labelled]).size == 2

    def voxels(self, described: np.ndarray, where: np.ndarray) -> np.ndarray:
        """Pick features (F, N) of voxels, given by their place in ``neurite.ravel()``."""
        section, place = np.divmod(where, self.is_neurite[0].size)
        flat = described.reshape(*described.shape[:2], -1)
        return flat[:, np.asarray(self.sections)[section], place].astype(np.float32)


def train_forest(material: TrainingStack, config, reporter) -> RefinedResult:
    """Learn from all proofread sections, after judging by holding some of them out.

    A forest that has seen only part of the proofread sections is judged on the others, of which
    it has seen no voxel. The one that is kept has seen all. O(V T) time for V voxels and T trees.

    Parameters
    ----------
    material : Material
        What to learn from, and on.
    config : RefineConfig
        Its ``seed``, ``threads`` and ``params``, a `ForestParams`.
    reporter : Reporter
        Shown how far it is, and told how well it goes.

    Returns
    -------
    Learned

    Raises
    ------
    DataError
        If nothing has been proofread, or what was is all neurite or all background.
    """
    lesson = collect_labels(material)
    if lesson is None or not lesson.has_both_classes:
        raise _nothing_to_learn(material, lesson)
    names, described = (
        forest_feature_names(material.voxel_size),
        compute_forest_features(material, config.threads),
    )
    learn, judge = (lesson.of(part) for part in split_held_out(lesson.sections))
    metrics = {"learned_from": lesson.sections}
    if judge.sections and learn.has_both_classes and judge.has_both_classes:
        trial = DecisionTrees.from_classifier(fit_forest(described, learn, config))
        metrics["held_out"] = score_held_out(trial, described, judge, material, len(learn.sections))
        _tell(metrics["held_out"], reporter)
    grown = fit_forest(described, lesson, config)
    metrics["feature_importances"] = _by_importance(names, grown.feature_importances_)
    trees = DecisionTrees.from_classifier(grown)
    meta = {
        "kind": KIND,
        "features": names,
        "voxel_size_nm": list(material.voxel_size),
        "feature_importances": metrics["feature_importances"],
        "learned_from": [_fingerprint(material, z) for z in lesson.sections],
    }
    n_learned = len(lesson.sections)
    probability = refine_probability(
        trees, described, material, n_learned, config.threads, reporter
    )
    return RefinedResult(probability, metrics, meta, trees.to_arrays())


def apply_forest(
    model: tuple[dict, dict], material: TrainingStack, config, reporter
) -> RefinedResult:
    """Judge a stack by what was learned on another.

    Parameters
    ----------
    model : tuple of dict
        Description and arrays, as `connectome.io.model_files.read_model` returns them.
    material, config, reporter
        As `train_forest`. Proofread sections, except those the model was trained on, serve as
        test data.

    Returns
    -------
    Learned
        Without a model to write.

    Raises
    ------
    DataError
        If the model was trained on other features or at another voxel size, or is damaged.
    """
    meta, arrays = model
    names = forest_feature_names(material.voxel_size)
    check_model(meta, names, material.voxel_size, config.params.apply)
    trees = DecisionTrees.from_arrays(arrays, len(names))
    described = compute_forest_features(material, config.threads)
    known, importances = _history(meta)
    metrics = {"model": config.params.apply, "feature_importances": importances}
    lesson = collect_labels(material)
    new = [z for z in lesson.sections if _fingerprint(material, z) not in known] if lesson else []
    if new and lesson.of(new).has_both_classes:
        metrics["held_out"] = score_held_out(trees, described, lesson.of(new), material, len(known))
        _tell(metrics["held_out"], reporter)
    probability = refine_probability(
        trees, described, material, len(known), config.threads, reporter
    )
    return RefinedResult(probability, metrics)


def collect_labels(material: TrainingStack) -> LabelledSections | None:
    """Gather what a person says of the undamaged sections; None where nobody says anything.

    Programs and people leave membranes of any width, or none. Whichever they do, neurites grow
    until they meet, and membrane is where they do: as wide as the untrained evidence has it.
    """
    damaged = set(material.damaged_sections)
    proofread = material.proofread
    sections = [z for z in proofread.sections if z not in damaged] if proofread else []
    if not sections:
        return None
    grown, near = zip(
        *(_grown(proofread.labels[z], material.voxel_size) for z in sections), strict=True
    )
    neurite = mask_interiors(np.stack(grown), material.voxel_size)
    return LabelledSections(sections, neurite, np.stack(near) & material.mask[sections])


def _grown(labels: np.ndarray, voxel_size) -> tuple[np.ndarray, np.ndarray]:
    """Grow the neurites of a section over all of it; return also where they grew not too far."""
    if not labels.any():
        return labels, np.zeros(labels.shape, bool)
    distance, nearest = ndimage.distance_transform_edt(
        labels == 0, sampling=voxel_size[1:], return_indices=True
    )
    return labels[tuple(nearest)], distance <= MAX_MEMBRANE_DISTANCE_NM


def forest_feature_names(voxel_size: tuple[float, float, float]) -> list[str]:
    """List the features of `compute_forest_features`, in order."""
    wider = [
        f"{kind}, {nm} nm" if nm else f"{kind} as it is"
        for kind, widths in WIDTHS_NM.items()
        for nm in widths
    ]
    return [*feature_names(_n_axes(voxel_size)), *wider]


def compute_forest_features(material: TrainingStack, threads: int) -> np.ndarray:
    """Describe all voxels: what `connectome.membranes.features` says of them, and more.

    Greys, edges (Sobel), deviations (the root of the variance) and the untrained evidence are
    looked at in 3D where sections are thin, and otherwise section by section.

    Returns
    -------
    ndarray of float16, shape (F, Z, Y, X)
        As named by `forest_feature_names`.
    """
    n_axes = _n_axes(material.voxel_size)
    image = standardise_sections(material.image, material.mask)
    if n_axes == 3:
        fill_damaged_sections(image, material.damaged_sections)

    def smooth(field, nm):
        sigma = nm / np.asarray(material.voxel_size) * [n_axes == 3, 1, 1]
        return ndimage.gaussian_filter(field, sigma, truncate=TRUNCATE) if nm else field

    def edge(field, nm):
        blurred = smooth(field, nm)
        return np.sqrt(sum(ndimage.sobel(blurred, axis) ** 2 for axis in range(3 - n_axes, 3)))

    def deviation(field, nm):
        mean = smooth(field, nm)
        return np.sqrt(np.maximum(smooth(field * field, nm) - mean * mean, 0))

    makers = {"grey": smooth, "Sobel edge": edge, "deviation": deviation, "evidence": smooth}
    fields = dict.fromkeys(makers, image) | {"evidence": material.untrained_probability}
    wanted = [(kind, nm) for kind, widths in WIDTHS_NM.items() for nm in widths]
    described = np.empty((len(forest_feature_names(material.voxel_size)), *image.shape), np.float16)
    n_shared = len(described) - len(wanted)
    described[:n_shared] = compute_stack_features(image, material.voxel_size, n_axes, threads)
    made = map_sections(lambda want: makers[want[0]](fields[want[0]], want[1]), wanted, threads)
    for place, feature in zip(described[n_shared:], made, strict=True):
        place[...] = feature
    return described


def fit_forest(described: np.ndarray, lesson: LabelledSections, config):
    """Fit a forest to some voxels of a lesson, as many of membranes as of neurites.

    Returns
    -------
    RandomForestClassifier
    """
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(config.seed)
    share = max(config.params.max_pixels // 2, 1)
    chosen = []
    for kind in (False, True):
        places = np.flatnonzero(lesson.is_labelled & (lesson.is_neurite == kind))
        chosen.append(rng.choice(places, min(share, places.size), replace=False))
    where = np.concatenate(chosen)
    classifier = RandomForestClassifier(
        config.params.n_estimators,
        min_samples_leaf=MIN_SAMPLES_LEAF,
        class_weight="balanced",  # few sections have fewer voxels of membrane than asked for
        n_jobs=config.threads,
        random_state=config.seed,
    )
    return classifier.fit(lesson.voxels(described, where).T, lesson.is_neurite.ravel()[where])


def refine_probability(
    trees: DecisionTrees,
    described: np.ndarray,
    material: TrainingStack,
    n_learned: int,
    threads: int,
    reporter,
) -> np.ndarray:
    """Rate all voxels by the mean of forest and evidence.

    Parameters
    ----------
    trees : Trees
    described : ndarray of float16, shape (F, Z, Y, X)
    material : Material
    n_learned : int
        Sections that the forest has learned from.
    threads : int
    reporter : Reporter

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
    """

    def rated(section, inside, evidence):
        probability = np.zeros(inside.shape, np.float32)
        if inside.any():
            rating = trees.predict(section[:, inside])
            probability[inside] = combine_probabilities(rating, evidence[inside], n_learned)
        return probability

    stacks = (np.moveaxis(described, 1, 0), material.mask, material.untrained_probability)
    with reporter.progress_bar("forest", len(material.mask)) as tell:
        return map_stacks(rated, *stacks, threads=threads, progress=tell)


def combine_probabilities(rating: np.ndarray, evidence: np.ndarray, n_learned: int) -> np.ndarray:
    """Average what a forest and the evidence say of a section, on the evidence's scale.

    The thresholds of the road to neurites are those of the evidence. So values become those that
    the evidence has at the same rank: section by section, for stain differs. The mean is a
    geometric one: a membrane that one of the two sees counts for more than one that the other
    misses, because a gap costs more than a blot. A forest that has learned from one section knows
    that section; the more it has seen, the more its word weighs.

    Parameters
    ----------
    rating, evidence : ndarray of float32, shape (N,)
        Neurite probability of the N voxels of a section's tissue.
    n_learned : int
        Sections that the forest has learned from.

    Returns
    -------
    ndarray of float32, shape (N,)
    """
    weight = n_learned / (n_learned + PRIOR_SECTIONS)
    mean = _on_scale_of(evidence, rating) ** weight * evidence ** (1 - weight)
    return _on_scale_of(evidence, mean)


def _on_scale_of(scale: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Replace values by those that ``scale`` has at the same rank."""
    ranks = np.linspace(0, 1, 1001)
    mine, which = np.unique(np.quantile(values, ranks), return_inverse=True)
    # Equal values share their ranks.
    theirs = np.bincount(which, np.quantile(scale, ranks)) / np.bincount(which)
    return np.interp(values, mine, theirs).astype(np.float32)


def score_held_out(
    trees: DecisionTrees,
    described: np.ndarray,
    lesson: LabelledSections,
    material: TrainingStack,
    n_learned: int,
) -> dict:
    """Compare what is said of sections with a person's word, side by side with the evidence.

    Parameters are those of `refine_probability`; ``lesson`` holds sections not trained on.

    Returns
    -------
    dict
        ``sections``; and for ``evidence``, ``forest`` and their ``mean``: ``auc`` and
        ``average_precision`` of membranes, ``agreement`` (the share of voxels on which the person
        says the same, each calling as many membranes) and ``precision`` at `RECALLS`.
    """
    from sklearn import metrics

    where = np.flatnonzero(lesson.is_labelled)
    membrane = ~lesson.is_neurite.ravel()[where]
    evidence = material.untrained_probability[lesson.sections].ravel()[where]
    rating = trees.predict(lesson.voxels(described, where))
    mean = combine_probabilities(rating, evidence, n_learned)
    said = {"evidence": evidence, "forest": rating, "mean": mean}
    result: dict = {"sections": lesson.sections, "recall": RECALLS.round(2).tolist()}
    for name, neurite in said.items():
        precision, recall, _ = metrics.precision_recall_curve(membrane, -neurite)
        called = neurite <= np.quantile(neurite, membrane.mean())
        result[name] = {
            "auc": float(metrics.roc_auc_score(membrane, -neurite)),
            "average_precision": float(metrics.average_precision_score(membrane, -neurite)),
            "agreement": float((called == membrane).mean()),
            "precision": np.interp(RECALLS, recall[::-1], precision[::-1]).round(4).tolist(),
        }
    return result


def _n_axes(voxel_size) -> int:
    return 3 if has_thin_sections(voxel_size) else 2


def _by_importance(names: Sequence[str], importances: np.ndarray) -> dict[str, float]:
    order = np.argsort(-importances, kind="stable")
    return {names[i]: round(float(importances[i]), 4) for i in order}


def _history(meta: dict) -> tuple[set, dict]:
    """Read from a model which sections it has learned from, and what it found important there."""
    try:
        return set(meta["learned_from"]), dict(meta["feature_importances"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the model does not say what it has learned from: {error!r}") from error


def _fingerprint(material: TrainingStack, section: int) -> str:
    """Tell a section from all others, wherever it turns up again."""
    return hashlib.sha256(material.image[section].tobytes()).hexdigest()


def _nothing_to_learn(material: TrainingStack, lesson: LabelledSections | None) -> DataError:
    """Say what is missing, and what can be done without it."""
    if lesson:
        which = " ".join(map(str, lesson.sections))
        problem = f"proofread sections ({which}) hold no boundary between two neurites"
    elif material.proofread:
        problem = "all proofread sections are damaged ones"
    else:
        problem = "no section has been proofread"
    return DataError(
        problem,
        "a forest learns from sections that show neurites and what lies between them",
        "napari_proofread.py, and mark a section as proofread; or --apply a model of another"
        " cutout",
    )


def _tell(held_out: dict, reporter) -> None:
    """Say how well the forest does where it has not learned."""
    which = " ".join(map(str, held_out["sections"]))
    reporter.message(f"on proofread sections it has not learned from ({which}):")
    for name in ("evidence", "forest", "mean"):
        score = held_out[name]
        reporter.message(
            f"  {name:<9} average precision {score['average_precision']:.3f}"
            f"   AUC {score['auc']:.3f}   agreement {score['agreement']:.1%}"
        )
