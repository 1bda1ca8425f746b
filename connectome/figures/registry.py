"""The figures of a run: name, file, caption, drawing function and the data that each needs.

A new figure is an entry here and a function that draws it. The pipeline, rebuilds, redrawing and
the report go through this registry. It does not import matplotlib; drawing functions are imported
when they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class FigureSpec:
    """A figure: what it shows, what it needs, and what draws it.

    Parameters
    ----------
    name : str
        Name on the command line, ``Figure1``.
    stem : str
        File in the output folder, without its suffix.
    function : str
        ``module.function`` in this package. It takes what the figure needs as keywords and returns
        a `matplotlib.figure.Figure`.
    needs : tuple of str
        Names of the data that the function takes: ``labels``, the neurites that the graph was made
        from, and attributes of `connectome.io.run_folder.RunFolder`.
    caption : str
        Caption for graphs with directed connections.
    undirected_caption : str, optional
        Caption for undirected graphs, where it differs.
    """

    name: str
    stem: str
    function: str
    needs: tuple[str, ...]
    caption: str
    undirected_caption: str | None = None

    @property
    def title(self) -> str:
        """Name in text: ``Figure 1``."""
        return self.name.replace("Figure", "Figure ")

    @property
    def files(self) -> tuple[str, str]:
        """Files in the output folder."""
        return f"{self.stem}.pdf", f"{self.stem}.png"

    def caption_for(self, directed: bool) -> str:
        """Return the caption for a directed or an undirected graph."""
        return self.caption if directed else self.undirected_caption or self.caption

    def import_function(self) -> Callable[..., Figure]:
        """Import the drawing function, and with it matplotlib."""
        module, _, function = self.function.rpartition(".")
        return getattr(import_module(f"connectome.figures.{module}"), function)

    def write(self, folder: Path, data: Mapping[str, Any]) -> None:
        """Draw the figure and write it as PDF and PNG.

        Parameters
        ----------
        folder : Path
            Output folder.
        data : mapping
            At least what the figure needs, by name.
        """
        from connectome.figures.layout.output import write_figure

        figure = self.import_function()(**{name: data[name] for name in self.needs})
        write_figure(figure, folder / self.stem)


FIGURES = {
    spec.name: spec
    for spec in (
        FigureSpec(
            name="Figure1",
            stem="figures/Figure1_EM_preprocess_align_segment",
            function="overview.draw_overview",
            needs=("cutout", "preprocessed", "aligned", "labels"),
            caption="Processing steps. One section (xy) and one plane across sections (xz): raw EM,"
            " preprocessed, aligned, and with segmented neurites.",
        ),
        FigureSpec(
            name="Figure2",
            stem="figures/Figure2_synapse_candidates_overlay",
            function="synapses.draw_synapse_overlay",
            needs=("aligned", "labels", "synapses", "directed"),
            caption="Synapse candidates on the sections that contain most of them, one from each"
            " third of the stack. Arrows point from the presynaptic to the postsynaptic neurite;"
            " their direction is heuristic.",
            undirected_caption="Synapse candidates on the sections that contain most of them, one"
            " from each third of the stack. Lines connect the partners of a candidate"
            " (undirected).",
        ),
        FigureSpec(
            name="Figure3",
            stem="figures/Figure3_graph",
            function="network.draw_graph",
            needs=("graph", "source"),
            caption="Connectivity graph. (a) Dots are neurites, arrows are connections from the"
            " presynaptic to the postsynaptic neurite. (b) Connectivity matrix of the most strongly"
            " connected neurites.",
            undirected_caption="Connectivity graph. (a) Dots are neurites, lines are connections"
            " (undirected). (b) Connectivity matrix of the most strongly connected neurites.",
        ),
        FigureSpec(
            name="Figure4",
            stem="figures/Figure4_alignment_shifts",
            function="alignment.draw_alignment",
            needs=("alignment", "voxel_size", "source"),
            caption="Alignment. Shift applied to each section to bring the stack into register.",
        ),
        FigureSpec(
            name="Figure5",
            stem="figures/Figure5_ortho_views",
            function="neurites.draw_ortho_views",
            needs=("aligned", "labels"),
            caption="Orthogonal views through the middle of the stack, all at one scale.",
        ),
        FigureSpec(
            name="Figure6",
            stem="figures/Figure6_largest_neurites",
            function="neurites.draw_largest_neurites",
            needs=("labels", "voxel_size", "source"),
            caption="The ten largest neurites as shaded surfaces, in parallel projection.",
        ),
        FigureSpec(
            name="Figure7",
            stem="figures/Figure7_synapse_gallery",
            function="synapses.draw_synapse_gallery",
            needs=("aligned", "labels", "synapses", "directed"),
            caption="Synapse candidates with the highest and the lowest scores, without and with"
            " the outlines of their partners. Below each: partners, score and section.",
        ),
        FigureSpec(
            name="Figure8",
            stem="figures/Figure8_distributions",
            function="distributions.draw_distributions",
            needs=("nodes", "edges", "synapses", "evaluation", "directed", "source"),
            caption="Distributions of partners per neurite, synapses per connection and candidate"
            " scores and, if ground truth is available, the evaluation of the draft.",
        ),
    )
}

# Drawn by the refiners, and not part of the report.
REFINER_FIGURES = {
    "rf": FigureSpec(
        name="Figure_rf",
        stem="figures/Figure_rf_feature_importances",
        function="training.draw_forest_training",
        needs=("metrics", "source"),
        caption="Random forest: feature importance and performance on held-out sections.",
    ),
    "unet": FigureSpec(
        name="Figure_unet",
        stem="figures/Figure_unet_training_curve",
        function="training.draw_unet_training",
        needs=("metrics", "source"),
        caption="U-Net: training curve and outcome of each round of self-training.",
    ),
}
