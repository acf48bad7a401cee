"""Training of R2M on a corpus and unpaired images."""
