"""Files: names, volumes, tables, models, stacks of other programs, and the results of a run."""
