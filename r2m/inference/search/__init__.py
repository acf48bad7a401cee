"""Indexes of images and captions, and searches in them."""
