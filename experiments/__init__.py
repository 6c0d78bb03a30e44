"""Experiments: YAML files, their composition and check, and the settings of a resumed run.

Functions whose names begin with refuse_ or check_ raise a Mistake for settings that cannot work.
"""
