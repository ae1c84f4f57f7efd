"""Labelled faces: the layouts they are kept in, decoding, resizing and drawing."""
