"""Configurations of supervised captioners, one a model."""
