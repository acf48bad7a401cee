"""`detections` records: what was seen in images, and where."""
