"""Comparisons of runs: which arm is better, as far as its seeds can tell, on one game and over several."""
