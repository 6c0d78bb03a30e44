"""Vectors of games behind one small contract, and the protocols they are played under."""
