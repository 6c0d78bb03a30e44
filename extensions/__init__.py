"""What users add from their own modules, and what the suite offers them for it: callbacks."""
