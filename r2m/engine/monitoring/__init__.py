"""What a run shows: logs, TensorBoard, progress, tables of runs and parameters."""
