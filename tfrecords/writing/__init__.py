"""Writing of records: atomic, sharded, with a manifest, in processes or Beam."""
