"""Training: settings become an RLlib config, the config becomes a run that writes a run directory."""
