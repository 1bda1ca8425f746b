"""What refiners learned, and how well: the figures they leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from connectome.figures.layout import page
from connectome.figures.overview import write_figure

__all__ = ["rf_figure", "write_figure"]

# What a feature's name tells of it, and how that is drawn; the first that fits counts.
FEATURE_FAMILIES = {
    "untrained evidence": (("evidence",), page.ORANGE),
    "shape: curvature, sheets": (("curvature", "sheet"), page.BLUE),
    "edge": (("edge",), page.GREEN),
    "variance": (("texture", "deviation"), page.PURPLE),
    "grey": (("",), page.LIGHT_GREY),
}
PREDICTORS = {
    "evidence": ("untrained evidence", page.ORANGE),
    "forest": ("forest", page.BLUE),
    "mean": ("their mean, as used", page.INK),
}
MEASURES = {"average_precision": "average precision", "auc": "AUC", "agreement": "agreement"}
COLUMNS_MM = (44.0, 54.0, 68.0)  # right edges of the numbers
BAR_MM = 3.1


@page.use_style
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
    figure = page.create_page(8.0 + height + 15.0)
    bars = page.add_panel(
        figure, (40.0, 8.0, 52.0, BAR_MM * len(importances)), "a", "What it looks at", indent=38.0
    )
    _draw_importances(bars, importances)
    curves = page.add_panel(
        figure, (114.0, 8.0, 40.0, 40.0), "b", "Membranes on held-out sections", indent=12.0
    )
    if held_out := metrics.get("held_out"):
        _draw_curves(curves, held_out)
        numbers = page.add_panel(figure, (105.0, 66.0, 68.0, 16.0), "c", "In numbers", indent=3.0)
        _draw_table(numbers, held_out)
    else:
        curves.set(xticks=[], yticks=[])
        page.draw_notice(curves, "no proofread section\nwas held out")
    page.add_footer(figure, _describe_forest_training(metrics), source)
    return figure


def _draw_importances(axes: Axes, importances: Mapping[str, float]) -> None:
    """Draw one bar for each feature, the largest first, coloured by what it tells of."""
    names = list(importances)
    family = [_find_family(name) for name in names]
    places = range(len(names))
    for title, (_, colour) in FEATURE_FAMILIES.items():
        members = [place for place in places if family[place] == title]
        lengths = [100 * importances[names[place]] for place in members]
        if members:
            axes.barh(members, lengths, 0.72, color=colour, label=title)
    axes.set(ylim=(len(names) - 0.5, -0.5), xlabel="importance (%)", xlim=(0, None))
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", handlelength=1.0, handleheight=0.8)


def _find_family(name: str) -> str:
    return next(
        title
        for title, (words, _) in FEATURE_FAMILIES.items()
        if any(word in name for word in words)
    )


def _draw_curves(axes: Axes, held_out: Mapping) -> None:
    """Draw precision against recall, one line for each who judges."""
    for name, (title, colour) in PREDICTORS.items():
        axes.plot(held_out["recall"], held_out[name]["precision"], color=colour, label=title)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall", ylabel="precision")
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])
    axes.spines[["top", "right"]].set_visible(False)


def _draw_table(axes: Axes, held_out: Mapping) -> None:
    """Write a table that is also the curves' legend."""
    axes.set(xlim=(0, 68), ylim=(16, 0))
    axes.set_axis_off()
    for column, title in zip(COLUMNS_MM, MEASURES.values(), strict=True):
        axes.text(column, 2.0, title, ha="right", fontsize=page.SMALL_PT, color=page.MUTED)
    for row, (name, (title, colour)) in enumerate(PREDICTORS.items()):
        line = 6.5 + 4 * row
        axes.plot([0, 5], [line - 0.8, line - 0.8], color=colour, clip_on=False)
        axes.text(6.5, line, title, fontsize=page.SMALL_PT)
        for column, measure in zip(COLUMNS_MM, MEASURES, strict=True):
            number = f"{held_out[name][measure]:.3f}"
            axes.text(column, line, number, ha="right", fontsize=page.SMALL_PT)


def _describe_forest_training(metrics: Mapping) -> str:
    """Say what the forest has seen, and what it was held against."""
    held_out = _format_sections(metrics.get("held_out", {}).get("sections", ()))
    if "model" in metrics:
        return "a model of another cutout" + (f"; b, c: {held_out}" if held_out else "")
    learned_from = _format_sections(metrics.get("learned_from", ()))
    if not learned_from:
        return ""
    return f"learned from {learned_from}" + (f"; b, c: without {held_out}" if held_out else "")


def _format_sections(sections: Sequence[int]) -> str:
    if not sections:
        return ""
    numbers = page.shorten(", ".join(map(str, sections)), 40)
    return f"section{'s' if len(sections) > 1 else ''} {numbers}"


