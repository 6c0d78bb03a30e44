"""What a user got wrong."""


class Mistake(ValueError):
    """A user's mistake: one sentence naming the setting, the value and the way out. Exit code 2."""
