"""Configurations of supervised captioners, one per model."""
