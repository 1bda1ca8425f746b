"""Run ``python -m connectome.runlog``, the same as ``connectome runs``."""

from connectome.cli.arguments import run
from connectome.cli.commands.runs import main

run(main, prog="python -m connectome.runlog")
