"""Loggers: rows, evaluations and videos of runs for Weights & Biases and MLflow."""
