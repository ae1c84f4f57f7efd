"""What a step learns from: pairs of cached features."""
