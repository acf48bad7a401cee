"""`images` records, and the image files of all builders."""
