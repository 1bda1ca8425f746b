"""Run ``python -m connectome.evaluate``, the same as ``connectome evaluate``."""

from connectome.cli.arguments import run
from connectome.cli.commands.evaluate import main

run(main, prog="python -m connectome.evaluate")
