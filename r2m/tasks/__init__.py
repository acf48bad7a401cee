"""Training: a folder per task."""
