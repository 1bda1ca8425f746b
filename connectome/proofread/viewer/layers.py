"""The napari layers of a draft, at true scale, redrawn only where something changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import napari
import numpy as np
import pandas as pd
from napari.utils.colormaps import DirectLabelColormap, ensure_colormap

from connectome.core.errors import ConnectomeError
from connectome.proofread.edit_runs import Box, find_marked_voxels
from connectome.proofread.session import Session

VIEW_WIDTH_NM = 1500.0  # shown around a location, across the shorter side of the canvas
BRUSH_DIAMETER_NM = 60.0
BRIGHTEST_UNCERTAINTY = 0.4  # drawn at full brightness
RING_DIAMETER_NM = 300.0
SYNAPSE_DIAMETER_NM = 60.0
ARROW_LENGTH_NM = 280.0
POINTER_REACH_NM = 150.0  # a synapse this near to the pointer counts as pointed at
SEED_COLOURS = {1: "red", 2: "cyan", 3: "yellow", 4: "magenta"}
OUTLINE_PX = 2
REJECTED_COLOUR = (0.55, 0.55, 0.55, 1.0)
BORDER_COLOUR_OF_VERDICT = {
    "": (0.0, 0.0, 0.0, 1.0),
    "accepted": (1.0, 1.0, 1.0, 1.0),
    "rejected": REJECTED_COLOUR,
}
SYMBOL_OF_VERDICT = {"": "disc", "accepted": "star", "rejected": "x"}


class StackLayers:
    """The layers of a proofreading window, from the lowest to the highest.

    Parameters
    ----------
    viewer : napari.Viewer
        Empty viewer that the layers are added to.
    session : Session
        EM, synapses and labels to show; napari's brush edits the labels in place.
    uncertainty : ndarray, shape (Z, Y, X)
        Uncertainty of each voxel, 0 to 1; hidden at first.

    Attributes
    ----------
    em, labels, uncertainty, seeds, arrows, synapses, ring
        The layers: EM, neurites, uncertainty map, seeds of a split, direction of synapses,
        synapses, and a ring around the current location.
    """

    def __init__(self, viewer: napari.Viewer, session: Session, uncertainty: np.ndarray):
        self.viewer = viewer
        self._initial_labels = session.initial_labels
        self._seed_number = 1
        em = session.folder.aligned
        self._voxel_size = np.array(em.voxel_size)
        self._frame: dict[str, Any] = {"scale": em.voxel_size, "units": ("nm",) * 3}
        self.em = viewer.add_image(
            em.data, name="EM", contrast_limits=(0, 1), interpolation2d="linear", **self._frame
        )
        self._add_neurites(session.editor.labels, uncertainty)
        self._add_synapses()
        for layer in (self.labels, self.seeds):
            # In 2D only: in 3D a brush would also change voxels that are not on the screen.
            layer.n_edit_dimensions = 2
            layer.events.n_edit_dimensions.connect(
                lambda event: setattr(event.source, "n_edit_dimensions", 2)
            )
        self.show_synapses(session.editor.synapses)
        viewer.layers.selection.active = self.labels
        viewer.canvas.overlays.scale_bar.visible = True
        viewer.dims.axis_labels = ("z", "y", "x")
        viewer.dims.events.ndisplay.connect(self._lock_in_3d)

    def _add_neurites(self, labels: np.ndarray, uncertainty: np.ndarray) -> None:
        pixel_nm = self._voxel_size[2]
        self.labels = self.viewer.add_labels(labels, name="neurites", opacity=0.45, **self._frame)
        self.labels.brush_size = max(1, round(BRUSH_DIAMETER_NM / pixel_nm))
        self.uncertainty = self.viewer.add_image(
            uncertainty,
            name="uncertainty",
            contrast_limits=(0, BRIGHTEST_UNCERTAINTY),
            colormap="inferno",
            opacity=0.7,
            blending="additive",
            visible=False,
            **self._frame,
        )
        colours: dict[Any, str] = {None: "transparent", **SEED_COLOURS}
        self.seeds = self.viewer.add_labels(
            np.zeros(labels.shape, np.uint8),
            name="seeds",
            opacity=0.9,
            colormap=DirectLabelColormap(color_dict=colours),
            **self._frame,
        )
        self.seeds.brush_size = max(1, round(BRUSH_DIAMETER_NM / 2 / pixel_nm))

    def _add_synapses(self) -> None:
        pixel_nm = self._voxel_size[2]
        self.arrows = self.viewer.add_vectors(
            np.zeros((0, 2, 3)),
            name="direction (heuristic)",
            vector_style="arrow",
            edge_width=SYNAPSE_DIAMETER_NM / 4 / pixel_nm,
            edge_color="white",
            opacity=0.9,
            **self._frame,
        )
        self.synapses = self.viewer.add_points(
            np.zeros((0, 3)),
            name="synapses",
            size=SYNAPSE_DIAMETER_NM / pixel_nm,
            border_width=0.12,
            **self._frame,
        )
        self.ring = self.viewer.add_points(
            np.zeros((0, 3)),
            name="location",
            size=RING_DIAMETER_NM / pixel_nm,
            symbol="disc",
            face_color="transparent",
            border_color="yellow",
            border_width=0.04,
            **self._frame,
        )

    @property
    def all_layers(self) -> tuple[Any, ...]:
        """All layers, from the lowest."""
        lower = (self.em, self.labels, self.uncertainty, self.seeds)
        return (*lower, self.arrows, self.synapses, self.ring)

    @property
    def current_section(self) -> int:
        """The section on the screen."""
        return int(self.viewer.dims.current_step[0])

    @property
    def is_painting(self) -> bool:
        """Whether a brush is active."""
        return any(layer.mode != "pan_zoom" for layer in (self.labels, self.seeds))

    @property
    def view_centre(self) -> tuple[int, int, int]:
        """The voxel, (z, y, x), in the middle of the canvas."""
        y, x = np.rint(self.viewer.scene.camera.center[-2:] / self._voxel_size[1:]).astype(int)
        _, ny, nx = self.labels.data.shape
        return self.current_section, int(np.clip(y, 0, ny - 1)), int(np.clip(x, 0, nx - 1))

    def voxel_at(self, position: Sequence[float]) -> tuple[int, int, int]:
        """Return the voxel at a position of the pointer, in nm.

        Raises
        ------
        ConnectomeError
            If it is outside the stack, or the view is 3D, where many voxels are under the pointer.
        """
        if self.viewer.dims.ndisplay == 3:
            raise ConnectomeError(
                "in 3D, the pointer does not select a voxel", remedy="Ctrl+Y, back to 2D"
            )
        z, y, x = np.rint(np.asarray(position)[-3:] / self._voxel_size).astype(int).tolist()
        if not all(0 <= p < n for p, n in zip((z, y, x), self.labels.data.shape, strict=True)):
            raise ConnectomeError("the pointer is not over the tissue", remedy="point at a neurite")
        return z, y, x

    def go_to(self, voxel: Sequence[float], ring: bool = True) -> None:
        """Centre the view on a voxel, (z, y, x), and draw the ring around it."""
        position_nm = np.asarray(voxel) * self._voxel_size
        camera = self.viewer.scene.camera
        self.viewer.dims.set_point(range(3), position_nm)
        if ring and not len(self.ring.data):
            camera.zoom = max(camera.zoom, min(self._canvas_size()) / VIEW_WIDTH_NM)
        camera.center = self._choose_centre(position_nm)
        if ring:
            self.ring.data = np.array([voxel])
            self.ring.selected_data = set()

    def show_section(self, section: int) -> None:
        """Show a section."""
        self.viewer.dims.set_current_step(0, section)

    def redraw(self, box: Box | None) -> None:
        """Redraw the labels if a changed part of the stack is on the screen."""
        if box is not None and self._is_in_view(box):
            _refresh(self.labels)

    def activate_brush(self, layer: Any, mode: str) -> None:
        """Activate a brush of napari on the labels or the seeds, and none on the other.

        Raises
        ------
        ConnectomeError
            If the view is 3D.
        """
        if self.viewer.dims.ndisplay == 3:
            raise ConnectomeError("painting works in 2D only", remedy="Ctrl+Y, back to 2D")
        for other in (self.labels, self.seeds):
            if other is not layer:
                other.mode = "pan_zoom"
        self.viewer.layers.selection.active = layer
        layer.mode = mode

    def release_brushes(self) -> None:
        """Let the mouse move the view again."""
        for layer in (self.labels, self.seeds):
            layer.mode = "pan_zoom"
        self.viewer.layers.selection.active = self.labels

    def next_seed_colour(self) -> str:
        """Activate the brush for seeds with the first colour, or the next if it is active."""
        is_active = self.seeds.mode == "paint"
        self._seed_number = self._seed_number % len(SEED_COLOURS) + 1 if is_active else 1
        self.activate_brush(self.seeds, "paint")
        self.seeds.selected_label = self._seed_number
        return SEED_COLOURS[self._seed_number]

    @property
    def has_seeds(self) -> bool:
        """Whether there are seeds."""
        return bool(self.seeds.data.any())

    def seeded_neurite(self) -> int | None:
        """Return the neurite with most of the seeds, if any."""
        ids = self.labels.data[find_marked_voxels(self.seeds.data)]
        neurites, counts = np.unique(ids[ids > 0], return_counts=True)
        return int(neurites[counts.argmax()]) if neurites.size else None

    def clear_seeds(self) -> None:
        """Remove all seeds."""
        self.seeds.data[find_marked_voxels(self.seeds.data)] = 0
        _refresh(self.seeds)

    def toggle_uncertainty(self) -> bool:
        """Show or hide the uncertainty map, over outlines or areas; return whether it is shown."""
        self.uncertainty.visible = not self.uncertainty.visible
        self.labels.contour = OUTLINE_PX if self.uncertainty.visible else 0
        return self.uncertainty.visible

    def toggle_outlines(self) -> bool:
        """Draw neurites as outlines or as areas; return True for outlines."""
        self.labels.contour = 0 if self.labels.contour else OUTLINE_PX
        return bool(self.labels.contour)

    def neurite_colour(self, neurite: int) -> np.ndarray | None:
        """Return the colour of a neurite, (red, green, blue, alpha); None if it has none."""
        return self.labels.get_color(neurite)

    def show_synapses(self, table: pd.DataFrame) -> None:
        """Draw the synapses, coloured by score and marked by verdict, with their directions.

        Parameters
        ----------
        table : DataFrame
            Columns ``z``, ``y``, ``x``, ``pre_id``, ``post_id`` (ids of the initial labels),
            ``score``, ``verdict``.
        """
        if not len(table):
            return
        points = table[["z", "y", "x"]].to_numpy(float)
        score = table["score"].to_numpy(float)
        faces = ensure_colormap("plasma").map(score / np.maximum(score.max(), 1e-9))
        verdicts = table["verdict"].tolist()
        faces[table["verdict"] == "rejected"] = REJECTED_COLOUR
        if len(self.synapses.data) != len(points):
            self.synapses.data = points
        self.synapses.face_color = faces
        self.synapses.border_color = np.array(
            [BORDER_COLOUR_OF_VERDICT[verdict] for verdict in verdicts]
        )
        self.synapses.symbol = [SYMBOL_OF_VERDICT[verdict] for verdict in verdicts]
        self.synapses.selected_data = set()
        self.arrows.data = np.array([self._make_arrow(row) for row in table.itertuples()])

    def find_synapse_near(self, voxel: Sequence[int]) -> int | None:
        """Return the row of the synapse of this section within reach of a voxel, if any."""
        points = self.synapses.data
        in_section = np.flatnonzero(points[:, 0] == voxel[0])
        if not len(in_section):
            return None
        distance_nm = np.linalg.norm((points[in_section] - voxel) * self._voxel_size, axis=1)
        nearest = distance_nm.argmin()
        return int(in_section[nearest]) if distance_nm[nearest] <= POINTER_REACH_NM else None

    def _is_in_view(self, box: Box) -> bool:
        step = self.viewer.dims.current_step
        return all(
            box[axis].start <= step[axis] < box[axis].stop
            for axis in self.viewer.dims.not_displayed
        )

    def _canvas_size(self) -> tuple[int, int]:
        """Return height and width of the canvas in screen pixels."""
        return self.viewer.window._qt_viewer.canvas.size

    def _choose_centre(self, position_nm: np.ndarray) -> tuple[float, ...]:
        """Return the centre of the view nearest to a position that shows no empty margin."""
        centre = position_nm.copy()
        extent_nm = self.labels.data.shape * self._voxel_size
        displayed = self.viewer.dims.displayed[-2:]
        for axis, n_pixels in zip(displayed, self._canvas_size(), strict=True):
            half = min(n_pixels / self.viewer.scene.camera.zoom, extent_nm[axis]) / 2
            centre[axis] = np.clip(position_nm[axis], half, extent_nm[axis] - half)
        return tuple(centre)

    def _lock_in_3d(self) -> None:
        for layer in (self.labels, self.seeds):
            layer.editable = self.viewer.dims.ndisplay == 2

    def _make_arrow(self, synapse: Any) -> np.ndarray:
        """Return start and direction, (2, 3), of an arrow from pre to post in the section.

        It joins the centroids of both neurites within reach; of length 0 if one is not there.
        """
        z, y, x = synapse.z, synapse.y, synapse.x
        pixel_nm = self._voxel_size[1:]
        reach = np.ceil(ARROW_LENGTH_NM / pixel_nm).astype(int)
        low = np.maximum((y, x) - reach, 0)
        around = self._initial_labels[z, low[0] : y + reach[0] + 1, low[1] : x + reach[1] + 1]
        pre = np.argwhere(around == synapse.pre_id)
        post = np.argwhere(around == synapse.post_id)
        if not len(pre) or not len(post):
            return np.array([[z, y, x], [0, 0, 0]], float)
        direction_nm = (post.mean(axis=0) - pre.mean(axis=0)) * pixel_nm
        length_nm = max(float(np.linalg.norm(direction_nm)), 1e-9)
        along = direction_nm * ARROW_LENGTH_NM / length_nm / pixel_nm
        return np.array([[z, *((y, x) - along / 2)], [0, *along]])


def _refresh(layer: Any) -> None:
    """Redraw a layer whose array was changed in place."""
    layer.refresh(thumbnail=False, highlight=False, extent=False)
