"""The results in an output folder, read back and validated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome.core.errors import DataError, UsageError
from connectome.core.volume import GroundTruth, Transforms, Volume
from connectome.io import checks, paths, tables
from connectome.io.files import file_sha256, read_json
from connectome.io.volumes import read_volume

if TYPE_CHECKING:
    import networkx as nx

RERUN = "run_pipeline.py, or rebuild_graph_and_figures.py"


@dataclass(frozen=True, eq=False)
class ProofreadSections:
    """Sections that a person has proofread completely.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Corrected neurite ids, the same in all sections of a neurite; 0 on membranes and outside the
        tissue.
    sections : tuple of int
        The sections in which ``labels`` are correct, in ascending order.
    """

    labels: NDArray[np.int32]
    sections: tuple[int, ...]


class RunFolder:
    """The files of a run, each read and validated when it is first used.

    Every property raises `DataError` if its file is missing, damaged, or belongs to another cutout.

    Parameters
    ----------
    *folders : Path
        Where to look for a file; the first folder that has it counts. The last one is the output
        folder, the others have results that are not published yet.
    """

    def __init__(self, *folders: Path):
        self.folders = folders

    # --- files ----------------------------------------------------------------------------------

    @property
    def outdir(self) -> Path:
        """The output folder."""
        return self.folders[-1]

    def path(self, name: str) -> Path:
        """Return where a file is, or would be."""
        found = [folder / name for folder in self.folders if (folder / name).exists()]
        return found[0] if found else self.folders[0] / name

    def has(self, *names: str) -> bool:
        """Return whether all of these files exist."""
        return all(self.path(name).exists() for name in names)

    def json(self, name: str) -> dict[str, Any]:
        """Read a JSON object."""
        return read_json(self.path(name), remedy=RERUN)

    def text(self, name: str) -> str:
        """Read a text file."""
        try:
            return self.path(name).read_bytes().decode("utf-8")
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path(name)} cannot be read: {error}", "", RERUN) from error

    def table(self, name: str, numeric_columns: tuple[str, ...] = ()) -> pd.DataFrame:
        """Read a CSV table.

        Raises
        ------
        DataError
            If it cannot be read, lacks a numeric column, or has a gap in one.
        """
        path = self.path(name)
        if not path.exists():
            raise DataError(f"there is no {path}", "it cannot be shown", RERUN)
        types = {"post_ids": str}
        return tables.read_table(path, numeric_columns, types, "it cannot be shown", RERUN)

    def check_complete(self) -> None:
        """Read what every job on a finished run needs, so that it fails before any work is done.

        Raises
        ------
        UsageError
            If no run has finished in this folder.
        DataError
            If files are missing, damaged or of different cutouts.
        """
        _ = self.aligned, self.baseline_labels, self.damaged_sections, self.ground_truth

    # --- image stacks ---------------------------------------------------------------------------

    @cached_property
    def aligned(self) -> Volume:
        """Preprocessed and aligned EM in [0, 1], float32.

        Raises
        ------
        UsageError
            If no run has finished in this folder.
        """
        stored = [name for name in paths.ALIGNED.values() if self.has(name)]
        if not stored:
            raise UsageError(
                f"{self.outdir} has no aligned stack: no {paths.ALIGNED['float32']}",
                "there is no finished run in this folder",
                f"run_pipeline.py --outdir {self.outdir}",
            )
        aligned = read_volume(self.path(stored[0]))
        return aligned.with_data(aligned.data.astype(np.float32))

    @property
    def source(self) -> str:
        """URI or path the EM came from."""
        return self.aligned.source

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Voxel size of the aligned EM, (z, y, x) in nm."""
        return self.aligned.voxel_size

    @cached_property
    def cutout(self) -> Volume:
        """EM as imaged, uint8."""
        return read_volume(self.path(paths.CUTOUT))

    @cached_property
    def preprocessed(self) -> NDArray[np.float32]:
        """Preprocessed EM before alignment, float32 (Z, Y, X)."""
        return self._read_aligned_array(paths.PREPROCESSED)

    @cached_property
    def probability(self) -> NDArray[np.float32] | None:
        """Neurite probability of the main job, float32 (Z, Y, X); None if it was not saved."""
        if not self.has(paths.PROBABILITY):
            return None
        return self._read_aligned_array(paths.PROBABILITY).astype(np.float32)

    @cached_property
    def tissue(self) -> NDArray[np.bool_]:
        """Mask of the tissue in the aligned stack, bool (Z, Y, X)."""
        # Preprocessing leaves 0 only outside the tissue and at rare voxels inside it.
        return (self.aligned.data > 0) | (self.baseline_labels > 0)

    def _read_aligned_array(self, name: str) -> NDArray[Any]:
        path = self.path(name)
        return checks.require_shape(read_volume(path).data, self.aligned, path)

    # --- alignment ------------------------------------------------------------------------------

    @cached_property
    def damaged_sections(self) -> tuple[int, ...]:
        """Sections that were excluded from alignment and filled from their neighbours."""
        path = self.path(paths.ALIGNMENT)
        content = read_json(path, "it is unknown which sections are damaged", "run_pipeline.py")
        return checks.require_sections(content, len(self.aligned.data), path)

    @cached_property
    def alignment(self) -> dict[str, Any]:
        """Content of ``tables/alignment_shifts.json``."""
        content, path = self.json(paths.ALIGNMENT), self.path(paths.ALIGNMENT)
        if "shifts" not in content:
            raise DataError(
                f"{path} has no shifts",
                "it is unknown how sections were moved",
                "run_pipeline.py as before",
            )
        checks.check_alignment(content, len(self.aligned.data), path, RERUN)
        return content

    @cached_property
    def transforms(self) -> Transforms:
        """How the sections were moved from the cutout into the aligned stack."""
        matrices = self.alignment.get("matrices")
        return Transforms(
            np.asarray(self.alignment["shifts"], float),
            None if matrices is None else np.asarray(matrices, float),
        )

    # --- labels ---------------------------------------------------------------------------------

    @cached_property
    def baseline_labels(self) -> NDArray[np.int32]:
        """Neurite ids of the main job, int32 (Z, Y, X); 0 outside the tissue."""
        labels = self._read_aligned_array(paths.LABELS)
        return checks.require_ids(labels, self.path(paths.LABELS))

    @cached_property
    def _graph_labels_record(self) -> dict[str, Any]:
        record = self.json(paths.GRAPH_LABELS) if self.has(paths.GRAPH_LABELS) else {}
        if not isinstance(record.get("labels", ""), str):
            raise DataError(
                f"{self.path(paths.GRAPH_LABELS)} names no labels: {record['labels']}",
                "it is unknown what the graph was made from",
                RERUN,
            )
        return record

    @cached_property
    def graph_labels_path(self) -> Path:
        """File of the labels that the graph was made from."""
        return self.path(self._graph_labels_record.get("labels", paths.LABELS))

    @cached_property
    def graph_labels(self) -> NDArray[np.int32]:
        """Neurite ids that the graph was made from, int32 (Z, Y, X)."""
        return self.read_labels(self.graph_labels_path)

    @cached_property
    def graph_labels_changed(self) -> bool:
        """Whether the labels have changed since the graph was made from them."""
        recorded = self._graph_labels_record.get("sha256")
        return recorded is not None and file_sha256(self.graph_labels_path) != recorded

    def find_labels(self, name: str) -> Path:
        """Return the file that a value of ``--labels`` names.

        Parameters
        ----------
        name : str
            A key of `connectome.io.paths.LABELS_BY_NAME`, or a path.

        Raises
        ------
        UsageError
            If there are no labels of that name; the message lists those there are.
        """
        if name not in paths.LABELS_BY_NAME:
            return Path(name).expanduser()
        path = self.path(paths.LABELS_BY_NAME[name])
        if not path.exists():
            available = [key for key, file in paths.LABELS_BY_NAME.items() if self.has(file)]
            raise UsageError(
                f"there are no {name} labels: no {path}",
                f"{self.outdir} has {', '.join(available) or 'none'}",
                f"--labels {available[0]}"
                if available
                else f"run_pipeline.py --outdir {self.outdir}",
            )
        return path

    def read_labels(self, path: Path) -> NDArray[np.int32]:
        """Read neurite ids in the frame of the aligned stack.

        Parameters
        ----------
        path : Path
            A ``.npy`` file, written by any program. If it has a sidecar, its origin and source must
            be those of the aligned stack.

        Returns
        -------
        ndarray of int32, shape (Z, Y, X)

        Raises
        ------
        DataError
            If there is no such file, it is not an array of ids of the stack's shape, or its sidecar
            names another origin or source.
        """
        return checks.read_labels(path, self.aligned)

    # --- graph ----------------------------------------------------------------------------------

    @cached_property
    def synapses(self) -> pd.DataFrame:
        """Synapse candidates."""
        table = self.table(paths.SYNAPSES, ("z", "y", "x", "pre_id", "post_id", "score"))
        return tables.check_partner_ids(
            table,
            self.path(paths.SYNAPSES),
            "postsynaptic ids are numbers joined by ;",
            RERUN,
        )

    @cached_property
    def nodes(self) -> pd.DataFrame:
        """Neurites of the graph."""
        return self.table(paths.NODES, ("node", "n_pre", "n_post"))

    @cached_property
    def edges(self) -> pd.DataFrame:
        """Connections of the graph."""
        return self.table(paths.EDGES, ("pre_id", "post_id", "n_synapses", "weight"))

    @cached_property
    def directed(self) -> bool:
        """Whether connections have a direction; True for runs that did not record it."""
        record = self.json(paths.GRAPH_JSON) if self.has(paths.GRAPH_JSON) else {}
        return record.get("directed") is not False

    @cached_property
    def graph(self) -> nx.Graph:
        """The graph, with ``weight`` and ``n_synapses`` on its edges."""
        import networkx as nx

        graph = nx.DiGraph() if self.directed else nx.Graph()
        columns = ("pre_id", "post_id", "weight", "n_synapses")
        for pre, post, weight, n in zip(*(self.edges[c].tolist() for c in columns), strict=True):
            graph.add_edge(pre, post, weight=weight, n_synapses=n)
        return graph

    # --- evaluation -----------------------------------------------------------------------------

    @cached_property
    def ground_truth(self) -> GroundTruth:
        """Ground truth in the aligned frame; its fields are None where none is available."""
        labels, synapses = self.path(paths.TRUE_LABELS), self.path(paths.TRUE_SYNAPSES)
        return GroundTruth(
            self.read_labels(labels) if labels.exists() else None,
            tables.read_table(synapses, ("z", "y", "x")) if synapses.exists() else None,
        )

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """Content of ``tables/evaluation.json``; empty where no ground truth is available."""
        if not self.has(paths.EVALUATION):
            return {}
        content = self.json(paths.EVALUATION)
        checks.check_evaluation(content, self.path(paths.EVALUATION), RERUN)
        return content

    # --- proofreading ---------------------------------------------------------------------------

    @cached_property
    def proofread_sections(self) -> ProofreadSections | None:
        """Sections that were proofread, with their labels; None if there are none.

        The corrected labels may come from any program. They need no sidecar: an array of the shape
        of the aligned stack is taken to be in its frame.
        """
        path = self.path(paths.PROOFREAD_SECTIONS)
        if not path.exists():
            return None
        sections = checks.read_section_list(path, len(self.baseline_labels))
        if not sections:
            return None
        return ProofreadSections(self.read_labels(self.path(paths.CORRECTED_LABELS)), sections)

    @cached_property
    def reviewed_labels(self) -> NDArray[np.int32]:
        """Labels whose ids `reviewed_synapses` uses: the corrected ones, or else the baseline."""
        path = self.path(paths.CORRECTED_LABELS)
        return self.read_labels(path) if path.exists() else self.baseline_labels

    @cached_property
    def reviewed_synapses(self) -> pd.DataFrame | None:
        """Synapses that a person has reviewed; None if the table does not exist.

        Rows with a verdict, or with a direction that was swapped (``swapped``); ``verdict`` is
        ``accepted``, ``rejected`` or empty.
        """
        path = self.path(paths.REVIEWED_SYNAPSES)
        if not path.exists():
            return None
        return tables.read_reviewed_synapses(path, self.baseline_labels.shape)
