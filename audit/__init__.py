"""The audit of an experiment: probes of its live objects, compared with the papers and other implementations."""
