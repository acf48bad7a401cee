"""`corpora` records: sentences and the concepts in them."""
