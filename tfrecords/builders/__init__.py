"""Builders of records, one folder per kind of record."""
