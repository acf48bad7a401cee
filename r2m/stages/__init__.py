"""Training stages: what each optimises, on which data, starting from what."""
