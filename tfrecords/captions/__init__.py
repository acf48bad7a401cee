"""`captions` records: images with the captions people wrote."""
