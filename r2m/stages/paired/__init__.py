"""Supervised captioners: they learn from images and the captions people wrote for them."""
