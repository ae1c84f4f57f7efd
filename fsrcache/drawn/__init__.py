"""Drawn faces, of nobody in particular: a function of a seed and a number."""
