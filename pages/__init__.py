"""Pages for a browser: of a run, of a search, and of a run that is still training."""
