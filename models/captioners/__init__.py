"""Supervised captioners: one file per captioner."""
