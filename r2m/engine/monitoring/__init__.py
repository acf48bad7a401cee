"""Monitoring of runs: logs, TensorBoard, progress, tables of runs and parameters."""
