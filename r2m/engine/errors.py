"""The errors of the training engine."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message says why and what to do."""


class TrainingInterrupted(TrainingError):
    """SIGTERM or SIGINT ended the training after its state was saved."""
