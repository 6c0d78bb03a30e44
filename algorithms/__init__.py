"""The algorithms, one file each, and the learner they share."""
