"""Keras models, layers and decoding; independent of records and configurations."""
