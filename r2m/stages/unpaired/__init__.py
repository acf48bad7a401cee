"""R2M: the curriculum that learns from sentences and images which do not belong together."""
