"""Experiments of RESULTS.md as lists of commands, from raw data to scores."""
