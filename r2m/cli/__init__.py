"""Command line scripts: one absl script a job."""
