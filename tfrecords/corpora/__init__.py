"""`corpora` records: sentences and the concepts they speak of."""
