"""`images` records: pictures with their detected concepts."""
