"""Write figures as PDF and PNG, reproducibly."""

from __future__ import annotations

import warnings
from pathlib import Path

from matplotlib.figure import Figure

from connectome.figures.layout import page
from connectome.io.files import atomic_path


@page.use_style
def write_figure(figure: Figure, stem: Path) -> None:
    """Write a figure as ``<stem>.pdf`` and ``<stem>.png``.

    Each file is written atomically and carries no date, so that the same figure gives identical
    bytes.

    Parameters
    ----------
    figure : Figure
        Page of the printed size.
    stem : Path
        Target without its suffix; missing folders are created.
    """
    formats: dict[str, dict] = {
        "pdf": {"metadata": {"Title": stem.name, "CreationDate": None}},
        "png": {
            "metadata": {"Title": stem.name, "Software": None},
            "dpi": page.SCREEN_DPI,
            "pil_kwargs": {"compress_level": 3},
        },
    }
    with warnings.catch_warnings():
        # The source name may contain characters that the font lacks; a box is drawn instead.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for suffix, options in formats.items():
            with atomic_path(stem.with_name(f"{stem.name}.{suffix}")) as temporary:
                figure.savefig(temporary, **options)
