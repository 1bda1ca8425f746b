"""Training of the refiners: what a random forest and a U-Net learned, and how well they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from connectome.figures.layout import page
from connectome.figures.layout.elements import hide_spines

# Random forest ------------------------------------------------------------------------------

# Families of features, with the parts of feature names that identify them; the first match counts.
FEATURE_FAMILIES = {
    "untrained probability": (("evidence",), page.ORANGE),
    "curvature, sheetness": (("curvature", "sheet"), page.BLUE),
    "gradient": (("edge",), page.GREEN),
    "local variance": (("texture", "deviation"), page.PURPLE),
    "intensity": (("",), page.LIGHT_GREY),
}
PREDICTORS = {
    "evidence": ("untrained", page.ORANGE),
    "forest": ("forest", page.BLUE),
    "mean": ("mean of both (used)", page.INK),
}
MEASURES = {"average_precision": "average precision", "auc": "AUC", "agreement": "agreement"}
COLUMNS_MM = (44.0, 54.0, 68.0)  # right edges of the numbers
BAR_MM = 3.1


@page.use_style
def draw_forest_training(metrics: Mapping[str, Any], source: str = "") -> Figure:
    """Draw the feature importances of a random forest and its performance on held-out sections.

    Parameters
    ----------
    metrics : mapping
        As in ``tables/rf_metrics.json``: ``feature_importances``, and ``held_out`` if proofread
        sections were held out.
    source : str
        Source of the EM.

    Returns
    -------
    Figure
        Panel a: importance of each feature for the classification of neurites and membranes (mean
        decrease in impurity, Breiman 2001). Panel b: precision-recall curves for membranes of the
        untrained prediction, the forest, and their mean. Panel c: summary measures.
    """
    importances = metrics["feature_importances"]
    bars_mm = BAR_MM * len(importances)
    figure = page.create_page(8.0 + max(bars_mm, 74.0) + 15.0)
    bars = page.add_panel(
        figure, (40.0, 8.0, 52.0, bars_mm), "a", "Feature importance", indent=38.0
    )
    _draw_importances(bars, importances)
    curves = page.add_panel(
        figure, (114.0, 8.0, 40.0, 40.0), "b", "Membranes, held-out sections", indent=12.0
    )
    if held_out := metrics.get("held_out"):
        _draw_curves(curves, held_out)
        table = page.add_panel(figure, (105.0, 66.0, 68.0, 16.0), "c", "Performance", indent=3.0)
        _draw_table(table, held_out)
    else:
        curves.set(xticks=[], yticks=[])
        page.draw_notice(curves, "no proofread section\nwas held out")
    page.add_footer(figure, _describe_forest_training(metrics), source)
    return figure


def _draw_importances(axes: Axes, importances: Mapping[str, float]) -> None:
    """Draw one bar per feature in the given order, coloured by family."""
    names = list(importances)
    families = [_find_family(name) for name in names]
    for title, (_, colour) in FEATURE_FAMILIES.items():
        members = [row for row, family in enumerate(families) if family == title]
        lengths = [100 * importances[names[row]] for row in members]
        if members:
            axes.barh(members, lengths, 0.72, color=colour, label=title)
    axes.set(ylim=(len(names) - 0.5, -0.5), xlabel="importance (%)", xlim=(0, None))
    # Models store the untrained probability under its former name.
    labels = [name.replace("evidence", "probability") for name in names]
    axes.set_yticks(range(len(names)), labels)
    axes.tick_params(axis="y", length=0)
    hide_spines(axes)
    axes.legend(loc="lower right", handlelength=1.0, handleheight=0.8)


def _find_family(name: str) -> str:
    """Return the family of a feature."""
    return next(
        title
        for title, (parts, _) in FEATURE_FAMILIES.items()
        if any(part in name for part in parts)
    )


def _draw_curves(axes: Axes, held_out: Mapping[str, Any]) -> None:
    """Draw one precision-recall curve per predictor."""
    for name, (title, colour) in PREDICTORS.items():
        axes.plot(held_out["recall"], held_out[name]["precision"], color=colour, label=title)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall", ylabel="precision")
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])
    hide_spines(axes)


def _draw_table(axes: Axes, held_out: Mapping[str, Any]) -> None:
    """Draw a table of summary measures, which is also the legend of the curves."""
    axes.set(xlim=(0, 68), ylim=(16, 0))
    axes.set_axis_off()
    for right, title in zip(COLUMNS_MM, MEASURES.values(), strict=True):
        axes.text(right, 2.0, title, ha="right", fontsize=page.SMALL_PT, color=page.MUTED)
    for row, (name, (title, colour)) in enumerate(PREDICTORS.items()):
        baseline = 6.5 + 4 * row
        axes.plot([0, 5], [baseline - 0.8, baseline - 0.8], color=colour, clip_on=False)
        axes.text(6.5, baseline, title, fontsize=page.SMALL_PT)
        for right, measure in zip(COLUMNS_MM, MEASURES, strict=True):
            value = f"{held_out[name][measure]:.3f}"
            axes.text(right, baseline, value, ha="right", fontsize=page.SMALL_PT)


def _describe_forest_training(metrics: Mapping[str, Any]) -> str:
    """Describe which sections the forest was trained on and evaluated with."""
    held_out = _format_sections(metrics.get("held_out", {}).get("sections", ()))
    if "model" in metrics:
        return "model trained on another cutout" + (f"; b, c: {held_out}" if held_out else "")
    trained_on = _format_sections(metrics.get("learned_from", ()))
    if not trained_on:
        return ""
    evaluated = f"; b, c: trained without {held_out}" if held_out else ""
    return f"trained on {trained_on}{evaluated}"


def _format_sections(sections: Sequence[int]) -> str:
    """Format section numbers: ``sections 3, 7``; empty without sections."""
    if not sections:
        return ""
    numbers = page.shorten(", ".join(map(str, sections)), 40)
    return f"section{'s' if len(sections) > 1 else ''} {numbers}"


# U-Net --------------------------------------------------------------------------------------


@page.use_style
def draw_unet_training(metrics: Mapping[str, Any], source: str = "") -> Figure:
    """Draw the training curve of a U-Net and the outcome of each round of self-training.

    Parameters
    ----------
    metrics : mapping
        As in ``tables/unet_metrics.json``: ``rounds``, each with its ``curve`` of steps, training
        losses and validation losses.
    source : str
        Source of the EM.

    Returns
    -------
    Figure
        Panel a: loss on training sections and on held-out sections; the weights of the lowest
        validation loss are kept in each round. Panel b: variation of information between labels
        and held-out proofread sections, before and after each round; without proofread sections,
        the change of the labels in each round.
    """
    figure = page.create_page(66.0)
    rounds = metrics["rounds"]
    validated = any("voi_after" in record for record in rounds)
    title = "VOI, held-out proofread sections" if validated else "Change of labels (VOI)"
    curves = page.add_panel(figure, (14.0, 8.0, 98.0, 44.0), "a", "Training", indent=12.0)
    bars = page.add_panel(figure, (132.0, 8.0, 40.0, 44.0), "b", title, indent=12.0)
    if rounds:
        _draw_training(curves, rounds)
        _draw_rounds(bars, rounds, validated)
    else:
        for axes in (curves, bars):
            axes.set(xticks=[], yticks=[])
            page.draw_notice(axes, "no training")
    page.add_footer(figure, _describe_unet_training(metrics), source)
    return figure


def _draw_training(axes: Axes, rounds: Sequence[Mapping[str, Any]]) -> None:
    """Draw the losses of all rounds one after the other."""
    first_step, top = 0, 0.0
    for record in rounds:
        steps, training, validation = zip(*record["curve"], strict=True)
        x = [first_step + step for step in steps]
        best = min(range(len(validation)), key=validation.__getitem__)
        axes.plot(x[1:], training[1:], color=page.LIGHT_GREY, label="training sections")
        axes.plot(x, validation, color=page.BLUE, label="held-out sections")
        axes.plot(
            x[best], validation[best], "o", ms=3.0, color=page.INK, label="best", clip_on=False
        )
        axes.axvline(first_step, color=page.LIGHT_GREY, linewidth=0.5, linestyle=":")
        _annotate_top(axes, first_step, f" round {record['round']}")
        top = max(top, *training, *validation)
        first_step = x[-1]
    axes.set(xlabel="step", ylabel="loss", ylim=(0, 1.15 * top), xlim=(0, max(first_step, 1)))
    hide_spines(axes)
    handles, labels = axes.get_legend_handles_labels()
    # The white box hides the lines between rounds.
    box = {"frameon": True, "facecolor": "white", "edgecolor": "none", "framealpha": 1.0}
    axes.legend(handles[:3], labels[:3], loc="lower left", ncols=3, **box)


def _annotate_top(axes: Axes, x: float, text: str) -> None:
    """Write along the top of a panel, starting at a position of its horizontal axis."""
    transform = axes.get_xaxis_transform()
    axes.text(x, 1.0, text, transform=transform, va="top", size=page.SMALL_PT, color=page.MUTED)


def _draw_rounds(axes: Axes, rounds: Sequence[Mapping[str, Any]], validated: bool) -> None:
    """Draw a bar for each round, grey for those whose weights were rejected."""
    bars = [
        (
            str(record["round"]),
            record["voi_after" if validated else "change"],
            page.BLUE if record["kept"] else page.LIGHT_GREY,
            "kept" if record["kept"] else "rejected",
        )
        for record in rounds
    ]
    if validated:
        bars.insert(0, ("none", rounds[0]["voi_before"], page.ORANGE, "before"))
    names, heights, colours, outcomes = zip(*bars, strict=True)
    axes.bar(names, heights, 0.6, color=colours)
    for x, (height, outcome) in enumerate(zip(heights, outcomes, strict=True)):
        text = f"{height:.2f}\n{outcome}"
        axes.text(x, height, text, ha="center", va="bottom", size=page.SMALL_PT)
    axes.set(xlabel="round", ylabel="bits", ylim=(0, 1.3 * max(*heights, 0.01)))
    axes.set_xlim(-0.75, max(len(bars), 3) - 0.25)
    axes.tick_params(axis="x", length=0)
    hide_spines(axes)


def _describe_unet_training(metrics: Mapping[str, Any]) -> str:
    """Describe which sections the network was trained on and validated with."""
    if not metrics["rounds"]:
        if "adapted" in metrics:
            return "batch normalisation adapted to this stack; no training"
        return "model trained on another cutout"
    sections = metrics["learned_sections"]
    trained_on = "draft labels, no proofread sections"
    if sections:
        trained_on = f"proofread {_format_sections(sections)}"
    held_out = _format_sections(metrics["held_out_sections"])
    return f"trained on {trained_on} · held out: {held_out}"
