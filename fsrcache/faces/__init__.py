"""Labelled faces: the layouts of data sets, decoding, resizing and contact sheets."""
