"""What can be set, the rules of games, and mistakes: the lowest room, made of the standard library alone."""
