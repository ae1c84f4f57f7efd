"""A run on a GPU: every op, every way to train and every figure that needs one, in minutes; see docs/gpu.md."""
