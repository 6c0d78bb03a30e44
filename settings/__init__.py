"""The settings of an experiment, the rules of games, and mistakes. This room imports the standard library only."""
