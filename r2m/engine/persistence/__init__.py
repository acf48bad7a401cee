"""Files on disk that a run resumes from."""
