"""Strategies, workers, and the division of batches among them."""
