"""What a run left in its output folder, read back as figures and the report need it."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd

from connectome.core.errors import DataError, UsageError
from connectome.core.volume import Volume
from connectome.io import paths
from connectome.io.draft import damaged_sections, read_labels
from connectome.io.tables import check_partner_ids, read_table

REMEDY = "run_pipeline.py, or rebuild_graph_and_figures.py"
IDS_JOINED = "postsynaptic ids are numbers joined by ;"


# What is shown of the parts of an evaluation.
SCORES = {"segmentation": ("are", "voi", "voi_split", "voi_merge"), "alignment": ("rms_px",)}


def _check_numbers(told: object, names: tuple[str, ...], where: str) -> None:
    """Refuse what has no finite number by each of these names."""
    if not isinstance(told, dict):
        raise DataError(f"{where} is no JSON object", "scores cannot be shown", REMEDY)
    for name in names:
        if not _is_array(told.get(name), ()):
            said = f"{where}: {name} is {told.get(name)}"
            raise DataError(said, "scores cannot be shown", REMEDY)


def _is_array(content: object, shape: tuple[int, ...]) -> bool:
    """Tell whether lists of a JSON file are finite numbers of a shape."""
    try:
        array = np.asarray(content, float)
    except (TypeError, ValueError):
        return False
    return array.shape == shape and bool(np.isfinite(array).all())


class Results:
    """The files of a run, each read when it is asked for.

    Parameters
    ----------
    folders : Path
        Where to look: a file counts in the first folder that has it.
    """

    def __init__(self, *folders: Path):
        self.folders = folders

    def path(self, name: str) -> Path:
        """Return where a file is, or would be."""
        found = [folder / name for folder in self.folders if (folder / name).exists()]
        return found[0] if found else self.folders[0] / name

    def has(self, *names: str) -> bool:
        """Tell whether all of these files are there."""
        return all(self.path(name).exists() for name in names)

    @cached_property
    def aligned(self) -> Volume:
        """Aligned EM, float32."""
        stored = [name for name in paths.ALIGNED.values() if self.has(name)]
        if not stored:
            raise UsageError(
                f"{self.folders[-1]} holds no aligned stack: no {paths.ALIGNED['float32']}",
                "there is nothing to show",
                f"run_pipeline.py --outdir {self.folders[-1]}",
            )
        aligned = paths.read_volume(self.path(stored[0]))
        return aligned.with_data(aligned.data.astype(np.float32))

    @property
    def source(self) -> str:
        """Where the EM came from."""
        return self.aligned.source

    @cached_property
    def cutout(self) -> Volume:
        """EM as imaged, uint8."""
        return paths.read_volume(self.path(paths.CUTOUT))

    @cached_property
    def preprocessed(self) -> np.ndarray:
        """EM before alignment, float32."""
        return paths.read_volume(self.path(paths.PREPROCESSED)).data

    @cached_property
    def _labels_used(self) -> dict:
        used = self.json(paths.GRAPH_LABELS) if self.has(paths.GRAPH_LABELS) else {}
        if not isinstance(used.get("labels", ""), str):
            said = f"{self.path(paths.GRAPH_LABELS)} names no labels: {used['labels']}"
            raise DataError(said, "it is unknown what the graph was made from", REMEDY)
        return used

    @cached_property
    def labels_path(self) -> Path:
        """Where the labels are that the graph was made from."""
        return self.path(self._labels_used.get("labels", paths.LABELS))

    @cached_property
    def labels(self) -> np.ndarray:
        """Neurite ids that the graph was made from, int32 (Z, Y, X)."""
        return read_labels(self.labels_path, self.aligned)

    @cached_property
    def labels_changed(self) -> bool:
        """Whether the labels were changed since the graph was made from them."""
        known = self._labels_used.get("sha256")
        return known is not None and paths.sha256(self.labels_path) != known

    @cached_property
    def synapses(self) -> pd.DataFrame:
        """Candidates."""
        table = self.table(paths.SYNAPSES, ("z", "y", "x", "pre_id", "post_id", "score"))
        return check_partner_ids(table, self.path(paths.SYNAPSES), IDS_JOINED, REMEDY)

    @cached_property
    def nodes(self) -> pd.DataFrame:
        """Neurites of the graph."""
        return self.table(paths.NODES, ("node", "n_pre", "n_post"))

    @cached_property
    def edges(self) -> pd.DataFrame:
        """Connections."""
        return self.table(paths.EDGES, ("pre_id", "post_id", "n_synapses", "weight"))

    @cached_property
    def directed(self) -> bool:
        """Whether connections have a direction: all had before there was a choice."""
        written = self.json(paths.GRAPH_JSON) if self.has(paths.GRAPH_JSON) else {}
        return written.get("directed") is not False

    @cached_property
    def graph(self) -> nx.Graph:
        """Neurites and connections."""
        graph = nx.DiGraph() if self.directed else nx.Graph()
        columns = ("pre_id", "post_id", "weight", "n_synapses")
        for pre, post, weight, n in zip(*(self.edges[c].tolist() for c in columns), strict=True):
            graph.add_edge(pre, post, weight=weight, n_synapses=n)
        return graph

    @cached_property
    def evaluation(self) -> dict:
        """Scores; empty where no truth is known."""
        if not self.has(paths.EVALUATION):
            return {}
        told, path = self.json(paths.EVALUATION), self.path(paths.EVALUATION)
        for part, names in SCORES.items():
            if told.get(part):
                _check_numbers(told[part], names, f"{path}, {part}")
        found = told.get("synapses") or {}
        _check_numbers(found, (), f"{path}, synapses")
        for limit, scores in found.items():
            _check_numbers(scores, ("precision", "recall", "f1"), f"{path}, synapses, {limit}")
        return told

    @cached_property
    def alignment(self) -> dict:
        """How sections were moved, as in ``tables/alignment_shifts.json``."""
        told, path = self.json(paths.ALIGNMENT), self.path(paths.ALIGNMENT)
        sections = len(self.aligned.data)
        shapes = {"shifts": (2,), "true_shifts": (2,), "trend": (2,), "matrices": (2, 2)}
        for name, shape in (shapes | {"confidence": ()}).items():
            if name in told and not _is_array(told[name], (sections, *shape)):
                said = f"{path}: {name} is not of {sections} sections"
                raise DataError(said, "the file belongs to another stack, or is damaged", REMEDY)
        damaged_sections(told, sections, path)
        return told

    def json(self, name: str) -> dict:
        """Read a file of names and values."""
        path = self.path(name)
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read: {error}", "", REMEDY) from error
        if not isinstance(content, dict):
            raise DataError(f"{path} is no JSON object", "", REMEDY)
        return content

    def text(self, name: str) -> str:
        """Read a file of text, every line as it is."""
        try:
            return self.path(name).read_bytes().decode("utf-8")
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path(name)} cannot be read: {error}", "", REMEDY) from error

    def table(self, name: str, needed: tuple[str, ...] = ()) -> pd.DataFrame:
        """Read a table.

        Raises
        ------
        DataError
            If it cannot be read, lacks a needed column, or has a gap in one.
        """
        path = self.path(name)
        if not path.exists():
            raise DataError(f"there is no {path}", "nothing can be shown of it", REMEDY)
        return read_table(path, needed, {"post_ids": str}, "it cannot be drawn", REMEDY)
