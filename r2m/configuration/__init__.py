"""Configurations: rules for every field, and the options that training reads from them."""
