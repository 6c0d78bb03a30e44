"""Tuned configs: one YAML file for each complete, named set of settings, and the code that writes one from a search."""
