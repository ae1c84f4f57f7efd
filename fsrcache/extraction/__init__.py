"""From pictures to features, and into the store."""
