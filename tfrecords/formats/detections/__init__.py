"""Readers of the published formats of detections, and the formats of their boxes."""
