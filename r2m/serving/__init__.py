"""Trained runs as SavedModels that need no code of this project."""
