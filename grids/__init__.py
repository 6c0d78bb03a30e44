"""Grids of experiments: what `-m` means, training all arms, and the comparison with which a grid ends."""
