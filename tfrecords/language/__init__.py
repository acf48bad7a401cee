"""Words of captions: tokenization, plurals, concepts, label maps, document frequencies."""
