"""The data of a training: pairs of features."""
