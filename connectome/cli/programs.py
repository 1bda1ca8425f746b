"""The commands: their summaries, and their names in a checkout and in an installation."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A subcommand of ``connectome``.

    Parameters
    ----------
    main : str
        Its function, as ``module:function``.
    summary : str
        What it does, in one line.
    script : str
        The script of a checkout that runs the same code; empty where there is none.
    """

    main: str
    summary: str
    script: str = ""


_COMMANDS = "connectome.cli.commands"
COMMANDS = {
    "run": Command(
        f"{_COMMANDS}.run:main",
        "turn a volume-EM cutout into a draft connectivity graph",
        "run_pipeline.py",
    ),
    "proofread": Command(
        f"{_COMMANDS}.proofread:main",
        "open a draft in napari and correct it",
        "napari_proofread.py",
    ),
    "refine-rf": Command(
        f"{_COMMANDS}.refine:main_rf",
        "train a random forest on proofread sections and segment again",
        "train_refine_rf.py",
    ),
    "refine-unet": Command(
        f"{_COMMANDS}.refine:main_unet",
        "train a U-Net by self-training and on proofread sections, and segment again",
        "train_unet2d_selftrain.py",
    ),
    "rebuild": Command(
        f"{_COMMANDS}.rebuild:main",
        "rebuild synapses, graph and figures from refined or corrected neurites",
        "rebuild_graph_and_figures.py",
    ),
    "runs": Command(f"{_COMMANDS}.runs:main", "list the runs logged in an output folder"),
    "evaluate": Command(f"{_COMMANDS}.evaluate:main", "score a segmentation against ground truth"),
    "compare": Command(f"{_COMMANDS}.compare:main", "compare the topology of two graphs"),
    "redraw": Command(f"{_COMMANDS}.redraw:main", "redraw figures and the report of a run"),
}
# What messages name in a checkout, and what takes its place in an installation.
_IN_INSTALLATION = {
    command.script: f"connectome {name}" for name, command in COMMANDS.items() if command.script
} | {"pip install -r requirements.txt": 'pip install "connectome-draft[all]"'}
_IN_CHECKOUT = re.compile(rf"(?<![\w/])({'|'.join(map(re.escape, _IN_INSTALLATION))})\b")


def name_programs(text: str, prog: str) -> str:
    """Name other programs in the form in which this one was called.

    Messages name what a checkout has (``run_pipeline.py``, ``requirements.txt``) and an
    installation has not: for a user of the ``connectome`` command it is replaced by subcommands.

    Parameters
    ----------
    text : str
        A message.
    prog : str
        The command as typed, such as ``run_pipeline.py`` or ``connectome run``.
    """
    if prog.split(" ")[0] != "connectome":
        return text
    return _IN_CHECKOUT.sub(lambda match: _IN_INSTALLATION[match[0]], text)
