"""What can be typed: YAML, composing it, checking it, help on it, and what a run continues with."""
