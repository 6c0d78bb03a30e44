"""Run directories with agents in them, and the environments they play."""

from small_worlds import little, make_run, worlds  # noqa: F401
