"""`detections` records: objects in images, with their boxes."""
