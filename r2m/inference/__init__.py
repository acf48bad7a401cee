"""Use of trained runs: captioning, evaluation, attention maps. Imports no training code."""
