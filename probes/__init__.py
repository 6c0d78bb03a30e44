"""Probes of the live objects of an experiment: pictures, games, returns, losses, optimizers and networks."""
