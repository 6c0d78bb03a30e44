"""Experiments: YAML files, their composition and check, and the settings of a resumed run."""
