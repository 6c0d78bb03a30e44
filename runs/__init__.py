"""What writes run directories: settings become an RLlib config, the config becomes a run."""
