"""Comparison of the captions of several runs over the same images."""
