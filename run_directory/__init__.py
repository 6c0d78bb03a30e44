"""The run directory: its files, written by training and read by everything else. It knows neither Ray nor torch."""
