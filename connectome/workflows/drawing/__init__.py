"""Draw figures: in background processes during a run, or again from its files."""
