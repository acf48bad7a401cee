"""Writing of records: atomic, sharded, described by a manifest, with processes or Beam."""
