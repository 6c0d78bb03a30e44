"""The statistics of comparisons, as functions of scores: which of two arms is better, on one game and over several."""
