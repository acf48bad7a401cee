"""Statistics of the concepts that images and sentences share."""
