"""Kinds of model inputs: from records or image files to the tensors of a captioner's `encode`."""
