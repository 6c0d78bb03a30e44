"""Experience: the Rollout table, the env runner that fills it, and the returns computed from it."""
