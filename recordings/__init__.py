"""Recordings: an agent plays games, each is kept as a replay, proven by playing it again, and filmed."""
