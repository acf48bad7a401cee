"""Experiment configurations: `get_config()` returns an ml_collections.ConfigDict."""
