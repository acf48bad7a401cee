"""Training R2M, from the corpus alone to unpaired images."""
