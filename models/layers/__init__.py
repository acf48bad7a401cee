"""Layers of the models and, below them, what makes their loops fast."""
