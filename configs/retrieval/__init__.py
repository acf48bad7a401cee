"""Configurations of visual-semantic embeddings, one file per published preset."""
