"""Training of supervised captioners."""
