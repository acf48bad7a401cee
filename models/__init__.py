"""Keras models, layers and decoding: tensors in, tensors out."""
