"""Read EM from BossDB through ``intern``, with retries and a cache."""
