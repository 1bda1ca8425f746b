"""Refine neurites with a random forest trained on proofread sections."""

from connectome.cli.arguments import run
from connectome.cli.commands.refine import main_rf as main

if __name__ == "__main__":
    run(main, prog="train_refine_rf.py")
