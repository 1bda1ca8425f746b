"""What every other package builds on: volumes, parameters, errors, progress."""
