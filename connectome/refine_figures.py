"""What refiners learned, and how well: the figures they leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from connectome import style
from connectome.figures import write_figure

__all__ = ["rf_figure", "write_figure"]

# What a feature's name tells of it, and how that is drawn; the first that fits counts.
FAMILIES = {
    "untrained evidence": (("evidence",), style.ORANGE),
    "shape: curvature, sheets": (("curvature", "sheet"), style.BLUE),
    "edge": (("edge",), style.GREEN),
    "variance": (("texture", "deviation"), style.PURPLE),
    "grey": (("",), style.SHADE),
}
JUDGES = {
    "evidence": ("untrained evidence", style.ORANGE),
    "forest": ("forest", style.BLUE),
    "mean": ("their mean, as used", style.INK),
}
MEASURES = {"average_precision": "average precision", "auc": "AUC", "agreement": "agreement"}
COLUMNS_MM = (44.0, 54.0, 68.0)  # right edges of the numbers
BAR_MM = 3.1


@style.styled
def rf_figure(metrics: Mapping, source: str) -> Figure:
    """Show what a forest looks at, and how well it does on sections it has not learned from.

    Parameters
    ----------
    metrics : mapping
        As ``tables/rf_metrics.json``: ``feature_importances``, and ``held_out`` where proofread
        sections were held out.
    source : str
        Where the EM came from.

    Returns
    -------
    Figure
        Panel a: the share of every feature in dividing neurites from membranes (mean decrease in
        impurity, Breiman 2001). Panel b: precision against recall for membranes, of the untrained
        evidence, the forest, and their mean. Panel c: the numbers.
    """
    importances = metrics["feature_importances"]
    height = max(BAR_MM * len(importances), 74.0)
    figure = style.page(8.0 + height + 15.0)
    bars = style.panel(
        figure, (40.0, 8.0, 52.0, BAR_MM * len(importances)), "a", "What it looks at", indent=38.0
    )
    _draw_importances(bars, importances)
    curves = style.panel(
        figure, (114.0, 8.0, 40.0, 40.0), "b", "Membranes on held-out sections", indent=12.0
    )
    if held_out := metrics.get("held_out"):
        _draw_curves(curves, held_out)
        numbers = style.panel(figure, (105.0, 66.0, 68.0, 16.0), "c", "In numbers", indent=3.0)
        _write_numbers(numbers, held_out)
    else:
        curves.set(xticks=[], yticks=[])
        style.notice(curves, "no proofread section\nwas held out")
    style.footer(figure, _learned_from(metrics), source)
    return figure


def _draw_importances(axes: Axes, importances: Mapping[str, float]) -> None:
    """Draw one bar for each feature, the largest first, coloured by what it tells of."""
    names = list(importances)
    family = [_family(name) for name in names]
    places = range(len(names))
    for title, (_, colour) in FAMILIES.items():
        members = [place for place in places if family[place] == title]
        lengths = [100 * importances[names[place]] for place in members]
        if members:
            axes.barh(members, lengths, 0.72, color=colour, label=title)
    axes.set(ylim=(len(names) - 0.5, -0.5), xlabel="importance (%)", xlim=(0, None))
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", handlelength=1.0, handleheight=0.8)


def _family(name: str) -> str:
    return next(
        title for title, (words, _) in FAMILIES.items() if any(word in name for word in words)
    )


def _draw_curves(axes: Axes, held_out: Mapping) -> None:
    """Draw precision against recall, one line for each who judges."""
    for name, (title, colour) in JUDGES.items():
        axes.plot(held_out["recall"], held_out[name]["precision"], color=colour, label=title)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall", ylabel="precision")
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])
    axes.spines[["top", "right"]].set_visible(False)


def _write_numbers(axes: Axes, held_out: Mapping) -> None:
    """Write a table that is also the curves' legend."""
    axes.set(xlim=(0, 68), ylim=(16, 0))
    axes.set_axis_off()
    for column, title in zip(COLUMNS_MM, MEASURES.values(), strict=True):
        axes.text(column, 2.0, title, ha="right", fontsize=style.SMALL_PT, color=style.FAINT)
    for row, (name, (title, colour)) in enumerate(JUDGES.items()):
        line = 6.5 + 4 * row
        axes.plot([0, 5], [line - 0.8, line - 0.8], color=colour, clip_on=False)
        axes.text(6.5, line, title, fontsize=style.SMALL_PT)
        for column, measure in zip(COLUMNS_MM, MEASURES, strict=True):
            number = f"{held_out[name][measure]:.3f}"
            axes.text(column, line, number, ha="right", fontsize=style.SMALL_PT)


def _learned_from(metrics: Mapping) -> str:
    """Say what the forest has seen, and what it was held against."""
    held_out = _listed(metrics.get("held_out", {}).get("sections", ()))
    if "model" in metrics:
        return "a model of another cutout" + (f"; b, c: {held_out}" if held_out else "")
    learned_from = _listed(metrics.get("learned_from", ()))
    if not learned_from:
        return ""
    return f"learned from {learned_from}" + (f"; b, c: without {held_out}" if held_out else "")


def _listed(sections: Sequence[int]) -> str:
    if not sections:
        return ""
    numbers = style.shorten(", ".join(map(str, sections)), 40)
    return f"section{'s' if len(sections) > 1 else ''} {numbers}"
