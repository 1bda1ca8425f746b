"""Decision trees as plain arrays, which can be kept in a file that runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from connectome.core.errors import DataError
from connectome.io.model_files import TRAIN_REMEDY

INTEGERS, FLOATS = ("roots", "left", "right", "feature"), ("threshold", "neurite")


@dataclass(frozen=True, eq=False)
class DecisionTrees:
    """Decision trees, one after the other.

    Parameters
    ----------
    roots : ndarray of int64, shape (T + 1,)
        Where the nodes of each tree begin; the last is the number of all nodes.
    left, right : ndarray of int32, shape (N,)
        Children of every node, counted from the tree's root; -1 in leaves.
    feature : ndarray of int32, shape (N,)
        What a node compares.
    threshold : ndarray of float64, shape (N,)
        Up to which a voxel goes left.
    neurite : ndarray of float64, shape (N,)
        Probability of neurite, of those who end here.
    n_features : int
        How many features there are.

    Raises
    ------
    DataError
        If a walk could leave its tree or never end, or numbers are none. Then nothing was
        compiled from the arrays.
    """

    roots: np.ndarray
    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    neurite: np.ndarray
    n_features: int

    def __post_init__(self):
        if not (self._well_formed() and self._walkable()):
            raise DataError(
                "the model's trees are damaged", "nothing can be judged by them", TRAIN_REMEDY
            )

    @classmethod
    def from_classifier(cls, classifier) -> DecisionTrees:
        """Take the trees of a fitted ``RandomForestClassifier`` of the classes False and True."""
        trees = [estimator.tree_ for estimator in classifier.estimators_]
        shares = np.concatenate([tree.value[:, 0] for tree in trees])

        def joined(name, dtype):
            return np.concatenate([getattr(tree, name) for tree in trees]).astype(dtype)

        return cls(
            np.cumsum([0, *(tree.node_count for tree in trees)]),
            joined("children_left", np.int32),
            joined("children_right", np.int32),
            joined("feature", np.int32),
            joined("threshold", np.float64),
            shares[:, 1] / shares.sum(axis=1),
            classifier.n_features_in_,
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], n_features: int) -> DecisionTrees:
        """Take what `arrays` returned, from a file that anybody may have written."""
        if set(arrays) != {*INTEGERS, *FLOATS}:
            raise DataError(
                f"the model holds {', '.join(arrays)}", "these are no trees", TRAIN_REMEDY
            )
        return cls(**arrays, n_features=n_features)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return everything but the number of features, by name."""
        return {name: getattr(self, name) for name in (*INTEGERS, *FLOATS)}

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Average what the trees say.

        Parameters
        ----------
        values : ndarray of float, shape (F, M)
            Features of M voxels.

        Returns
        -------
        ndarray of float32, shape (M,)
        """
        rows = np.ascontiguousarray(values.T, np.float32)
        total = np.zeros(len(rows))
        for tree in self._compiled:
            total += tree.predict(rows)[:, 0]
        return (total / len(self._compiled)).astype(np.float32)

    @cached_property
    def _compiled(self) -> list:
        """The same trees in scikit-learn's form, which walks thirty times as fast as numpy."""
        from sklearn.tree import DecisionTreeClassifier

        blank = DecisionTreeClassifier().fit(np.zeros((1, self.n_features)), [0]).tree_
        layout = blank.__getstate__()["nodes"].dtype  # it varies with the version
        compiled = []
        for first, end in zip(self.roots[:-1], self.roots[1:], strict=True):
            nodes = np.zeros(end - first, layout)
            nodes["left_child"], nodes["right_child"] = self.left[first:end], self.right[first:end]
            nodes["feature"], nodes["threshold"] = (
                self.feature[first:end],
                self.threshold[first:end],
            )
            state = {"max_depth": len(nodes), "node_count": len(nodes), "nodes": nodes}
            tree = type(blank)(self.n_features, np.ones(1, np.intp), 1)
            tree.__setstate__(state | {"values": self.neurite[first:end].reshape(-1, 1, 1).copy()})
            compiled.append(tree)
        return compiled

    def _well_formed(self) -> bool:
        """Whether the arrays are of the right kinds, and as long as the number of nodes says."""
        whole = all(getattr(self, name).dtype.kind == "i" for name in INTEGERS)
        real = all(getattr(self, name).dtype.kind == "f" for name in FLOATS)
        if not (whole and real and self.roots.ndim == 1 and self.roots.size > 1):
            return False
        fits = all(array.shape == self.roots[-1:] for array in list(self.to_arrays().values())[1:])
        return fits and self.roots[0] == 0 and bool((np.diff(self.roots) > 0).all())

    def _walkable(self) -> bool:
        """Whether every child comes after its parent, within the tree, so that all walks end.

        No value lies to either side of a threshold that is no number.
        """
        sizes = np.diff(self.roots)
        inner = self.left != -1
        here = np.arange(self.left.size) - np.repeat(self.roots[:-1], sizes)
        last = np.repeat(sizes, sizes)
        children = np.stack([self.left, self.right])[:, inner]
        return bool(
            ((children > here[inner]) & (children < last[inner])).all()
            and ((self.feature >= 0) & (self.feature < self.n_features))[inner].all()
            and np.isfinite(self.threshold[inner]).all()
            and ((self.neurite >= 0) & (self.neurite <= 1)).all()
        )
