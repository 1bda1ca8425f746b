"""What is seen of a draft: layers at their true scale, redrawn only where something changed."""

from __future__ import annotations

from collections.abc import Sequence

import napari
import numpy as np
import pandas as pd
from napari.utils.colormaps import DirectLabelColormap, ensure_colormap

from connectome.core.errors import ConnectomeError
from connectome.proofread.edit_runs import find_marked_voxels
from connectome.proofread.session import Session

VIEW_WIDTH_NM = 1500.0  # what is seen around a place, across the shorter side of the picture
BRUSH_DIAMETER_NM = 60.0
BRIGHTEST_UNCERTAINTY = 0.4  # doubt that is drawn as bright as can be
RING_DIAMETER_NM = 300.0
SYNAPSE_DIAMETER_NM = 60.0
ARROW_LENGTH_NM = 280.0
POINTER_REACH_NM = 150.0  # a synapse this near to the pointer is meant
SEED_COLOURS = {1: "red", 2: "cyan", 3: "yellow", 4: "magenta"}
REJECTED_COLOUR = (0.55, 0.55, 0.55, 1.0)
BORDER_COLOUR_OF_VERDICT = {
    "": (0.0, 0.0, 0.0, 1.0),
    "accepted": (1.0, 1.0, 1.0, 1.0),
    "rejected": REJECTED_COLOUR,
}
SYMBOL_OF_VERDICT = {"": "disc", "accepted": "star", "rejected": "x"}


