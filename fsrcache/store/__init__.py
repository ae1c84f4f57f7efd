"""The feature store: what the frozen extractor says about every face at every scale, kept on disk."""
