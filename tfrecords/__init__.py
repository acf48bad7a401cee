"""Conversion of raw sources to TFRecords: readers, vocabulary, concepts, features, builders."""
