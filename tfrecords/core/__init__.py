"""Records on disk, the writer with its shards and runners, the vocabulary, errors, plain files."""
