"""Picture files: search, headers, decoding, backbones, feature extraction, boxes."""
