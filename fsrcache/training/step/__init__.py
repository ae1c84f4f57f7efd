"""One step of a training, and its parts."""
