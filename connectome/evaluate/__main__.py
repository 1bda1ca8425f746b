"""Run ``python -m connectome.evaluate``."""

from connectome.cli.arguments import run
from connectome.cli.commands.evaluate import main

run(main)
