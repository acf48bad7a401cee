"""Training supervised captioners."""
