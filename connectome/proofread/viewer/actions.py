"""The actions of the window, and the keys, buttons and clicks that trigger them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import napari

from connectome.core.errors import ConnectomeError
from connectome.proofread.viewer.layers import StackLayers

PLACES, NEURITES, SPLIT = "Doubtful places", "Neurites", "Split"
SYNAPSES, SECTIONS, SESSION = "Synapses", "Sections", "Session"
LINE_OF_GROUP = {
    PLACES: "location",
    NEURITES: "selection",
    SPLIT: "split",
    SYNAPSES: "synapse",
    SECTIONS: "section",
    SESSION: "session",
}


@dataclass(frozen=True)
class Action:
    """Something a person can do, by a button or by its key.

    Parameters
    ----------
    group : str
        Heading in the panel.
    name : str
        Text of the button.
    key : str
        Key as napari writes it, such as ``Control-Shift-Z``.
    tooltip : str
        Shown while the pointer rests on the button.
    method : str
        Method of `connectome.proofread.viewer.window.Window`; returns a message.
    tool : str
        Name of the tool that it activates, if any: its button stays highlighted meanwhile.
    needs_pointer : bool
        Whether it acts on the voxel under the pointer; its button then waits for a click.
    """

    group: str
    name: str
    key: str
    tooltip: str
    method: str
    tool: str = ""
    needs_pointer: bool = False


# In the order of the panel.
ACTIONS = (
    Action(PLACES, "Next", "N", "Go to the next doubtful place", "next_location"),
    Action(PLACES, "Back", "B", "Go to the previous doubtful place", "previous_location"),
    Action(
        NEURITES,
        "Select",
        "A",
        "Select the neurite under the pointer (or Shift-click)",
        "select",
        needs_pointer=True,
    ),
    Action(NEURITES, "Merge", "M", "Merge the two selected neurites", "merge"),
    Action(NEURITES, "Paint", "P", "Paint with the selected neurite", "paint", tool="paint"),
    Action(NEURITES, "Erase", "E", "Remove labels with the brush", "erase", tool="erase"),
    Action(
        NEURITES,
        "Fill",
        "F",
        "Give the profile under the pointer to the selected neurite",
        "fill",
        needs_pointer=True,
    ),
    Action(NEURITES, "New id", "I", "Paint a new neurite", "new_id"),
    Action(
        SPLIT,
        "Seeds",
        "S",
        "Paint a stroke into each part; again for the next colour",
        "paint_seeds",
        tool="seeds",
    ),
    Action(SPLIT, "Split", "C", "Split the neurite between the seeds", "split"),
    Action(SPLIT, "2D / 3D", "T", "Split in this section only, or in all", "toggle_split_depth"),
    Action(SPLIT, "Cancel", "Escape", "Remove the seeds and put the tool away", "release_tools"),
    Action(SYNAPSES, "Accept", "Y", "This is a synapse", "accept"),
    Action(SYNAPSES, "Reject", "X", "This is not a synapse", "reject"),
    Action(SYNAPSES, "Swap", "W", "Swap pre- and postsynaptic neurite", "swap"),
    Action(SYNAPSES, "Withdraw", "U", "Withdraw the verdict", "withdraw"),
    Action(SECTIONS, "Proofread", "K", "Mark this section as proofread, or not", "mark"),
    Action(SECTIONS, "Next section", "J", "Go to the next section to proofread", "next_section"),
    Action(SECTIONS, "Uncertainty", "D", "Show or hide the uncertainty map", "toggle_uncertainty"),
    Action(SECTIONS, "Outlines", "O", "Show neurites as outlines or areas", "toggle_outlines"),
    Action(SESSION, "Undo", "Control-Z", "Undo the last edit", "undo"),
    Action(SESSION, "Redo", "Control-Shift-Z", "Redo the edit undone last", "redo"),
    Action(SESSION, "Save", "Control-S", "Save labels, sections and synapses", "save"),
)
ACTION_BY_NAME = {action.name: action for action in ACTIONS}


class ActionInput:
    """Triggers actions by keys, buttons and clicks on the canvas.

    Parameters
    ----------
    viewer : napari.Viewer
        Viewer that the keys are bound to.
    layers : StackLayers
        Its layers.
    perform : callable
        Receives the action to perform.
    wait_for_click : callable
        Called with an action whose button was pressed, and which now needs a click on the canvas.

    Attributes
    ----------
    pointed_voxel : tuple of int or None
        The voxel, (z, y, x), that the action in progress was triggered at; None if it was
        triggered by a button, or the pointer is not over the stack.
    """

    def __init__(
        self,
        viewer: napari.Viewer,
        layers: StackLayers,
        *,
        perform: Callable[[Action], None],
        wait_for_click: Callable[[Action], None],
    ):
        self.pointed_voxel: tuple[int, int, int] | None = None
        self._viewer = viewer
        self._layers = layers
        self._perform = perform
        self._wait_for_click = wait_for_click
        self._waiting: Action | None = None
        for action in ACTIONS:
            # Bound to the layers, too: napari asks the active layer first.
            for keymap_owner in (viewer, *layers.all_layers):
                keymap_owner.bind_key(action.key, self._make_key_handler(action), overwrite=True)
        viewer.mouse_drag_callbacks.append(self._on_click)

    def press_button(self, action: Action) -> None:
        """Perform an action, or wait for a click if it acts on a voxel."""
        self.pointed_voxel = None
        if action.needs_pointer:
            self._wait_for_click(action)
            self._waiting = action
        else:
            self._perform(action)

    def stop_waiting(self) -> None:
        """Wait for no click any more."""
        self._waiting = None

    def voxel_under_pointer(self) -> tuple[int, int, int]:
        """Return the voxel, (z, y, x), under the pointer.

        Raises
        ------
        ConnectomeError
            If the pointer is not over the stack, or the view is 3D.
        """
        return self.pointed_voxel or self._layers.voxel_at(self._viewer.cursor.position)

    def _make_key_handler(self, action: Action) -> Callable[[Any], None]:
        def on_key(_viewer_or_layer: Any) -> None:
            self._waiting = None
            self._perform_at(action, self._viewer.cursor.position)

        return on_key

    def _on_click(self, _viewer: napari.Viewer, event: Any) -> None:
        """Perform the action that waits for a click; with Shift, select."""
        action = self._waiting
        if action is None and "Shift" in event.modifiers and not self._layers.is_painting:
            action = ACTION_BY_NAME["Select"]
        if action is not None:
            self._waiting = None
            self._perform_at(action, event.position)

    def _perform_at(self, action: Action, position: Sequence[float]) -> None:
        try:
            self.pointed_voxel = self._layers.voxel_at(position)
        except ConnectomeError:
            self.pointed_voxel = None
        self._perform(action)
