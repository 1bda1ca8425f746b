"""The main job as it is typed: a process of its own, its exit code, and what it prints."""
