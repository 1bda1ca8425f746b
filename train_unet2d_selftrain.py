"""Refine neurites with a small U-Net, trained on the labels of a run and on proofread sections."""

from connectome.cli.arguments import run
from connectome.cli.commands.refine import main_unet as main

if __name__ == "__main__":
    run(main, prog="train_unet2d_selftrain.py")
