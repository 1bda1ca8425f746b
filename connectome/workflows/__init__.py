"""Run the stages in order: the main job, rebuilding, refinement, comparison."""
