"""Loggers: rows for the files of a run and Prometheus; rows, evaluations and videos for Weights & Biases and MLflow."""
