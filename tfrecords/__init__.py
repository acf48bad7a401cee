"""Conversion of raw sources to TFRecords, in packages that only import downwards.

From top to bottom: `concept_statistics`; `builders` and `inspection`; `detectors`, `crawler` and
`shapes`; `formats`; `pictures`; `language`; `core`.
"""
