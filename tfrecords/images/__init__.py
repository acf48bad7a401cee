"""`images` records, and image files as all builders meet them."""
