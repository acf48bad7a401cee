"""Training of visual-semantic embeddings."""
