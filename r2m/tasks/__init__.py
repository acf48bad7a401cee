"""Training, with one package per task."""
