"""Experiments: their YAML files, their composition and check, the text of --help, and the settings of a resumed run."""
