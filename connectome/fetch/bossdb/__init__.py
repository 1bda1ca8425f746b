"""Read EM from BossDB."""
