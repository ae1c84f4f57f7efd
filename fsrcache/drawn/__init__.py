"""Drawn faces: nobody's, a function of a seed and a number."""
