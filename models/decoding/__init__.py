"""Decoding: search, sampling and ensembles."""
