"""Strategies, workers, and whose rows are whose."""
