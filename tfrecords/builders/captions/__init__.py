"""`captions` records: images with human-written captions."""
