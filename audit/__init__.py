"""The audit of an experiment or a run: all probes, a table and files."""
