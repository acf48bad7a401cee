"""A trained run in use: captioning, evaluation, attention maps. Imports no training code."""
