"""The directory of a small search that has ended."""

from small_searches import searched  # noqa: F401
