"""Grids of experiments, and comparisons of runs: which arm is better, as far as their seeds can tell."""
