"""Training an extractor as a classifier."""