class StackLayers:
    """The layers of a proofreading window.

    Parameters
    ----------
    viewer : napari.Viewer
        Empty; gets the layers.
    session : Session
        Its EM and synapses are shown, and its labels: napari's brush edits them in place.
    doubt : ndarray, shape (Z, Y, X)
        Hidden at first.
    """

    def __init__(self, viewer: napari.Viewer, session: Session, doubt: np.ndarray):
        em, labels = session.draft.aligned, session.editor.labels
        self.viewer = viewer
        self._first_labels = session.initial_labels
        self._voxel_size = np.array(em.voxel_size)
        place = {"scale": em.voxel_size, "units": ("nm",) * 3}
        pixel = em.voxel_size[2]
        self.em = viewer.add_image(
            em.data, name="EM", contrast_limits=(0, 1), interpolation2d="linear", **place
        )
        self.labels = viewer.add_labels(labels, name="neurites", opacity=0.45, **place)
        self.labels.brush_size = max(1, round(BRUSH_DIAMETER_NM / pixel))
        self.doubt = viewer.add_image(
            doubt,
            name="doubt",
            contrast_limits=(0, BRIGHTEST_UNCERTAINTY),
            colormap="inferno",
            opacity=0.7,
            blending="additive",
            visible=False,
            **place,
        )
        self.seeds = viewer.add_labels(
            np.zeros(labels.shape, np.uint8),
            name="seeds",
            opacity=0.9,
            colormap=DirectLabelColormap(color_dict={None: "transparent", **SEED_COLOURS}),
            **place,
        )
        self.seeds.brush_size = max(1, round(BRUSH_DIAMETER_NM / 2 / pixel))
        self.arrows = viewer.add_vectors(
            np.zeros((0, 2, 3)),
            name="direction (heuristic)",
            vector_style="arrow",
            edge_width=SYNAPSE_DIAMETER_NM / 4 / pixel,
            edge_color="white",
            opacity=0.9,
            **place,
        )
        self.synapses = viewer.add_points(
            np.zeros((0, 3)),
            name="synapses",
            size=SYNAPSE_DIAMETER_NM / pixel,
            border_width=0.12,
            **place,
        )
        self.ring = viewer.add_points(
            np.zeros((0, 3)),
            name="place",
            size=RING_DIAMETER_NM / pixel,
            symbol="disc",
            face_color="transparent",
            border_color="yellow",
            border_width=0.04,
            **place,
        )
        for layer in (self.labels, self.seeds):
            # Strokes stay in the plane that is seen: nobody paints what they cannot see.
            layer.n_edit_dimensions = 2
            layer.events.n_edit_dimensions.connect(
                lambda event: setattr(event.source, "n_edit_dimensions", 2)
            )
        self.show_synapses(session.editor.synapses)
        viewer.layers.selection.active = self.labels
        viewer.canvas.overlays.scale_bar.visible = True
        viewer.dims.axis_labels = ("z", "y", "x")
        viewer.dims.events.ndisplay.connect(self._lock_in_3d)

    @property
    def all_layers(self) -> tuple:
        """All layers, from the lowest."""
        lower = (self.em, self.labels, self.doubt, self.seeds)
        return (*lower, self.arrows, self.synapses, self.ring)

    @property
    def current_section(self) -> int:
        """The section that is seen."""
        return int(self.viewer.dims.current_step[0])

    def voxel_at(self, position: Sequence[float]) -> tuple[int, int, int]:
        """Return the voxel at a position of the pointer.

        Raises
        ------
        ConnectomeError
            If it is not in the stack, or a whole line of voxels lies under it.
        """
        if self.viewer.dims.ndisplay == 3:
            raise ConnectomeError(
                "in 3D there is no telling which voxel is meant", remedy="Ctrl+Y, back to 2D"
            )
        voxel = np.rint(np.asarray(position)[-3:] / self._voxel_size).astype(int)
        if np.any(voxel < 0) or np.any(voxel >= self.labels.data.shape):
            raise ConnectomeError("the pointer is not over the tissue", remedy="point at a neurite")
        return tuple(voxel.tolist())

    def go_to(self, place: Sequence[int], ring: bool = True) -> None:
        """Bring a place, (z, y, x) in voxels, into the middle of the picture."""
        place_nm = np.asarray(place) * self._voxel_size
        self.viewer.dims.set_point(range(3), place_nm)
        if ring and not len(self.ring.data):
            self.viewer.scene.camera.zoom = max(
                self.viewer.scene.camera.zoom, min(self._canvas()) / VIEW_WIDTH_NM
            )
        self.viewer.scene.camera.center = self._centred(place_nm)
        if ring:
            self.ring.data = np.array([place])
            self.ring.selected_data = set()

    def show_section(self, section: int) -> None:
        """Bring a section into view."""
        self.viewer.dims.set_current_step(0, section)

    def redraw(self, box: tuple[slice, ...] | None) -> None:
        """Draw the labels again if a changed part of the stack is in view."""
        if box is None or not self._in_view(box):
            return
        self._refresh(self.labels)

    def clear_seeds(self) -> None:
        """Take all seeds away."""
        self.seeds.data[find_marked_voxels(self.seeds.data)] = 0
        self._refresh(self.seeds)

    def neurite_colour(self, neurite: int) -> np.ndarray | None:
        """Return the colour a neurite is drawn in; None for none."""
        return self.labels.get_color(neurite)

    def show_synapses(self, table: pd.DataFrame) -> None:
        """Draw the synapses, coloured by score, marked by verdict, with their directions.

        Parameters
        ----------
        table : DataFrame
            Columns ``z``, ``y``, ``x``, ``pre_id``, ``post_id`` (as the session began), ``score``,
            ``verdict``.
        """
        if not len(table):
            return
        points = table[["z", "y", "x"]].to_numpy(float)
        score = table["score"].to_numpy(float)
        faces = ensure_colormap("plasma").map(score / max(score.max(), 1e-9))
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
        self.arrows.data = np.array([self._arrow(row) for row in table.itertuples()])

    def find_synapse_near(self, voxel: Sequence[int]) -> int | None:
        """Return the row of the synapse in the section and under the pointer, if there is one."""
        points = self.synapses.data
        here = np.flatnonzero(points[:, 0] == voxel[0])
        if not len(here):
            return None
        away = np.linalg.norm((points[here] - voxel) * self._voxel_size, axis=1)
        return int(here[away.argmin()]) if away.min() <= POINTER_REACH_NM else None

    def _refresh(self, layer) -> None:
        """Draw a layer whose array was changed in place."""
        layer.refresh(thumbnail=False, highlight=False, extent=False)

    def _in_view(self, box: tuple[slice, ...]) -> bool:
        step = self.viewer.dims.current_step
        return all(
            box[axis].start <= step[axis] < box[axis].stop
            for axis in self.viewer.dims.not_displayed
        )

    def _canvas(self) -> tuple[int, int]:
        """Return height and width of the canvas in pixels of the screen."""
        return self.viewer.window._qt_viewer.canvas.size

    def _centred(self, place_nm: np.ndarray) -> tuple[float, ...]:
        """Return the centre of a view on a place; no tissue is wasted where it is at the edge."""
        centre = place_nm.copy()
        extent_nm = self.labels.data.shape * self._voxel_size
        for axis, n_pixels in zip(self.viewer.dims.displayed[-2:], self._canvas(), strict=True):
            half = min(n_pixels / self.viewer.scene.camera.zoom, extent_nm[axis]) / 2
            centre[axis] = np.clip(place_nm[axis], half, extent_nm[axis] - half)
        return tuple(centre)

    def _lock_in_3d(self) -> None:
        for layer in (self.labels, self.seeds):
            layer.editable = self.viewer.dims.ndisplay == 2

    def _arrow(self, synapse) -> np.ndarray:
        """Return start and direction from pre to post, as it lies in its section."""
        z, y, x = synapse.z, synapse.y, synapse.x
        reach = np.ceil(ARROW_LENGTH_NM / self._voxel_size[1:]).astype(int)
        low = np.maximum((y, x) - reach, 0)
        around = self._first_labels[z, low[0] : y + reach[0] + 1, low[1] : x + reach[1] + 1]
        pixel = self._voxel_size[1:]
        sides = [np.argwhere(around == side) for side in (synapse.pre_id, synapse.post_id)]
        if not all(map(len, sides)):
            return np.array([[z, y, x], [0, 0, 0]], float)
        pre, post = (side.mean(axis=0) for side in sides)
        along = (post - pre) * pixel
        along *= ARROW_LENGTH_NM / max(np.linalg.norm(along), 1e-9) / pixel
        return np.array([[z, *((y, x) - along / 2)], [0, *along]])
