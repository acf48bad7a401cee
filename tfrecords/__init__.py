"""Raw sources to TFRecords: readers, vocabulary, concepts, features, builders."""
