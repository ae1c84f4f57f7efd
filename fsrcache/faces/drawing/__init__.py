"""The parts of a drawn face: who it is, what the muscles do, and how head, features, hair and light are drawn."""
