"""Layers of the models, and lower-level functions that make their loops fast."""
