"""Stores of precomputed image features: one interface for all file formats."""
