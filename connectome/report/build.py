"""Render the report, one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from connectome.io.files import atomic_path
from connectome.io.run_folder import RunFolder
from connectome.report import sections, viewer
from connectome.report.sections import CaptionedFigure

ASSETS = files("connectome.report") / "assets"


def write_report(
    target: Path, run: RunFolder, *, log_folder: Path, figures: Sequence[CaptionedFigure]
) -> None:
    """Write the results of a run and their reliability as one page.

    Parameters
    ----------
    target : Path
        HTML file, written atomically.
    run : RunFolder
        Results to show. Figures and tables that do not exist are listed as missing.
    log_folder : Path
        Output folder with the run log.
    figures : sequence of FigureSpec
        Figures to show.

    Raises
    ------
    UsageError, DataError
        If there is no aligned stack, or a table cannot be read or has gaps.
    """
    page = _render(
        "report.html",
        source=run.source,
        synthetic=run.source.startswith("phantom:"),
        changed_labels=run.graph_labels_path.name if run.graph_labels_changed else None,
        numbers=sections.key_numbers(run),
        scores=list(sections.list_scores(run.evaluation, run.directed)),
        limitations=list(sections.list_limitations(run)),
        uncertain=sections.list_uncertain_neurites(run),
        figures=sections.load_figures(run, figures),
        missing_figures=[figure.title for figure in figures if not run.has(f"{figure.stem}.png")],
        tables=sections.load_tables(run),
        missing_tables=[name for name in sections.TABLES if not run.has(name)],
        details=sections.run_details(run, log_folder),
        data=viewer.collect_data(run),
        style=_read_asset("report.css"),
        library=_read_asset("cytoscape.min.js"),
        program=_read_asset("report.js"),
    )
    with atomic_path(target) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _render(template: str, **content: object) -> str:
    """Render a template; all content is escaped unless the template marks it as safe."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_read_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # For the filter tojson: compact, and valid JSON.
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment.get_template(template).render(content)


def _read_asset(name: str) -> str:
    return (ASSETS / name).read_text("utf-8")