# The U-Net ----------------------------------------------------------------------------------------


@page.use_style
def unet_figure(metrics: Mapping, source: str) -> Figure:
    """Show how training went, and what became of its rounds.

    Parameters
    ----------
    metrics : mapping
        As ``tables/unet_metrics.json``: ``rounds``, each with its ``curve`` of steps, training
        losses and losses on held-out sections.
    source : str
        Where the EM came from.

    Returns
    -------
    Figure
        Panel a: the loss on what is learned from, and on sections that are held out; the weights
        that did best on these are the round's. Panel b: how far labels are from held-out
        proofread sections, before and after each round; where there are none, how far each round
        changed the labels.
    """
    figure = page.create_page(66.0)
    rounds = metrics["rounds"]
    judged = any("voi_after" in record for record in rounds)
    title = "VOI to held-out proofread sections" if judged else "Change of the labels"
    curves = page.add_panel(figure, (14.0, 8.0, 98.0, 44.0), "a", "Training", indent=12.0)
    bars = page.add_panel(figure, (132.0, 8.0, 40.0, 44.0), "b", title, indent=12.0)
    if rounds:
        _draw_training(curves, rounds)
        _draw_rounds(bars, rounds, judged)
    else:
        for axes in (curves, bars):
            axes.set(xticks=[], yticks=[])
            page.draw_notice(axes, "nothing was trained")
    page.add_footer(figure, _describe_unet_training(metrics), source)
    return figure


def _draw_training(axes: Axes, rounds: Sequence[Mapping]) -> None:
    """Draw the losses of all rounds one after the other."""
    begun, top = 0, 0.0
    for record in rounds:
        steps, taught, found = zip(*record["curve"], strict=True)
        place = [begun + step for step in steps]
        best = min(range(len(found)), key=found.__getitem__)
        axes.plot(place[1:], taught[1:], color=page.LIGHT_GREY, label="sections learned from")
        axes.plot(place, found, color=page.BLUE, label="held-out sections")
        axes.plot(
            place[best], found[best], "o", ms=3.0, color=page.INK, label="best", clip_on=False
        )
        axes.axvline(begun, color=page.LIGHT_GREY, linewidth=0.5, linestyle=":")
        _annotate_top(axes, begun, f" round {record['round']}")
        top = max(top, *taught, *found)
        begun = place[-1]
    axes.set(xlabel="step", ylabel="loss", ylim=(0, 1.15 * top), xlim=(0, max(begun, 1)))
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    # In a white box: the lines between rounds stop at it.
    box = {"frameon": True, "facecolor": "white", "edgecolor": "none", "framealpha": 1.0}
    axes.legend(handles[:3], labels[:3], loc="lower left", ncols=3, **box)


def _annotate_top(axes: Axes, left: float, text: str) -> None:
    """Write along the top of a panel, beginning at a place of its horizontal axis."""
    place = axes.get_xaxis_transform()
    axes.text(left, 1.0, text, transform=place, va="top", size=page.SMALL_PT, color=page.MUTED)


def _draw_rounds(axes: Axes, rounds: Sequence[Mapping], judged: bool) -> None:
    """Draw a bar for each round, grey for those that were dropped."""
    bars = [
        (
            str(record["round"]),
            record["voi_after" if judged else "change"],
            page.BLUE if record["kept"] else page.LIGHT_GREY,
            "kept" if record["kept"] else "dropped",
        )
        for record in rounds
    ]
    if judged:
        bars.insert(0, ("none", rounds[0]["voi_before"], page.ORANGE, "before"))
    names, heights, colours, verdicts = zip(*bars, strict=True)
    axes.bar(names, heights, 0.6, color=colours)
    for place, (height, verdict) in enumerate(zip(heights, verdicts, strict=True)):
        text = f"{height:.2f}\n{verdict}"
        axes.text(place, height, text, ha="center", va="bottom", size=page.SMALL_PT)
    axes.set(xlabel="round", ylabel="bits", ylim=(0, 1.3 * max(*heights, 0.01)))
    axes.set_xlim(-0.75, max(len(bars), 3) - 0.25)
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _describe_unet_training(metrics: Mapping) -> str:
    """Say what the network has learned from, and what it was held against."""
    if not metrics["rounds"]:
        adapted = "adapted to this stack, on no section of it trained"
        return adapted if "adapted" in metrics else "a model of another cutout"
    taught = f"proofread {_format_sections(metrics['learned_sections'])}"
    said = taught if metrics["learned_sections"] else "no section proofread"
    return f"{said} · held out {_format_sections(metrics['held_out_sections'])}"
