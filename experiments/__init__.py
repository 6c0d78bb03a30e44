"""What can be composed, as YAML, and the composing."""
