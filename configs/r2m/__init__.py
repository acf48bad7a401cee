"""Experiments with the Recurrent Relational Memory network."""
