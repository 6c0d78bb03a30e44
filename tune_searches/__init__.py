"""Searches for better settings: YAML, and the code that proposes, trains, compares and confirms."""
