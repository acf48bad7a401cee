"""Export of trained runs as SavedModels that need no code of this project, and serving."""
